"""Tests of dense datasets."""
import shutil

import cv2
import numpy as np
import pytest
from mmengine.dataset import DefaultSampler
from mmseg.registry import DATASETS

from sapiens_mm.dense.datasets import SapiensDenseDataset
from sapiens_mm.dense.transforms import SapiensLoadLabels

IMAGE = np.zeros((4, 6, 3), np.uint8)


def build(people, **options):
    return SapiensDenseDataset(data_root=str(people), **options)


def test_missing_folder(people):
    with pytest.raises(FileNotFoundError, match='nowhere/images'):
        build(people / 'nowhere')
    shutil.rmtree(people / 'normals')
    with pytest.raises(FileNotFoundError, match='normals'):
        build(people)
    assert len(build(people, tasks=('parts', 'depth'))) == 3


def test_no_images(people):
    for path in people.glob('*/*'):
        path.unlink()
    with pytest.raises(ValueError, match=r"images' without .*\*.png, \*.jpg"):
        build(people)


def test_image_without_mask(people):
    (people / 'masks/b.png').unlink()
    with pytest.raises(ValueError, match=r'masks: got 1 of 3 images \(b\) that have no mask, expected'):
        build(people)
    assert len(build(people, data_prefix=dict(mask_path=None))) == 3


def test_first_five_without_a_partner_are_named(people):
    for i in range(7):
        (people / f'images/x{i}.png').write_bytes((people / 'images/a.png').read_bytes())
        (people / f'masks/x{i}.png').write_bytes((people / 'masks/a.png').read_bytes())
    with pytest.raises(ValueError, match='parts: got 7 of 10 images .* have no seg') as info:
        build(people)
    assert 'x0, x1, x2, x3, x4 and 2 more' in str(info.value)
    assert 'x5' not in str(info.value)


def test_label_without_image(people):
    (people / 'images/a.png').unlink()
    with pytest.raises(ValueError, match=r"masks: got 1 of 3 files \(a\) that have no image in '.*images'"):
        build(people)


def test_name_with_two_files(people):
    (people / 'images/a.jpg').write_bytes((people / 'images/a.png').read_bytes())
    with pytest.raises(ValueError, match='both a.(png|jpg) and a.(png|jpg)'):
        build(people)


@pytest.mark.parametrize('kind', ['masks', 'parts', 'depths', 'normals'])
def test_sizes_differ(people, kind):
    path, = people.glob(f'{kind}/b.*')
    if path.suffix == '.npy':
        np.save(path, np.load(path)[:-1])
    else:
        cv2.imwrite(str(path), cv2.imread(str(path), 0)[:-1])
    with pytest.raises(ValueError, match=f'1 of 3 samples .*b.png is 32x40, but .*{kind}/b.* is 32x39.* size'):
        build(people, check_sizes='all')
    assert len(build(people, check_sizes=0)) == 3


@pytest.mark.parametrize(('options', 'message'), [
    (dict(tasks=('pose', )), 'tasks: got'), (dict(tasks=(), data_prefix=dict(mask_path=None)), 'tasks: got'),
    (dict(check_sizes='some'), 'some'),
    (dict(depth_scale=0), 'depth_scale: got 0'), (dict(normal_signs=(1, 2, 1)), r'\(1, 2, 1\)'),
    (dict(data_prefix=dict(img='images')), 'data_prefix: got img,'),
    (dict(metainfo=dict(classes=('back', 'left', 'right'))), 'expected 3 indices from 0 to 2'),
    (dict(metainfo=dict(classes=('back', 'body'), flip_indices=(0, 0))), "'body' becomes 'back', which becomes 'back'"),
    (dict(data_prefix=dict(seg_map_path=None)), 'got no seg_map_path'),
    (dict(filter_cfg=dict(regions=('face', ))), "'face'.* no region")])
def test_bad_options(people, options, message):
    with pytest.raises(ValueError, match=message):
        build(people, **options)


def test_masks_alone(people):
    for kind in ('parts', 'depths', 'normals'):
        shutil.rmtree(people / kind)
    sample = build(people, tasks=())[0]
    assert sample['mask_path'] == str(people / 'masks/a.png')
    assert 'seg_map_path' not in sample
    (people / 'masks/a.png').unlink()
    with pytest.raises(ValueError, match=r'masks: got 1 of 3 images \(a\) that have no mask'):
        build(people, tasks=())


