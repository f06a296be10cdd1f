"""Scans of clean and of faulty datasets."""
import copy
import json
import shutil
import signal
import tarfile

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

import sapiens_mm.dense
import sapiens_mm.pose
import sapiens_mm.pretrain  # noqa: F401
from sapiens_mm.apis.dataset_scan import Scan, leaves, scan_config

from ..test_dense.conftest import write_people


def scan(dataset, scope, evaluator=None, workers=0, **splits):
    cfg = Config(dict(default_scope=scope, train_dataloader=dict(dataset=dataset), train_evaluator=None, **splits))
    result = Scan()
    scan_config(cfg, result, workers=workers)
    assert result.complete
    return result


def kinds(result, level='error'):
    return {problem.kind for problem in result.problems if problem.level == level}


@pytest.fixture
def pose(tmp_path, tiny_coco):
    """A copy of the tiny COCO set: its config, its annotations, and their path."""
    shutil.copytree(tiny_coco, tmp_path / 'coco', symlinks=True)
    path = tmp_path / 'coco/annotations/person_keypoints_train2017.json'
    dataset = dict(type='SapiensCocoDataset', data_root=str(tmp_path / 'coco'),
                   ann_file='annotations/person_keypoints_train2017.json', data_prefix=dict(img='train2017'))
    return dataset, json.loads(path.read_text()), path


def test_clean_pose_data(pose):
    dataset, content, _ = pose
    result = scan(dataset, 'mmpose')
    assert not result.wrong
    assert kinds(result, 'warning') == set()
    assert result.files == 6
    statistics = result.statistics['train: SapiensCocoDataset']
    assert statistics['images'] == 6
    assert statistics['image_sizes'] == {'100 x 120': 6}
    assert statistics['persons_per_image'] == {'1': 6}
    assert statistics['labeled_share_of_keypoints']['nose'] == 1
    assert 'nose: 100.00%' in result.table()
    json.dumps(result.to_json())


def test_everything_that_is_wrong_with_pose_data_in_one_scan(pose):
    dataset, content, path = pose
    folder = path.parents[1] / 'train2017'
    images, annotations = content['images'], content['annotations']
    for number in range(7, 19):  # copies to spoil
        images.append({**images[0], 'id': number, 'file_name': f'{number}.png'})
        annotations.append({**copy.deepcopy(annotations[0]), 'id': number, 'image_id': number})
        image = np.random.default_rng(number).integers(0, 256, (120, 100, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f'{number}.png'), image)
    annotations[6]['id'] = 1                                              # 1 repeated ids
    annotations[7]['image_id'] = 99                                       # 2 unknown ids
    annotations[8]['keypoints'][2] = -1                                   # 3 visibilities
    annotations[9]['bbox'][0] = float('nan')                              # 4 not numbers
    annotations[10]['keypoints'] = [v / 120 if i % 3 < 2 else v for i, v in enumerate(annotations[10]['keypoints'])]
    annotations[11]['bbox'] = [0, 0, 0, 10]                               # 6 dropped
    annotations[12]['bbox'] = [99, 119, 1, 1]                             # 7 boxes and keypoints
    annotations[13]['keypoints'] = annotations[13]['keypoints'][:-3]      # 8 number of keypoints
    annotations[14]['id'] = 1.5                                           # 9 invalid ids
    (folder / '16.png').unlink()                                          # 10 missing files
    (folder / '17.png').write_bytes((folder / '17.png').read_bytes()[:2000])  # 11 unreadable images
    cv2.imwrite(str(folder / '18.png'), np.zeros((60, 50, 3), np.uint8))  # 12 image sizes
    shutil.copy(folder / '1.png', folder / '2.png')                       # 13 duplicates
    info = {i: dict(id=i, name=f'left_{i}' if i % 2 else f'right_{i - i % 2 + 1}', swap='', type='', color=[0, 0, 0])
            for i in range(17)}                                           # 14 mirror tables
    metainfo = dict(dataset_name='own', keypoint_info=info, skeleton_info={}, joint_weights=[1.] * 17,
                    sigmas=[0.] * 17)                                     # 15 sigmas and weights
    path.write_text(json.dumps(content))
    result = scan({**dataset, 'metainfo': metainfo}, 'mmpose')
    assert kinds(result) == {
        'repeated ids', 'unknown ids', 'visibilities', 'not numbers', 'units of coordinates',
        'boxes and keypoints', 'number of keypoints', 'invalid ids', 'missing files', 'unreadable images',
        'image sizes', 'mirror tables', 'sigmas and weights'}
    assert 'dropped' in kinds(result, 'warning')
    assert 'duplicates' in kinds(result, 'note')
    assert result.wrong
    for kind in kinds(result):
        assert kind in result.table()


