import shutil

import cv2
import numpy as np
import pytest
from mmseg.registry import DATASETS

import sapiens_mm.dense.datasets  # noqa: F401
from sapiens_mm.dense.transforms import SapiensLoadLabels

IMAGE = np.zeros((4, 6, 3), np.uint8)


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array)


def build(name, root, **options):
    return DATASETS.build(dict(type=name, data_root=str(root), **options))


@pytest.mark.parametrize('name', ['SapiensLIPDataset', 'SapiensCIHPDataset'])
def test_unknown_split(tmp_path, name):
    with pytest.raises(ValueError, match="split is 'test', but must be 'train' or 'val'"):
        build(name, tmp_path, split='test')


def test_synthetic(people):
    (people / 'depths').rename(people / 'depth')
    (people / 'normals').rename(people / 'normal')
    info = SapiensLoadLabels()(build('SapiensSyntheticDataset', people)[0])
    assert info['seg_fields'] == ['gt_person_mask', 'gt_seg_map', 'gt_depth_map', 'gt_normal_map']


def test_thuman2(people):
    (people / 'depths').rename(people / 'depth')
    (people / 'normals').rename(people / 'normal')
    for kind in ('images', 'masks', 'depth', 'normal'):
        for region, old in zip(('face', 'upper_body', 'full_body'), 'abc'):
            source, = people.glob(f'{kind}/{old}.*')
            source.rename(source.with_stem(f'0007_{region}'))
    dataset = build('SapiensTHuman2Dataset', people)
    assert [dataset[i]['region'] for i in range(3)] == ['face', 'full_body', 'upper_body']
    assert 'seg_map_path' not in dataset[0]
    dataset = build('SapiensTHuman2Dataset', people, filter_cfg=dict(regions=['full_body']))
    assert [dataset[i]['sample_name'] for i in range(len(dataset))] == ['0007_full_body']


def test_hi4d(people):
    (people / 'depths').rename(people / 'depth')
    (people / 'normals').rename(people / 'normal')
    dataset = build('SapiensHi4DDataset', people, tasks=('normal', ))
    assert 'region' not in dataset[0]
    assert 'depth_map_path' not in dataset[0]


def test_lip_and_cihp(tmp_path):
    labels = np.full((4, 6), 19, np.uint8)
    write(tmp_path / 'TrainVal_images/val_images/1_2.jpg', IMAGE)
    write(tmp_path / 'TrainVal_parsing_annotations/val_segmentations/1_2.png', labels)
    for kind in ('Category_ids', 'Human_ids'):
        write(tmp_path / f'Training/{kind}/0000006.png', labels)
    write(tmp_path / 'Training/Images/0000006.jpg', IMAGE)
    lip, cihp = build('SapiensLIPDataset', tmp_path, split='val'), build('SapiensCIHPDataset', tmp_path)
    assert (lip[0]['sample_name'], cihp[0]['sample_name']) == ('1_2', '0000006')
    assert (lip.metainfo['classes'][10], cihp.metainfo['classes'][10]) == ('Jumpsuits', 'Torso-skin')
    for dataset in (lip, cihp):
        info = dataset[0]
        assert info['num_classes'] == 20
        assert info['flip_indices'][14:] == (15, 14, 17, 16, 19, 18)
        assert SapiensLoadLabels()(info)['gt_seg_map'].tolist() == labels.tolist()
    assert SapiensLoadLabels()(cihp[0])['gt_instance_map'].tolist() == labels.tolist()


def test_synthhuman(tmp_path, monkeypatch):
    monkeypatch.setenv('OPENCV_IO_ENABLE_OPENEXR', '1')
    alpha = np.array([[0, 0, 100, 200, 255, 255]] * 4, np.uint8)
    depth = np.where(alpha > 127, np.float32(250), np.float32(np.inf))
    normal = np.zeros((4, 6, 3), np.float32)
    normal[..., 0] = 0.6
    normal[..., 2] = 0.8
    for number in ('0098039', '0098040', '0198015', '0198016'):
        write(tmp_path / f'rgb_{number}.png', IMAGE)
        write(tmp_path / f'alpha_{number}.png', alpha)
        write(tmp_path / f'depth_{number}.exr', depth)
        write(tmp_path / f'normal_{number}.exr', normal[..., ::-1])
        (tmp_path / f'cam_{number}.txt').write_text('1 0 0')
    dataset = build('SapiensSynthHumanDataset', tmp_path)
    assert [dataset[i]['region'] for i in range(4)] == ['face', 'full_body', 'full_body', 'upper_body']
    info = SapiensLoadLabels()(dataset[0])
    np.testing.assert_allclose(info['gt_depth_map'], [[0, 0, 0, 2.5, 2.5, 2.5]] * 4)
    np.testing.assert_allclose(info['gt_normal_map'], normal * (alpha > 127)[..., None])
    strict = SapiensLoadLabels()
    with pytest.raises(ValueError, match='depth_0098039.exr.* 12 pixels of 24 with inf or NaN.*mask_labels=True'):
        strict(build('SapiensSynthHumanDataset', tmp_path, mask_labels=False)[0])
    shutil.rmtree(tmp_path)
