import re

import pytest
from mmengine.config import Config

from sapiens_mm.apis.drop_in import Refused, drop_in, find_config

TINY = dict(embed_dims=32, num_layers=4, num_heads=2, feedforward_channels=64)
RESNET = dict(type='ResNet', depth=18, num_stages=4, out_indices=(0, 1, 2, 3), style='pytorch')


@pytest.fixture
def own(tmp_path):
    """Writes a config of the user's own, by default RetinaNet on mmdet's."""

    def write(text='', base='mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'):
        path = tmp_path / 'mine' / 'own.py'
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'_base_ = {base!r}\n{text}' if base else text)
        return str(path)

    return write


def without_scopes(value):
    """A config's value without the `_scope_` that MMEngine puts into what is inherited from a host."""
    if isinstance(value, dict):
        return {key: without_scopes(item) for key, item in value.items() if key != '_scope_'}
    return type(value)(map(without_scopes, value)) if isinstance(value, (list, tuple)) else value


def test_configs_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'nowhere.py' is no file.*HOST::FILE"):
        find_config('nowhere.py')
    with pytest.raises(ValueError, match='mmfoo'):
        find_config('mmfoo::retinanet_r50_fpn_1x_coco')
    with pytest.raises(FileNotFoundError, match='mmdet has no such config'):
        find_config('mmdet::retinanet_r5000_fpn_1x_coco')
    with pytest.raises(ValueError, match='fits 2 configs.*_base_/datasets/coco_instance.py'):
        find_config('mmdet::coco_instance')


def test_names_of_a_config():
    path, base = find_config('mmdet::retinanet_r50_fpn_1x_coco')
    assert base == 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
    for name in (base, 'mmdet::retinanet/retinanet_r50_fpn_1x_coco', 'mmdet::retinanet_r50_fpn_1x_coco.py', path):
        assert find_config(name) == (path, base)


@pytest.mark.parametrize(('name', 'reason'), [
    ('mmseg::bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024', 'BiSeNetV1 is a whole network'),
    ('mmseg::dpt_vit-b16_8xb2-160k_ade20k-512x512', 'DPTHead reads a cls token'),
    ('mmpose::edpose_res50_8xb2-50e_coco-800x1333', 'the stock config does not load'),
    ('mmdet::yolov3_d53_8xb8-ms-416-273e_coco', 'strides 32, 16, 8'),
    ('mmdet::ssd300_coco', 'strides 8, 16, 32, 64, 128, 256'),
    ('mmpose::ae_hrnet-w32_8xb24-300e_coco-512x512', 'it only tests'),
    ('mmdet::soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco', 'config of its detector'),
])
def test_configs_that_cannot_take_a_plain_vit(name, reason):
    with pytest.raises(Refused, match=reason):
        drop_in(name, TINY)


def test_own_configs_that_cannot(own):
    with pytest.raises(Refused, match='SapiensViT already'):
        drop_in(own("custom_imports = dict(imports=['sapiens_mm'])\n"
                    "model = dict(backbone=dict(_delete_=True, type='SapiensViT', arch='sapiens_tiny'))"), TINY)
    with pytest.raises(Refused, match='it has no `model`'):
        drop_in(own("default_scope = 'mmdet'\n", base=None), TINY)
    with pytest.raises(Refused, match="default_scope is None"):
        drop_in(own("model = dict(type='A')\n", base=None), TINY)
    with pytest.raises(Refused, match='does not load'):
        drop_in(own('model = dict(\n'), TINY)
    with pytest.raises(Refused, match='does not run with its own backbone.*num_blocks'):
        drop_in(own('model = dict(backbone=dict(num_blocks=3))'), TINY)
    with pytest.raises(ValueError, match="arch is 'sapiens_7b'"):
        drop_in(own(), 'sapiens_7b')


