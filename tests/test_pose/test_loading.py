import numpy as np
import pytest
from mmpose.registry import TRANSFORMS


@pytest.fixture
def load():
    return TRANSFORMS.build({'type': 'SapiensLoadImage'})


def test_missing(load, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"image '.*none.jpg' does not exist. Check the dataset's data_root"):
        load({'img_path': str(tmp_path / 'none.jpg')})


@pytest.mark.parametrize('content', [b'', b'not an image', b'\xff\xd8\xff\xe0'])
def test_cannot_be_decoded(load, content, tmp_path):
    path = tmp_path / 'bad.jpg'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"image '.*bad.jpg' cannot be decoded"):
        load({'img_path': str(path)})


def test_loads(load, coco_real):
    results = load({'img_path': str(coco_real / '000000000785.jpg')})
    assert results['img'].shape == (425, 640, 3)
    assert results['ori_shape'] == (425, 640)


def test_image_in_memory(load):
    image = np.zeros((4, 5, 3), np.uint8)
    assert load({'img': image})['img'] is image