def test_mmposes_own_data_sets_are_checked_too(pose):
    dataset, content, path = pose
    content['annotations'][0]['id'] = 2
    path.write_text(json.dumps(content))
    assert kinds(scan({**dataset, 'type': 'CocoDataset'}, 'mmpose')) == {'repeated ids'}


def test_evaluators_are_checked(pose):
    dataset, content, path = pose
    other = path.with_name('other.json')
    for image in content['images']:
        image['file_name'] = f'x{image["file_name"]}'
    other.write_text(json.dumps(content))
    for kind in ('CocoMetric', 'SapiensKeypointMetric'):
        result = scan(dataset, 'mmpose', val_dataloader=dict(dataset=dict(**dataset, test_mode=True)),
                     val_evaluator=dict(type=kind, ann_file=str(other)))
        assert kinds(result) == {'annotations of the evaluator'}


def test_images_in_training_and_test(pose):
    dataset, *_ = pose
    result = scan(dataset, 'mmpose', val_dataloader=dict(dataset={**dataset, 'data_prefix': dict(img='val2017')}))
    assert 'duplicates' in kinds(result, 'warning')


def test_clean_dense_data(tmp_path):
    result = scan(dict(type='SapiensDenseDataset', data_root=str(write_people(tmp_path))), 'mmseg')
    assert not result.wrong
    assert kinds(result, 'warning') == set()
    assert result.files == 15
    assert result.statistics['train: SapiensDenseDataset']['pixel_share_of_classes']['Face_Neck'] > 0


def test_everything_that_is_wrong_with_dense_data_in_one_scan(tmp_path):
    people = write_people(tmp_path, 'abcdefghijkl')
    parts = cv2.imread(str(people / 'parts/a.png'), -1)
    Image.fromarray(np.repeat(parts[..., None], 3, 2)).save(people / 'parts/b.jpg')     # lossy labels
    (people / 'parts/b.png').unlink()
    Image.fromarray(parts > 0).save(people / 'parts/c.png')                             # 1-bit labels
    cv2.imwrite(str(people / 'parts/d.png'), parts + 90)                                # invalid parts
    np.save(people / 'depths/e.npy', np.full((40, 32), 65504, np.float32))              # depth of the background
    np.save(people / 'depths/f.npy', np.full((40, 32), np.nan, np.float32))             # invalid depth
    np.save(people / 'normals/g.npy', np.load(people / 'normals/g.npy') * 2)            # invalid normals
    np.save(people / 'normals/h.npy', np.load(people / 'normals/h.npy')[1:])            # image sizes
    (people / 'masks/i.png').unlink()                                                   # missing files
    image = (people / 'images/j.png').read_bytes()
    (people / 'images/j.png').write_bytes(image[:len(image) // 2])                      # unreadable images
    (people / 'masks/k.png').write_bytes(b'')                                           # invalid mask
    shutil.copy(people / 'parts/l.png', people / 'parts/zz.png')                        # missing files
    cv2.imwrite(str(people / 'masks/l.png'), np.full((40, 32, 4), 255, np.uint8))       # alpha channels
    metainfo = dict(**sapiens_mm.dense.datasets.SapiensDenseDataset.METAINFO)
    metainfo['flip_indices'] = (*range(26), 26, 26)                                     # mirror tables
    result = scan(dict(type='SapiensDenseDataset', data_root=str(people), metainfo=metainfo), 'mmseg')
    assert kinds(result) == {
        'lossy labels', '1-bit labels', 'invalid parts', 'depth of the background', 'invalid depth', 'image sizes',
        'invalid normals', 'missing files', 'unreadable images', 'invalid mask', 'mirror tables'}
    assert kinds(result, 'warning') == {'alpha channels'}


def test_masks_instead_of_labels(tmp_path):
    people = write_people(tmp_path)
    for number, name in enumerate('abc', 1):
        parts = cv2.imread(str(people / f'parts/{name}.png'), -1)
        cv2.imwrite(str(people / f'parts/{name}.png'), (parts > 0).astype(np.uint8) * 255)
        result = scan(dict(type='SapiensDenseDataset', data_root=str(people)), 'mmseg')
        assert ('masks as labels' in kinds(result)) == (number > 1)  # one may be of ignored pixels alone


def test_what_is_known_is_kept_where_a_scan_is_stopped(pose):
    dataset, content, path = pose
    content['annotations'][0]['id'] = 2
    path.write_text(json.dumps(content))
    result = Scan()

    def stop_at_the_third(title, items):
        left = iter(range(3))
        return lambda: next(left, None) == 2 and signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        scan_config(Config(dict(default_scope='mmpose', train_dataloader=dict(dataset=dataset))), result,
                    progress=stop_at_the_third)
    assert not result.complete
    assert kinds(result) == {'repeated ids'}
    assert result.statistics['train: SapiensCocoDataset']['images'] > 0


@pytest.mark.parametrize('source', ['folder', 'shards'])
def test_pretraining_data(tmp_path, source):
    folder = tmp_path / 'images'
    folder.mkdir()
    for number in range(40):
        image = np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f'{number}.png'), image)
    if source == 'shards':
        for shard in range(2):
            with tarfile.open(tmp_path / f'{shard}.tar', 'w') as tar:
                for number in range(20 * shard, 20 * shard + 20):
                    tar.add(folder / f'{number}.png', f'{number}.png')
    cfg = dict(type='SapiensImages', size=(16, 16), source=dict(type='folder', path=str(folder), chunk=8)
               if source == 'folder' else dict(type='shards', urls=str(tmp_path)))
    result = scan(cfg, 'mmengine')
    assert not result.wrong
    assert result.files == 40
    assert result.statistics['train: SapiensImages']['image_sizes'] == {'30 x 20': 40}
    if source == 'folder':
        (folder / '0.png').write_bytes(b'no image')
        (folder / '1.png').write_bytes((folder / '1.png').read_bytes()[:900])
        expected = {'unreadable images'}
    else:
        (tmp_path / '1.tar').write_bytes((tmp_path / '1.tar').read_bytes()[:9000])
        expected = {'unreadable shards'}
    assert kinds(scan(cfg, 'mmengine')) == expected


