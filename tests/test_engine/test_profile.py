"""Tests of model profiles: parameters, multiply-adds, memory."""
import pytest
from mmengine.config import Config
from mmengine.hub import get_config

import sapiens_mm.pretrain  # noqa: F401  (registers)
from sapiens_mm.engine.profile import profile_model

# Table 2 of the paper: TFLOPs (multiply-adds of the layers) at 1024 x 1024; fine-tuned backbones in M parameters.
TABLE = {'0.3b': (306.24, 1.242), '0.6b': (634.60, 2.583), '1b': (1139.16, 4.647), '2b': (2131.94, 8.709)}


@pytest.mark.parametrize('size', TABLE)
def test_published_numbers(root, size):
    cfg = Config.fromfile(root / f'configs/sapiens_pose/coco/sapiens_{size}-210e_coco-1024x768.py')
    profile = profile_model(cfg, shape=(1024, 1024))
    parameters, macs = TABLE[size]
    assert profile.parameters['backbone'] / 1e6 == pytest.approx(parameters, abs=0.01)
    assert profile.macs['backbone'] / 1e12 == pytest.approx(macs, rel=0.01)


def test_counts_of_a_model_by_hand(root):
    cfg = Config.fromfile(root / 'configs/sapiens_pose/coco/sapiens_tiny-210e_coco-256x192.py')
    profile = profile_model(cfg, batch=2)
    D, tokens, layers = 192, 192, 12
    assert profile.macs['backbone'] == 2 * tokens * (layers * 12 * D * D + 3 * 16 * 16 * D)
    assert profile.attention_macs['backbone'] == 2 * layers * 2 * tokens**2 * D
    # Two 4x4 transposed convolutions of stride 2 (inputs of 16x12 and 32x24), two 1x1 and the last one, on 64x48.
    assert profile.macs['head'] == 2 * D * (16 * D * (16 * 12 + 32 * 24) + 64 * 48 * (2 * D + 17))
    assert profile.checkpointed_activations < profile.activations
    assert profile_model(cfg, batch=4).activations == pytest.approx(2 * profile.activations, rel=0.01)
    assert profile_model(cfg, batch=2, amp=True).activations < profile.activations


def test_heads_of_several_tasks_count(root):
    cfg = Config.fromfile(root / 'configs/sapiens_multitask/synthetic/sapiens_0.3b-200e_synthetic-1024x768.py')
    profiles = [profile_model(cfg, shape=(64, 48))]
    for task, data in (('seg', 'goliath'), ('depth', 'render_people'), ('normal', 'render_people')):
        cfg = Config.fromfile(root / f'configs/sapiens_{task}/{data}/sapiens_0.3b-200e_{data}-1024x768.py')
        profiles.append(profile_model(cfg, shape=(64, 48)))
    assert profiles[0].macs['heads'] == sum(profile.macs['decode_head'] for profile in profiles[1:]) > 0


def test_published_numbers_of_pretraining():
    """335.53 M parameters in encoder and decoder; the encoder sees a quarter of the patches."""
    backbone = dict(type='SapiensViT', arch='sapiens_0.3b', img_size=1024)
    profile = profile_model(Config(dict(model=dict(type='SapiensMAE', backbone=backbone))))
    assert sum(profile.parameters.values()) / 1e6 == pytest.approx(335.53, rel=0.005)
    D, d, patches, visible = 1024, 512, 4096, 1025
    assert profile.macs['backbone'] == 24 * 12 * D * D * visible + 3 * 16 * 16 * D * patches
    assert profile.macs['neck'] == D * d * visible + 8 * 12 * d * d * 4097 + d * 768 * patches
    assert profile.attention_macs == dict(backbone=24 * 2 * visible**2 * D, neck=8 * 2 * 4097**2 * d)
    assert 4 * profile.checkpointed_activations < profile.activations


@pytest.mark.parametrize('name', ['faster-rcnn', 'upernet', 'rtmpose'])
def test_models_of_other_hosts(root, name):
    path, = (root / 'configs/examples').glob(f'{name}*.py')
    profile = profile_model(Config.fromfile(path), shape=(256, 192))
    layers = 24 * 12 * 1024**2 * 192
    assert profile.macs['backbone'] == layers + 192 * 768 * 1024
    if name == 'faster-rcnn':
        assert profile.macs['neck'] > 0
        assert profile.macs['roi_head'] == 0


def test_foreign_backbone():
    """It tells neither its image size nor its blocks."""
    cfg = get_config('mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py')
    with pytest.raises(ValueError, match='--shape'):
        profile_model(cfg)
    profile = profile_model(cfg, shape=(256, 192))
    assert profile.parameters['backbone'] / 1e6 == pytest.approx(23.5, abs=0.1)
    assert profile.checkpointed_activations is None
    assert 'total' in str(profile)