def test_bad_list_of_samples(people):
    with pytest.raises(FileNotFoundError, match='val.txt'):
        build(people, ann_file='val.txt')
    (people / 'val.txt').write_text('a\nd\n')
    with pytest.raises(ValueError, match=r"val.txt: got 1 of 2 names \(d\) that have no image in '.*images'"):
        build(people, ann_file='val.txt')


@pytest.mark.parametrize(('table', 'named'), [
    ((0, 2, 2), ('left_arm', 'right_arm')), ((1, 0, 2), ('background', 'left_arm')),
    ((0, 1, 2), ('left_arm', 'right_arm')),
    ((1, 2, 0), ('left_arm', 'right_arm')), ((0, 2, 5), ('5', '2'))])
def test_mirror_tables_that_are_no_pairs(people, table, named):
    metainfo = dict(classes=('background', 'left_arm', 'right_arm'), palette=[[0, 0, 0]] * 3, flip_indices=table)
    with pytest.raises(ValueError) as error:
        DATASETS.build(dict(type='SapiensDenseDataset', data_root=str(people), metainfo=metainfo))
    assert all(name in str(error.value) for name in named)


def test_names_with_dots_and_subfolders(people, tmp_path):
    for kind in ('images', 'masks', 'parts', 'depths', 'normals'):
        source, = people.glob(f'{kind}/a.*')
        for name in ('frame.0001', 'walk/frame.0001', 'walk/left.cam/x'):
            target = people / kind / f'{name}{source.suffix}'
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    names = [info['sample_name'] for info in SapiensDenseDataset(data_root=str(people))]
    assert names == ['a', 'b', 'c', 'frame.0001', 'walk/frame.0001', 'walk/left.cam/x']
    (people / 'some.txt').write_text('frame.0001\nwalk/frame.0001.png\nwalk/left.cam/x\na.png\n')
    dataset = SapiensDenseDataset(data_root=str(people), ann_file='some.txt')
    assert [info['sample_name'] for info in dataset] == ['a', 'frame.0001', 'walk/frame.0001', 'walk/left.cam/x']
    assert dataset[2]['seg_map_path'].endswith('parts/walk/frame.0001.png')
    (people / 'parts/walk/frame.0001.png').unlink()
    with pytest.raises(ValueError, match='walk/frame.0001'):
        SapiensDenseDataset(data_root=str(people))


def test_label_folders_inside_of_the_image_folder(people):
    for path in people.glob('images/*.png'):
        shutil.move(path, people / path.name)
    dataset = SapiensDenseDataset(data_root=str(people), data_prefix=dict(img_path=''))
    assert [info['sample_name'] for info in dataset] == ['a', 'b', 'c']


def test_samples_are_sorted_and_complete(people):
    dataset = DATASETS.build(dict(type='SapiensDenseDataset', data_root=str(people)))
    assert [dataset.get_data_info(i)['sample_name'] for i in range(3)] == ['a', 'b', 'c']
    info = dataset[1]
    assert info['img_path'] == str(people / 'images/b.png')
    assert info['normal_map_path'] == str(people / 'normals/b.npy')
    assert info['num_classes'] == 28
    assert info['flip_indices'][4] == 13
    assert info['seg_fields'] == []
    assert 'instance_map_path' not in info


def test_listed_samples(people):
    (people / 'val.txt').write_text('c.png\na\n\n')
    (people / 'images/d.png').write_bytes(b'')  # not listed, so its partners are not missed
    dataset = build(people, ann_file='val.txt')
    assert [dataset.get_data_info(i)['sample_name'] for i in range(2)] == ['a', 'c']


def test_instances_where_they_exist(people):
    (people / 'instances').mkdir()
    shutil.copy(people / 'masks/b.png', people / 'instances/b.png')
    dataset = build(people)
    assert ['instance_map_path' in dataset[i] for i in range(3)] == [False, True, False]


def test_indices_serialization_and_lazy_init(people):
    assert [build(people, indices=2)[i]['sample_name'] for i in range(2)] == ['a', 'b']
    assert build(people, indices=[2], serialize_data=False)[0]['sample_name'] == 'c'
    lazy = build(people / 'nowhere', lazy_init=True)
    assert lazy.metainfo['classes'][2] == 'Face_Neck'