@pytest.mark.parametrize(('name', 'neck', 'strides'), [
    ('mmdet::retinanet_r50_fpn_1x_coco', 'SapiensFeaturePyramid', [8, 16, 32, 64, 128]),
    ('mmdet::mask-rcnn_r50_fpn_1x_coco', 'SapiensFeaturePyramid', [4, 8, 16, 32, 64]),
    ('mmdet::yolox_tiny_8xb8-300e_coco', 'SapiensFeaturePyramid', [8, 16, 32]),  # states them nowhere in its config
    ('mmdet::solov2_r50_fpn_1x_coco', 'SapiensFeaturePyramid', [4, 8, 16, 32, 64]),  # its generator has others
    ('mmdet::yolact_r50_1xb8-55e_coco', 'SapiensFeaturePyramid', [8, 16, 32, 64, 128]),  # 7.97, 15.7, ...
    ('mmdet::mask2former_r50_8xb2-lsj-50e_coco', 'SapiensFeaturePyramid', [4, 8, 16, 32]),
    ('mmdet::detr_r50_8xb2-150e_coco', 'ChannelMapper', [16]),
    ('mmdet::faster-rcnn_r50-caffe_c4-1x_coco', 'SapiensFeaturePyramid', [16]),
    ('mmdet::yolof_r50-c5_8xb8-1x_coco', 'SapiensFeaturePyramid + DilatedEncoder', [32]),
    ('mmdet::deformable-detr_r50_16xb2-50e_coco', 'SapiensFeaturePyramid + ChannelMapper', [8, 16, 32, 64]),
    ('mmseg::upernet_r50_4xb4-80k_ade20k-512x512', 'SapiensFeaturePyramid', [4, 8, 16, 32]),
    ('mmseg::deeplabv3plus_r50-d8_4xb4-80k_ade20k-512x512', 'SapiensFeaturePyramid', [4, 8]),
    pytest.param('mmseg::setr_vit-l-mla_8xb1-160k_ade20k-512x512', 'MLANeck', [16] * 4, marks=pytest.mark.slow),
    ('mmseg::pspnet_r50-d8_4xb4-80k_ade20k-512x512', '', [16, 16]),
    ('mmpose::td-hm_hrnet-w32_8xb64-210e_coco-256x192', '', [16]),
    ('mmpose::cid_hrnet-w32_8xb20-140e_coco-512x512', 'SapiensFeaturePyramid', [4]),
    ('mmpretrain::resnet50_8xb32_in1k', 'GlobalAveragePooling', [16]),
    ('mmpretrain::resnet50-arcface_8xb32_inshop', '', [16]),
])
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


def test_heatmap_heads_keep_the_stride_of_their_heatmaps():
    """From 32 by three transposed convolutions, from 4 by none: two lead from 16 to 4."""
    for name in ('td-hm_res50_8xb64-210e_coco-256x192', 'td-hm_hrnet-w32_8xb64-210e_coco-256x192'):
        head = drop_in(f'mmpose::{name}', TINY).cfg.model.head
        assert (head.in_channels, list(head.deconv_out_channels), head.deconv_kernel_sizes) == (32, [256] * 2, [4] * 2)
    head = drop_in('mmpose::rtmpose-m_8xb256-420e_coco-256x192', TINY).cfg.model.head
    assert (head.in_featuremap_size, 'deconv_out_channels' in head) == ((12, 16), False)
    head = drop_in('mmpose::simcc_res50_8xb64-210e_coco-256x192', TINY).cfg.model.head
    assert (head.in_featuremap_size, len(head.deconv_out_channels)) == ((12, 16), 2)


def test_images_are_normalized_as_the_weights_know_them():
    for name in ('fcos_r50-caffe_fpn_gn-head_1x_coco', 'yolox_tiny_8xb8-300e_coco', 'rtmdet_tiny_8xb32-300e_coco'):
        settings = drop_in(f'mmdet::{name}', TINY).cfg.model.data_preprocessor
        assert (settings.mean, settings.std, settings.bgr_to_rgb) == (
            [123.675, 116.28, 103.53], [58.395, 57.12, 57.375], True)
    plan = drop_in('mmdet::retinanet_r50_fpn_1x_coco', TINY)
    assert plan.cfg.model.data_preprocessor == plan.stock.model.data_preprocessor


