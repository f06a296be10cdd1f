import numpy as np
import pytest
from mmpose.registry import TRANSFORMS

import sapiens_mm.pose  # noqa: F401


@pytest.mark.parametrize('size', [(0, 0.4), (0.5, 0.4), (0.5, 1.1)])
def test_bad_size(size):
    with pytest.raises(ValueError, match='smallest <= largest'):
        TRANSFORMS.build(dict(type='SapiensCoarseDropout', size=size))


def test_one_rectangle_of_the_stated_size():
    transform = TRANSFORMS.build(dict(type='SapiensCoarseDropout', size=(0.2, 0.4)))
    for seed in range(30):
        np.random.seed(seed)
        img = np.full((100, 50, 3), 7, dtype=np.uint8)
        out = transform(dict(img=img))['img']
        assert (img == 7).all()  # the input is left alone
        rows, columns = np.nonzero((out == 0).all(-1))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert height * width == len(rows)
        assert 20 <= height <= 40
        assert 10 <= width <= 20


def test_probability():
    img = np.ones((20, 20, 3), dtype=np.uint8)
    assert TRANSFORMS.build(dict(type='SapiensCoarseDropout', prob=0.))(dict(img=img))['img'] is img
    whole = TRANSFORMS.build(dict(type='SapiensCoarseDropout', size=(1., 1.)))(dict(img=img))['img']
    assert (whole == 0).all()