def test_near_duplicates_are_found(pose):
    dataset, _, path = pose
    folder = path.parents[1] / 'train2017'
    image = cv2.imread(str(folder / '1.png'))
    cv2.imwrite(str(folder / '3.png'), cv2.convertScaleAbs(image, alpha=.95))
    result = scan(dataset, 'mmpose')
    near, = (problem for problem in result.problems if problem.kind == 'near duplicates')
    assert '1.png' in str(near)
    assert '3.png' in str(near)


def test_wrappers_and_missing_splits():
    leaf = dict(type='A')
    assert leaves(dict(type='RepeatDataset', dataset=leaf)) == [leaf]
    assert leaves(dict(type='ConcatDataset', datasets=[leaf, dict(type='R', dataset=leaf)])) == [leaf, leaf]
    with pytest.raises(ValueError, match='train'):
        scan_config(Config({}), Scan(), ['train'])


@pytest.mark.parametrize('cfg', [
    dict(type='SapiensCocoDataset', ann_file='/nowhere.json'), dict(type='NoSuchDataset'),
    dict(type='SapiensCocoDataset', ann_file='a.json', unknown=1)])
def test_data_that_does_not_open(cfg):
    result = scan(cfg, 'mmpose')
    assert kinds(result) == {'cannot be opened'}


def test_the_tool(run_tool, run_main, pose, tmp_path):
    dataset, content, path = pose
    config = tmp_path / 'config.py'
    config.write_text(f"custom_imports = dict(imports=['sapiens_mm.pose'])\ndefault_scope = 'mmpose'\n"
                      f'train_dataloader = dict(dataset={dataset!r})\n')
    command = ['tools/check_dataset.py', config, '--out', tmp_path / 'out.json']
    done = run_tool(*command)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / 'out.json').read_text())['complete']
    content['annotations'][0]['id'] = 2
    path.write_text(json.dumps(content))
    status, printed, _ = run_main(*command)
    assert status == 1
    assert 'repeated ids' in printed
    assert json.loads((tmp_path / 'out.json').read_text())['wrong']
    for wrong in (['--split', 'test'], ['--workers', '-1'], ['--out', '/nowhere/a.json']):
        assert run_main(*command, *wrong)[0] == 2
    config.write_text('no config')
    status, _, errors = run_main(*command)
    assert status == 2, errors