def test_optimizer():
    """AdamW with layer decay; a stock AdamW's rates, and what it says of other places than the backbone, stay."""
    wrapper = drop_in('mmdet::retinanet_r50_fpn_1x_coco', TINY).cfg.optim_wrapper
    assert (wrapper.optimizer.type, wrapper.constructor, wrapper.clip_grad.max_norm) == (
        'AdamW', 'SapiensLayerDecayConstructor', 1.0)
    assert wrapper.paramwise_cfg == dict(layer_decay_rate=0.85)
    wrapper = drop_in('mmdet::deformable-detr_r50_16xb2-50e_coco', TINY).cfg.optim_wrapper
    assert (wrapper.optimizer.lr, wrapper.optimizer.weight_decay, wrapper.clip_grad.max_norm) == (2e-4, 1e-4, 0.1)
    assert wrapper.paramwise_cfg.custom_keys == dict(
        sampling_offsets=dict(lr_mult=0.1), reference_points=dict(lr_mult=0.1))
    plan = drop_in('mmdet::centernet-update_r50_fpn_8xb8-amp-lsj-200e_coco', TINY)
    assert (plan.cfg.optim_wrapper.type, plan.cfg.optim_wrapper.dtype) == ('AmpOptimWrapper', 'bfloat16')


@pytest.mark.parametrize('name', [
    'mmdet::yolox_tiny_8xb8-300e_coco', 'mmseg::upernet_r50_4xb4-80k_ade20k-512x512',
    'mmpose::rtmpose-m_8xb256-420e_coco-256x192'])
def test_schedules_have_no_absolute_end(name):
    schedulers = drop_in(name, TINY).cfg.param_scheduler
    assert not any(scheduler.get('eta_min') for scheduler in schedulers)


def test_own_config_is_inherited_from_its_place(own, tmp_path):
    """By a relative path, with what it changed, and without weights that are another backbone's."""
    path = own("load_from = 'https://somewhere/retinanet.pth'\nmodel = dict(bbox_head=dict(num_classes=3))\n")
    plan = drop_in(path, 'sapiens_0.3b', 'weights/mine.pth')
    out = tmp_path / 'new' / 'out.py'
    out.parent.mkdir()
    out.write_text(plan.text(str(out.parent)))
    assert "_base_ = '../mine/own.py'" in out.read_text()
    cfg = Config.fromfile(out)
    assert cfg.load_from is None
    assert cfg.model.bbox_head.num_classes == 3
    assert cfg.model.backbone.init_cfg == dict(type='Pretrained', checkpoint='weights/mine.pth')
    assert cfg.model.neck.in_channels == 1024


@pytest.mark.parametrize(('checkpoint', 'padded'), [
    (None, False), ('checkpoints/sapiens_0.3b_goliath_best_goliath_AP_573.pth', True),
    ('hf://facebook/sapiens-seg-0.3b/sapiens_0.3b_goliath_best_goliath_mIoU_7673_epoch_194.pth', False)])
def test_padding_is_that_of_the_public_weights(own, checkpoint, padded):
    backbone = drop_in(own(), 'sapiens_0.3b', checkpoint).cfg.model.backbone
    assert backbone.get('patch_cfg') == (dict(padding=2) if padded else None)
    assert backbone.init_cfg.checkpoint == (
        checkpoint or 'hf://facebook/sapiens-pretrain-0.3b/sapiens_0.3b_epoch_1600_clean.pth')
    assert drop_in(own(), 'sapiens_tiny').cfg.model.backbone.get('init_cfg') is None


@pytest.mark.parametrize('path', ['faster-rcnn_sapiens-0.3b_1x_coco', 'rtmpose_sapiens-0.3b_420e_coco-256x192',
                                  'upernet_sapiens-0.3b_80k_ade20k-512x512'])
def test_examples_are_what_the_tool_writes(root, path):
    path = root / 'configs' / 'examples' / f'{path}.py'
    base = re.search(r"_base_ = '(.*)'", path.read_text())[1]
    assert path.read_text() == drop_in(base).text(str(path.parent))
