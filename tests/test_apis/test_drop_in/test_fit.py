"""Tests of fitting backbone, neck and heads to each other."""
import pytest
from mmengine.config import Config

from sapiens_mm.apis.drop_in import drop_in
from sapiens_mm.apis.drop_in.check import TINY

from .conftest import adapt


def without_scopes(value):
    """A config's value without the `_scope_` that MMEngine puts into what is inherited from a host."""
    if isinstance(value, dict):
        return {key: without_scopes(item) for key, item in value.items() if key != '_scope_'}
    return type(value)(map(without_scopes, value)) if isinstance(value, (list, tuple)) else value


PYRAMID = 'SapiensFeaturePyramid'
CASES = [
    ('mmdet::retinanet_r50_fpn_1x_coco', PYRAMID, [8, 16, 32, 64, 128]),
    ('mmdet::yolox_tiny_8xb8-300e_coco', PYRAMID, [8, 16, 32]),  # states them nowhere in its config
    ('mmdet::yolact_r50_1xb8-55e_coco', PYRAMID, [8, 16, 32, 64, 128]),  # states 7.97, 15.7 and so on
    ('mmdet::mask2former_r50_8xb2-lsj-50e_coco', PYRAMID, [4, 8, 16, 32]),
    ('mmdet::detr_r50_8xb2-150e_coco', 'ChannelMapper', [16]),
    ('mmdet::yolof_r50-c5_8xb8-1x_coco', f'{PYRAMID} + DilatedEncoder', [32]),
    ('mmdet::libra-faster-rcnn_r50_fpn_1x_coco', f'{PYRAMID} + BFP', [4, 8, 16, 32, 64]),  # a list of necks
    ('mmseg::upernet_r50_4xb4-80k_ade20k-512x512', PYRAMID, [4, 8, 16, 32]),
    ('mmseg::pspnet_r50-d8_4xb4-80k_ade20k-512x512', '', [16, 16]),
    ('mmpretrain::resnet50_8xb32_in1k', 'GlobalAveragePooling', [16]),
]
SLOW_CASES = [
    ('mmdet::mask-rcnn_r50_fpn_1x_coco', PYRAMID, [4, 8, 16, 32, 64]),
    ('mmdet::solov2_r50_fpn_1x_coco', PYRAMID, [4, 8, 16, 32, 64]),  # its generator is of resized maps
    ('mmdet::condinst_r50_fpn_ms-poly-90k_coco_instance', PYRAMID, [8, 16, 32, 64, 128]),  # its mask head has another
    ('mmdet::faster-rcnn_r50-caffe_c4-1x_coco', PYRAMID, [16]),
    ('mmdet::deformable-detr_r50_16xb2-50e_coco', f'{PYRAMID} + ChannelMapper', [8, 16, 32, 64]),
    ('mmseg::deeplabv3plus_r50-d8_4xb4-80k_ade20k-512x512', PYRAMID, [4, 8]),
    ('mmseg::setr_vit-l-mla_8xb1-160k_ade20k-512x512', 'MLANeck', [16] * 4),
    ('mmpose::cid_hrnet-w32_8xb20-140e_coco-512x512', PYRAMID, [4]),
    ('mmpose::simcc_mobilenetv2_wo-deconv-8xb64-210e_coco-256x192', '', [16]),
    ('mmpretrain::resnet50-arcface_8xb32_inshop', '', [16]),
]


@pytest.mark.parametrize(('name', 'neck', 'strides'), [
    *CASES, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW_CASES)])
def test_neck_and_strides(name, neck, strides, tmp_path):
    """And the file that is written says what was chosen."""
    if name.startswith('mmpretrain'):
        pytest.importorskip('mmpretrain')
    plan = drop_in(name, TINY)
    chosen = plan.cfg.model.get('neck')
    assert ' + '.join(part.type for part in (chosen if isinstance(chosen, list) else [chosen]) if part) == neck
    assert plan.strides == strides
    path = tmp_path / 'out.py'
    path.write_text(plan.text(str(tmp_path)))
    assert without_scopes(Config.fromfile(path).to_dict()) == plan.cfg.to_dict()
    assert max(map(len, path.read_text().splitlines())) <= 120


@pytest.mark.parametrize('name', [
    'td-hm_res50_8xb64-210e_coco-256x192',
    pytest.param('td-hm_hrnet-w32_8xb64-210e_coco-256x192', marks=pytest.mark.slow)])
def test_heatmap_heads_keep_the_stride_of_their_heatmaps(name):
    """From 32 by three transposed convolutions, from 4 by none: two lead from 16 to 4."""
    head = drop_in(f'mmpose::{name}', TINY).cfg.model.head
    assert (head.in_channels, list(head.deconv_out_channels), head.deconv_kernel_sizes) == (32, [256] * 2, [4] * 2)


def test_coordinate_heads_know_the_size_of_their_map():
    head = drop_in('mmpose::rtmpose-m_8xb256-420e_coco-256x192', TINY).cfg.model.head
    assert (head.in_featuremap_size, 'deconv_out_channels' in head) == ((12, 16), False)
    head = drop_in('mmpose::simcc_res50_8xb64-210e_coco-256x192', TINY).cfg.model.head
    assert (head.in_featuremap_size, len(head.deconv_out_channels)) == ((12, 16), 2)


@pytest.mark.parametrize(('checkpoint', 'padded'), [
    (None, False), ('checkpoints/sapiens_0.3b_goliath_best_goliath_AP_573.pth', True),
    ('hf://facebook/sapiens-seg-0.3b/sapiens_0.3b_goliath_best_goliath_mIoU_7673_epoch_194.pth', False)])
def test_padding_is_that_of_the_public_weights(write_config, checkpoint, padded):
    backbone = adapt(write_config(), 'sapiens_0.3b', checkpoint).cfg.model.backbone
    assert backbone.get('patch_cfg') == (dict(padding=2) if padded else None)
    assert backbone.init_cfg.checkpoint == (
        checkpoint or 'hf://facebook/sapiens-pretrain-0.3b/sapiens_0.3b_epoch_1600_clean.pth')
    assert adapt(write_config(), 'sapiens_tiny').cfg.model.backbone.get('init_cfg') is None
