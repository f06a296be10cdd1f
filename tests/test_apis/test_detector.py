"""Tests of person detectors."""
import sys

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

from sapiens_mm.apis import PersonDetector
from sapiens_mm.apis.detector import SegDetector, default_detector, whole_frames
from sapiens_mm.apis.frames import Frame, Source
from sapiens_mm.apis.network import TaskModel
from sapiens_mm.engine import CheckpointError

BASE = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """RTMDet-tiny at 128 x 128 pixels."""
    path = tmp_path_factory.mktemp('config') / 'rtmdet.py'
    path.write_text(f"""
_base_ = '{BASE}'
test_dataloader = dict(dataset=dict(pipeline=[
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(128, 128), keep_ratio=True),
    dict(type='Pad', size=(128, 128), pad_val=dict(img=(114, 114, 114))),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]))
""")
    return path


@pytest.fixture(scope='module')
def weights():
    """Random weights of RTMDet-tiny with distinct scores of people."""
    from mmdet.registry import MODELS
    from mmengine.hub import get_config
    torch.manual_seed(0)
    model = get_config(BASE).model
    model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope('mmdet'):
        weights = MODELS.build(model).state_dict()
    for name, value in weights.items():
        if '.rtm_cls.' in name:
            value *= 50
            value[1:] = 0 if name.endswith('weight') else -10
            value[:1] *= name.endswith('weight')
    return weights


@pytest.fixture(scope='module')
def save(weights, tmp_path_factory):
    """Writes a checkpoint as mmdet does."""
    from mmdet.datasets import CocoDataset

    def write(weights=weights, classes=CocoDataset.METAINFO['classes']):
        path = tmp_path_factory.mktemp('detector') / 'detector.pth'
        torch.save(dict(state_dict=weights, meta=dict(dataset_meta=dict(classes=classes))), path)
        return path

    return write


@pytest.fixture(scope='module')
def detector(config, save):
    return PersonDetector(config, save(), 'cpu', score_threshold=0, batch_size=2)


@pytest.mark.parametrize('name', ['nowhere.py', 'mmdet::rtmdet/nowhere.py'])
def test_a_missing_config(save, name):
    with pytest.raises(FileNotFoundError, match=name) as error:
        PersonDetector(name, save())
    assert '\n' not in str(error.value)


def test_a_broken_config(tmp_path):
    (tmp_path / 'broken.py').write_text('model = dict(')
    with pytest.raises(ValueError, match='broken.py .*line 1: SyntaxError'):
        PersonDetector(tmp_path / 'broken.py', 'a.pth')


def test_a_missing_checkpoint(config):
    with pytest.raises(FileNotFoundError, match=r'nowhere\.pth'):
        PersonDetector(config, 'nowhere.pth', 'cpu')


def test_a_checkpoint_of_another_model(config, weights, save, capfd):
    wrong = {**weights, 'bbox_head.rtm_cls.0.bias': torch.zeros(1)}
    wrong.pop('neck.reduce_layers.0.conv.weight')
    with pytest.raises(CheckpointError, match='neck.reduce_layers.*bbox_head.rtm_cls') as error:
        PersonDetector(config, save(wrong), 'cpu')
    assert '\n' not in str(error.value)
    out, err = capfd.readouterr()
    assert 'do not match' not in out + err
    assert 'missing keys' not in out + err


def test_a_detector_of_other_classes(config, save):
    with pytest.raises(ValueError, match='thing 0, thing 1') as error:
        PersonDetector(config, save(classes=[f'thing {i}' for i in range(80)]), 'cpu')
    assert '\n' not in str(error.value)


def test_without_mmdet(config, monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmdet', None)
    with pytest.raises(ImportError, match='pip install mmdet==3.3.0'):
        PersonDetector(config, 'nowhere.pth')


@pytest.mark.parametrize('image', [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((3, 8, 8), np.uint8)])
def test_invalid_images(detector, image):
    with pytest.raises(ValueError, match=f'{image.shape} {image.dtype}'.translate({40: '.', 41: '.'})):
        detector([image])


def test_an_empty_batch(config, save):
    with pytest.raises(ValueError, match='batch_size: got 0'):
        PersonDetector(config, save(), 'cpu', batch_size=0)


@pytest.fixture(scope='module')
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((120, 90), (60, 200), (90, 90))]


