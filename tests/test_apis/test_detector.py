import sys

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

from sapiens_mm.apis import PersonDetector
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
    """Random weights of RTMDet-tiny, but that scores differ, and are those of people."""
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


def one_line(error):
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('name', ['nowhere.py', 'mmdet::rtmdet/nowhere.py'])
def test_a_config_that_is_not_there(save, name):
    with pytest.raises(FileNotFoundError, match=f"there is no config file '{name}'; check the path") as error:
        PersonDetector(name, save())
    one_line(error)


def test_a_config_that_is_broken(tmp_path):
    (tmp_path / 'broken.py').write_text('model = dict(')
    with pytest.raises(ValueError, match='broken.py cannot be read, line 1: SyntaxError'):
        PersonDetector(tmp_path / 'broken.py', 'a.pth')


def test_a_checkpoint_that_is_not_there(config):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint file 'nowhere\.pth'") as error:
        PersonDetector(config, 'nowhere.pth', 'cpu')
    one_line(error)


def test_a_checkpoint_of_another_model(config, weights, save, capfd):
    wrong = {**weights, 'bbox_head.rtm_cls.0.bias': torch.zeros(1)}
    wrong.pop('neck.reduce_layers.0.conv.weight')
    with pytest.raises(CheckpointError, match='missing: neck.reduce_layers.*; mis-shaped: bbox_head.rtm_cls') as error:
        PersonDetector(config, save(wrong), 'cpu')
    one_line(error)
    out, err = capfd.readouterr()
    assert 'do not match' not in out + err
    assert 'missing keys' not in out + err


def test_a_detector_of_other_things(config, save):
    with pytest.raises(ValueError, match="no class 'person' but thing 0, thing 1, .* and more; take one") as error:
        PersonDetector(config, save(classes=[f'thing {i}' for i in range(80)]), 'cpu')
    one_line(error)


def test_without_mmdet(config, monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmdet', None)
    with pytest.raises(ImportError, match='people are found by mmdet .*: pip install mmdet==3.3.0') as error:
        PersonDetector(config, 'nowhere.pth')
    one_line(error)


@pytest.mark.parametrize('image', [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((3, 8, 8), np.uint8)])
def test_an_image_of_another_layout(detector, image):
    with pytest.raises(ValueError, match='expected .H, W, 3. uint8 RGB'):
        detector([image])


def test_a_batch_of_nothing(config, save):
    with pytest.raises(ValueError, match='batch_size=0'):
        PersonDetector(config, save(), 'cpu', batch_size=0)


@pytest.fixture(scope='module')
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((120, 90), (60, 200), (90, 90))]


def test_finds_what_mmdet_finds(detector, images):
    from mmdet.apis import inference_detector
    found = detector(images)
    assert len(found) == len(images)
    for image, boxes in zip(images, found):
        assert boxes.dtype == np.float32
        with DefaultScope.overwrite_default_scope('mmdet'):
            expected = inference_detector(detector.model, image[..., ::-1]).pred_instances.cpu().numpy()
        expected = expected[expected.labels == 0]
        assert boxes.shape == (len(expected), 5)
        assert len(boxes) > 3
        np.testing.assert_allclose(boxes[:, 4], expected.scores, atol=1e-6)
        np.testing.assert_allclose(boxes[:, :4], expected.bboxes, atol=1e-2)


def test_the_class_is_found_by_its_name(config, detector, weights, save, images):
    """A detector whose second class is the person, by its weights and by its name."""
    swapped = {name: value.flip(0) if '.rtm_cls.' in name else value for name, value in weights.items()}
    other = PersonDetector(config, save(swapped, [f'thing {i}' for i in range(79)] + ['Person']), 'cpu',
                           score_threshold=0)
    np.testing.assert_allclose(other(images[:1])[0], detector(images[:1])[0], atol=1e-3)


def test_low_scores_are_left_out(detector, images, monkeypatch):
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


def test_the_default_scope_stays(config, save, images):
    DefaultScope.get_instance('mmpose', scope_name='mmpose')
    PersonDetector(config, save(), 'cpu')(images[:1])
    assert DefaultScope.get_current_instance().scope_name == 'mmpose'
