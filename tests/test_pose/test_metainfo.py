"""Tests of metainfo of the keypoint sets."""
import pytest

from sapiens_mm.pose import metainfo
from sapiens_mm.pose.metainfo import get_metainfo
from sapiens_mm.vocabularies.keypoints import KEYPOINT_NAMES


@pytest.mark.parametrize(('name', 'size'), [('coco', 17), ('coco_wholebody', 133), ('goliath', 308)])
def test_by_name_and_by_size(name, size):
    for key in (name, size):
        parsed = get_metainfo(key)
        assert parsed['dataset_name'] == name
        assert parsed['num_keypoints'] == len(parsed['sigmas']) == size
        assert tuple(parsed['keypoint_name2id']) == KEYPOINT_NAMES[name]


def test_metainfo_is_a_copy():
    get_metainfo(17)['keypoint_id2name'][0] = 'changed'
    assert get_metainfo(17)['keypoint_id2name'][0] == 'nose'


def test_working_directory_is_not_searched(tmp_path, monkeypatch):
    """mmpose looks for its metainfo in the working directory first, where our configs have the same names."""
    folder = tmp_path / 'configs' / '_base_' / 'datasets'
    folder.mkdir(parents=True)
    for name in ('coco.py', 'coco_wholebody.py'):
        (folder / name).write_text('dataset_info = dict(dataset_name="wrong")')
    monkeypatch.chdir(tmp_path)
    metainfo._parse.cache_clear()
    assert get_metainfo('coco')['num_keypoints'] == 17
    assert get_metainfo('coco_wholebody')['num_keypoints'] == 133