def test_boxes_are_those_of_mmdet(detector, images):
    from mmdet.apis import inference_detector
    for image, boxes in zip(images, detector(images), strict=True):
        assert boxes.dtype == np.float32
        with DefaultScope.overwrite_default_scope('mmdet'):
            expected = inference_detector(detector.model, image[..., ::-1]).pred_instances.cpu().numpy()
        expected = expected[expected.labels == 0]
        assert boxes.shape == (len(expected), 5)
        assert len(boxes) > 3
        np.testing.assert_allclose(boxes[:, 4], expected.scores, atol=1e-6)
        np.testing.assert_allclose(boxes[:, :4], expected.bboxes, atol=1e-2)


def test_persons_are_found_by_their_class_name(config, detector, weights, save, images):
    """A detector whose second class is the person, by its weights and by its name."""
    swapped = {name: value.flip(0) if '.rtm_cls.' in name else value for name, value in weights.items()}
    other = PersonDetector(config, save(swapped, [f'thing {i}' for i in range(79)] + ['Person']), 'cpu',
                           score_threshold=0)
    np.testing.assert_allclose(other(images[:1])[0], detector(images[:1])[0], atol=1e-3)


def test_score_threshold(detector, images, monkeypatch):
    all_boxes, = detector(images[:1])
    threshold = float(np.median(all_boxes[:, 4]))
    monkeypatch.setattr(detector, 'score_threshold', threshold)
    boxes, = detector(images[:1])
    assert 0 < len(boxes) < len(all_boxes)
    assert (boxes[:, 4] >= threshold).all()
    monkeypatch.setattr(detector, 'score_threshold', 1.)
    assert detector(images[:1])[0].shape == (0, 5)
    assert detector([]) == []


def test_a_config_of_mmdet_by_its_name(save):
    assert PersonDetector(BASE, save(), 'cpu')([np.zeros((64, 64, 3), np.uint8)])[0].shape[1] == 5


def test_the_default_scope_is_unchanged(config, save, images):
    DefaultScope.get_instance('mmpose', scope_name='mmpose')
    PersonDetector(config, save(), 'cpu')(images[:1])
    assert DefaultScope.get_current_instance().scope_name == 'mmpose'


def test_people_are_regions_of_the_segmentation():
    logits = torch.zeros(1, 3, 48, 36)
    logits[:, 0] = 5.
    logits[:, 1, 10:40, 4:10] = 10.  # a body
    logits[:, 2, 41:44, 4:12] = 10.  # its shoe, close to it
    logits[:, 1, 20:40, 20:30] = 10.  # another person
    logits[:, 1, 2, 2] = 10.  # a speck
    model = TaskModel(('seg', ), (192, 144), {}, lambda images: logits, '', '', torch.device('cpu'))
    boxes, = SegDetector(model)([Frame(Source('a.jpg', 'a.jpg'), np.zeros((100, 200, 3), np.uint8))])
    scale = np.array([200 / 36, 100 / 48])
    np.testing.assert_allclose(boxes[:, :4], [[*(4, 10) * scale, *(12, 44) * scale],
                                              [*(20, 20) * scale, *(30, 40) * scale]], rtol=1e-5)
    assert (boxes[:, 4] > .9).all()


def test_whole_frames():
    frame = Frame(Source('a.jpg', 'a.jpg'), np.zeros((100, 200, 3), np.uint8))
    assert whole_frames([frame])[0].tolist() == [[0, 0, 200, 100, 1]]


def test_default_detectors():
    assert default_detector('tiny', own_weights=False) == 'parts'  # which works offline
    assert default_detector('tiny', own_weights=True) == default_detector('1b', own_weights=False) == 'rtmdet-m'