def test_order_is_that_of_the_names_whatever_the_disk_says(people, monkeypatch):
    """Each rank's share is its part of the one-process order."""
    from sapiens_mm.dense import datasets
    scandir = datasets.os.scandir

    class Reversed:

        def __init__(self, path):
            self.entries = sorted(scandir(path), key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *error):
            pass

    for i in range(4):
        for kind in ('images', 'masks', 'parts', 'depths', 'normals'):
            source, = people.glob(f'{kind}/a.*')
            shutil.copy(source, source.with_stem(f'x{i}'))
    dataset = build(people)
    monkeypatch.setattr(datasets.os, 'scandir', Reversed)
    reordered = build(people)

    def order(dataset, rank, world, shuffle):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (rank, world))
        sampler = DefaultSampler(dataset, shuffle=shuffle, seed=3)
        return [dataset.get_data_info(i)['sample_name'] for i in sampler]

    for shuffle in (False, True):
        single = order(dataset, 0, 1, shuffle)
        first, second = order(dataset, 0, 2, shuffle), order(reordered, 1, 2, shuffle)
        padded = single + single[:1]  # seven samples for two ranks
        assert (first, second) == (padded[::2], padded[1::2])
        assert (single == ['a', 'b', 'c', 'x0', 'x1', 'x2', 'x3']) is not shuffle
        assert len(set(single)) == 7


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array)


def build_layout(name, root, **options):
    return DATASETS.build(dict(type=name, data_root=str(root), **options))


@pytest.mark.parametrize('name', ['SapiensLIPDataset', 'SapiensCIHPDataset'])
def test_unknown_split(tmp_path, name):
    with pytest.raises(ValueError, match='test'):
        build_layout(name, tmp_path, split='test')


def test_synthetic(people):
    (people / 'depths').rename(people / 'depth')
    (people / 'normals').rename(people / 'normal')
    info = SapiensLoadLabels()(build_layout('SapiensSyntheticDataset', people)[0])
    assert info['seg_fields'] == ['gt_person_mask', 'gt_seg_map', 'gt_depth_map', 'gt_normal_map']


def test_thuman2(people):
    (people / 'depths').rename(people / 'depth')
    (people / 'normals').rename(people / 'normal')
    for kind in ('images', 'masks', 'depth', 'normal'):
        for region, old in zip(('face', 'upper_body', 'full_body'), 'abc'):
            source, = people.glob(f'{kind}/{old}.*')
            source.rename(source.with_stem(f'0007_{region}'))
    dataset = build_layout('SapiensTHuman2Dataset', people)
    assert [dataset[i]['region'] for i in range(3)] == ['face', 'full_body', 'upper_body']
    assert 'seg_map_path' not in dataset[0]
    dataset = build_layout('SapiensTHuman2Dataset', people, filter_cfg=dict(regions=['full_body']))
    assert [dataset[i]['sample_name'] for i in range(len(dataset))] == ['0007_full_body']


def test_hi4d(people):
    (people / 'depths').rename(people / 'depth')
    (people / 'normals').rename(people / 'normal')
    dataset = build_layout('SapiensHi4DDataset', people, tasks=('normal', ))
    assert 'region' not in dataset[0]
    assert 'depth_map_path' not in dataset[0]


def test_lip_and_cihp(tmp_path):
    labels = np.full((4, 6), 19, np.uint8)
    write(tmp_path / 'TrainVal_images/val_images/1_2.jpg', IMAGE)
    write(tmp_path / 'TrainVal_parsing_annotations/val_segmentations/1_2.png', labels)
    for kind in ('Category_ids', 'Human_ids'):
        write(tmp_path / f'Training/{kind}/0000006.png', labels)
    write(tmp_path / 'Training/Images/0000006.jpg', IMAGE)
    lip, cihp = build_layout('SapiensLIPDataset', tmp_path, split='val'), build_layout('SapiensCIHPDataset', tmp_path)
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
    dataset = build_layout('SapiensSynthHumanDataset', tmp_path)
    assert [dataset[i]['region'] for i in range(4)] == ['face', 'full_body', 'full_body', 'upper_body']
    info = SapiensLoadLabels()(dataset[0])
    np.testing.assert_allclose(info['gt_depth_map'], [[0, 0, 0, 2.5, 2.5, 2.5]] * 4)
    np.testing.assert_allclose(info['gt_normal_map'], normal * (alpha > 127)[..., None])
    strict = SapiensLoadLabels()
    with pytest.raises(ValueError, match='depth_0098039.exr.* 12 pixels of 24'):
        strict(build_layout('SapiensSynthHumanDataset', tmp_path, mask_labels=False)[0])
    shutil.rmtree(tmp_path)
