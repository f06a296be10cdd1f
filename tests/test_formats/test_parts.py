"""Tests of parts as PNGs."""
import json

import numpy as np
import pytest
from PIL import Image

from sapiens_mm.formats import coco, cvat, label_studio, parts
from sapiens_mm.formats.labels import Labels
from sapiens_mm.formats.rle import encode_coco
from sapiens_mm.vocabularies.body_parts import PART_NAMES

from .conftest import make_labels


def test_invalid_labels(tmp_path):
    with pytest.raises(ValueError, match='parts'):
        parts.write(make_labels(), tmp_path / 'parts')
    image = make_labels(with_parts=True)[0]
    twin = Labels('sub/schöne Grüße.png', image.width, image.height, parts=image.parts, part_names=PART_NAMES)
    with pytest.raises(ValueError, match=r'Grüße\.png'):
        parts.write([image, twin], tmp_path / 'parts')
    other = Labels('b.jpg', image.width, image.height, parts=image.parts, part_names=('Background', 'a'))
    with pytest.raises(ValueError, match=r'b\.jpg'):
        parts.write([image, other], tmp_path / 'parts')
    photo = tmp_path / 'photo.png'
    photo.touch()
    for name in (str(photo), '../photo.png', 'a/../../photo.png'):
        outside = Labels(name, image.width, image.height, parts=image.parts, part_names=PART_NAMES)
        with pytest.raises(ValueError, match=r'photo\.png'):
            parts.write([outside], tmp_path / 'parts')
    assert photo.stat().st_size == 0
    assert not (tmp_path / 'parts').exists()
    (tmp_path / 'parts').mkdir()
    (tmp_path / 'parts/a.png').touch()
    with pytest.raises(ValueError, match='new one'):
        parts.write([image], tmp_path / 'parts')


@pytest.mark.parametrize('source', ['label-studio', 'coco', 'masks'])
def test_parts_come_back(tmp_path, source):
    expected, nobody = make_labels(with_parts=True)
    module = label_studio if source == 'label-studio' else coco
    path = module.write([expected, nobody], tmp_path / 'labels.json')[0]
    path = tmp_path / 'labels_parts.json' if source == 'masks' else path
    labels = list(module.read(path))
    if source != 'label-studio':
        parts.write(labels, tmp_path / 'parts')  # nobody has no parts
        assert not np.array(Image.open(tmp_path / 'parts/nobody.png')).any()
    else:
        with pytest.warns(UserWarning, match='1 image'):
            parts.write(labels, tmp_path / 'parts')
    with Image.open(tmp_path / 'parts/sub/schöne Grüße.png') as image:
        assert image.mode == 'P'
        assert np.array_equal(np.array(image), expected.parts)


def test_an_export_of_masks_and_polygons(tmp_path):
    """As CVAT exports parts in its format COCO, in the order of its labels."""
    mask = np.zeros((20, 30), bool)
    mask[5:9, 6:12] = True
    names = ['Hair', 'Torso']
    content = dict(images=[dict(id=4, file_name='a.jpg', width=30, height=20)], categories=[
        dict(id=number, name=name) for number, name in enumerate(names, 1)], annotations=[
        dict(id=1, image_id=4, category_id=2, iscrowd=0, segmentation=[[2, 3, 12, 3, 12, 9, 2, 9]]),
        dict(id=2, image_id=4, category_id=1, iscrowd=1, segmentation=encode_coco(mask))])
    path = tmp_path / 'instances.json'
    path.write_text(json.dumps(content))
    for module in (coco, cvat):
        image, = module.read(path)
        assert (image.part_names, image.people, image.width) == (PART_NAMES, [], 30)
        assert (image.parts[mask] == PART_NAMES.index('Hair')).all()
        polygon = image.parts == PART_NAMES.index('Torso')
        assert polygon.sum() + 24 == 60
        assert np.argwhere(polygon).min(0).tolist() == [3, 2]
    content['annotations'][1]['segmentation']['size'] = [3, 3]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r'instances\.json'):
        list(coco.read(path))
