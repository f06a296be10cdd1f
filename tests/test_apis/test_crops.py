"""Crops of people and frames."""
import numpy as np
import pytest

from sapiens_mm.apis.crops import crop_for_dense, crop_for_pose, resize_frame


def test_crops_show_their_boxes():
    y, x = np.mgrid[:400, :300]
    image = np.stack([x // 2, y // 2, np.zeros_like(x)], axis=-1).astype(np.uint8)
    box = np.array([60, 80, 160, 280])
    for crop_person in (crop_for_pose, crop_for_dense):
        crop, (x0, y0, x1, y1) = crop_person(image, box, (64, 48))
        assert crop.shape == (64, 48, 3)
        assert (y1 - y0) / (x1 - x0) == pytest.approx(64 / 48)
        assert y1 - y0 == pytest.approx(250)
        middle = crop[31:33, 23:25].reshape(-1, 3).mean(axis=0) * 2
        np.testing.assert_allclose(middle[:2], [(x0 + x1) / 2, (y0 + y1) / 2], atol=3)
    crop, shown = resize_frame(image, (64, 48))
    assert crop.shape == (64, 48, 3)
    assert shown == (0, 0, 300, 400)
