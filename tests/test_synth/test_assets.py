"""The user's photos and environment maps."""
import shutil

import cv2
import numpy as np
import pytest

from sapiens_mm.synth.assets import Assets, read_photo


def test_unreadable_and_missing_images_are_named(photos, tmp_path):
    for content in (b'not an image', b''):
        (photos / 'sub/broken.jpg').write_bytes(content)
        with pytest.raises(ValueError, match=r'broken\.jpg'):
            Assets.find(backgrounds=photos)
    (tmp_path / 'empty').mkdir()
    for options in (dict(backgrounds=tmp_path / 'empty'), dict(hdris=tmp_path / 'nowhere')):
        with pytest.raises(FileNotFoundError, match='empty|nowhere'):
            Assets.find(**options)
    with pytest.raises(ValueError, match=r'gone\.jpg'):
        read_photo(tmp_path / 'gone.jpg')
    pytest.importorskip('mitsuba')
    (tmp_path / 'c.hdr').write_bytes(b'#?RADIANCE\nbroken')
    with pytest.raises(ValueError, match=r'c\.hdr'):
        Assets.find(hdris=tmp_path)


def test_photos_are_identified_by_names_and_sizes_wherever_they_are(photos, tmp_path):
    assets = Assets.find(backgrounds=photos)
    assert [path.name for path in assets.photos] == ['b.jpg', 'a.PNG']
    assert assets.fingerprints['backgrounds'].startswith('2 files (')
    assert assets.fingerprints['hdris'] is None
    moved = tmp_path / 'elsewhere'
    shutil.copytree(photos, moved)
    assert Assets.find(backgrounds=moved).fingerprints == assets.fingerprints
    (moved / 'sub').rename(moved / 'other')
    assert Assets.find(backgrounds=moved).fingerprints != assets.fingerprints


def test_photos_are_rgb(photos):
    cv2.imwrite(str(photos / 'red.png'), np.full((16, 8, 3), (0, 0, 255), np.uint8))
    assert read_photo(photos / 'red.png').shape == (16, 8, 3)
    assert (read_photo(photos / 'red.png') == [255, 0, 0]).all()
