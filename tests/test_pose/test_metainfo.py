import shutil

import pytest

from sapiens_mm.pose.vocabularies import get_metainfo, get_parts, get_vocabulary


@pytest.mark.parametrize('name', ['halpe', 26, None])
def test_unknown_vocabulary(name):
    with pytest.raises(ValueError, match=r"unknown keypoint vocabulary .*'coco' \(17\).*'goliath' \(308\)"):
        get_metainfo(name)


@pytest.mark.parametrize(('name', 'size'), [('coco', 17), ('coco_wholebody', 133), ('goliath', 308)])
def test_by_name_and_by_size(name, size):
    assert get_vocabulary(size) == get_vocabulary(name) == name
    for key in (name, size):
        metainfo = get_metainfo(key)
        assert metainfo['dataset_name'] == name
        assert metainfo['num_keypoints'] == len(metainfo['sigmas']) == size


def test_metainfo_is_a_copy():
    get_metainfo(17)['keypoint_id2name'][0] = 'changed'
    assert get_metainfo(17)['keypoint_id2name'][0] == 'nose'


@pytest.mark.parametrize(('name', 'sizes'), [
    ('coco', {}),
    ('coco_wholebody', {'body': 17, 'foot': 6, 'face': 68, 'left_hand': 21, 'right_hand': 21}),
    ('goliath', {'body': 17, 'foot': 6, 'left_hand': 20, 'right_hand': 20, 'extra': 7, 'face': 238}),
])
def test_parts(name, sizes):
    parts = get_parts(name)
    assert {part: len(names) for part, names in parts.items()} == sizes
    if parts:
        every = [keypoint for names in parts.values() for keypoint in names]
        assert sorted(every) == sorted(get_metainfo(name)['keypoint_name2id'])


def test_working_folder_is_not_searched(root, tmp_path, monkeypatch):
    """mmpose looks for its metainfo in the working folder first, where our dataset configs have the same names."""
    from sapiens_mm.pose.vocabularies import metainfo
    folder = tmp_path / 'configs' / '_base_' / 'datasets'
    folder.mkdir(parents=True)
    for name in ('coco.py', 'coco_wholebody.py'):
        (folder / name).write_text('dataset_info = dict(dataset_name="wrong")')
    monkeypatch.chdir(tmp_path)
    metainfo._parse.cache_clear()
    assert get_metainfo('coco')['num_keypoints'] == 17
    assert get_metainfo('coco_wholebody')['num_keypoints'] == 133
    shutil.rmtree(folder)
