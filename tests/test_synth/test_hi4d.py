"""Labels for photos in the layout of Hi4D, against values computed by hand."""
import cv2
import numpy as np
import pytest

pytest.importorskip('mitsuba')

from sapiens_mm.synth.hi4d import label_hi4d  # noqa: E402
from sapiens_mm.synth.scan_files import ScanError  # noqa: E402

from .conftest import camera_of, check_ellipsoid, ellipsoid_truth, write_hi4d  # noqa: E402


def test_broken_sequences_are_refused(tmp_path):
    sequence, *_ = write_hi4d(tmp_path, frames=(1,))
    out = tmp_path / 'out'

    def refused(error, value, source=sequence, **options):
        with pytest.raises(error, match=value):
            label_hi4d(source, out, **options)
        assert not list(out.rglob('*.*'))

    refused(FileNotFoundError, 'pair32', tmp_path)
    refused(FileNotFoundError, 'nowhere', tmp_path / 'nowhere')
    refused(ValueError, '0', stride=0)
    (sequence / 'images/40').symlink_to('4')
    refused(ScanError, '40', camera=40)
    mask, photo = sequence / 'seg/mesh_seg_mask/mesh-f00001.npz', sequence / 'images/4/000001.jpg'
    np.savez(mask, vertices_mask=np.zeros(5, int))
    refused(ScanError, 'mesh-f00001.npz.*5 vertices')
    mask.unlink()
    photo.unlink()
    refused(FileNotFoundError, r'000001\.jpg')
    cv2.imwrite(str(photo), np.zeros((96, 72, 3), np.uint8))
    np.savez(sequence / 'cameras/rgb_cameras.npz', ids=[4])
    refused(ScanError, 'intrinsics')


def test_labels_lie_on_the_photos(tmp_path):
    written = {pair: write_hi4d(tmp_path / 'Hi4D', pair, (1, 7) if pair == 28 else (2,)) for pair in (28, 32)}
    (tmp_path / 'Hi4D/pair00').mkdir()
    out = tmp_path / 'out'
    assert label_hi4d(tmp_path / 'Hi4D', out, pairs=(28, 32)) == 3
    for pair, (sequence, camera, axes, bodies) in written.items():
        for frame, centers in bodies.items():
            name = f'pair{pair}_dance{pair}_4_{frame:06d}'
            photo = cv2.imread(str(sequence / f'images/4/{frame:06d}.jpg'))
            np.testing.assert_array_equal(cv2.imread(str(out / f'images/{name}.png')), photo)
            persons = cv2.imread(str(out / f'instances/{name}.png'), cv2.IMREAD_UNCHANGED)
            assert set(np.unique(persons)) == {0, 1, 2}
            np.testing.assert_allclose(camera_of(out, name).intrinsics, camera.intrinsics)
            for k, center in enumerate(centers):
                inner = ellipsoid_truth(camera, axes * 0.97, center)[2]
                check_ellipsoid(out, name, axes, center, camera, inner & (persons == k + 1))
                # Visible where the other person is not in front.
                assert (persons[inner & ~ellipsoid_truth(camera, axes, centers[1 - k])[2]] == k + 1).all()
    assert label_hi4d(tmp_path / 'Hi4D', out, pairs=(28, 32)) == 0


def test_photos_are_undistorted(tmp_path):
    distortion = np.array([-0.9, 0.2, 0.002, -0.001, 0])
    sequence, camera, axes, bodies = write_hi4d(tmp_path, frames=(3,), distortion=distortion)
    # A photo of the ellipsoids' outlines by a lens with this distortion.
    hit = np.any([ellipsoid_truth(camera, axes, center)[2] for center in bodies[3]], axis=0)
    flat = np.where(hit, 255, 0).astype(np.uint8)
    size = flat.shape
    pixels = np.stack(np.meshgrid(np.arange(size[1]), np.arange(size[0])), -1).reshape(-1, 1, 2).astype(np.float64)
    source = cv2.undistortPoints(pixels, camera.intrinsics, distortion, P=camera.intrinsics).reshape(*size, 2)
    bent = cv2.remap(flat, source.astype(np.float32), None, cv2.INTER_LINEAR)
    cv2.imwrite(str(sequence / 'images/4/000003.jpg'), np.repeat(bent[..., None], 3, -1),
                [cv2.IMWRITE_JPEG_QUALITY, 100])
    assert label_hi4d(sequence, tmp_path / 'out') == 1
    image, mask = (cv2.imread(str(tmp_path / f'out/{kind}/pair28_dance28_4_000003.png'), 0) > 127
                   for kind in ('images', 'masks'))
    straight = (image & mask).sum() / (image | mask).sum()
    assert straight > 0.97
    assert straight > ((bent > 127) & mask).sum() / ((bent > 127) | mask).sum() + 0.01
