"""Tests of finding and loading stock configs."""
import pytest

from sapiens_mm.apis.config_report import ConfigError
from sapiens_mm.apis.drop_in import drop_in, find_config
from sapiens_mm.apis.drop_in.check import TINY

from .conftest import adapt


def test_configs_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nowhere.py.*HOST::FILE'):
        find_config('nowhere.py')
    with pytest.raises(ValueError, match='mmfoo'):
        find_config('mmfoo::retinanet_r50_fpn_1x_coco')
    with pytest.raises(FileNotFoundError, match='retinanet_r5000_fpn_1x_coco.*mmdet'):
        find_config('mmdet::retinanet_r5000_fpn_1x_coco')
    with pytest.raises(ValueError, match='coco_instance.*2 configs.*_base_/datasets/coco_instance.py'):
        find_config('mmdet::coco_instance')


def test_names_of_a_config():
    path, base = find_config('mmdet::retinanet_r50_fpn_1x_coco')
    assert base == 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
    for name in (base, 'mmdet::retinanet/retinanet_r50_fpn_1x_coco', 'mmdet::retinanet_r50_fpn_1x_coco.py', path):
        assert find_config(name) == (path, base)


@pytest.mark.parametrize(('name', 'reason'), [
    ('mmseg::bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024', 'BiSeNetV1'),
    ('mmseg::dpt_vit-b16_8xb2-160k_ade20k-512x512', 'DPTHead'),
    ('mmpose::edpose_res50_8xb2-50e_coco-800x1333', 'the stock config does not load'),
    ('mmdet::yolov3_d53_8xb8-ms-416-273e_coco', '32, 16, 8'),
    ('mmdet::ssd300_coco', '8, 16, 32, 64, 128, 256'),
    ('mmpose::ae_hrnet-w32_8xb24-300e_coco-512x512', 'train_dataloader'),
    ('mmdet::tridentnet_r50-caffe_1x_coco', 'does not build'),
    ('mmpretrain::vgg16_8xb32_in1k', 'head.in_channels'),
    ('mmpretrain::mae_vit-base-p16_8xb512-amp-coslr-300e_in1k', 'model.type'),
    ('mmdet::soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco', 'detector'),
])
def test_configs_that_cannot_take_a_plain_vit(name, reason):
    if name.startswith('mmpretrain'):
        pytest.importorskip('mmpretrain')
    with pytest.raises(ConfigError, match=reason):
        drop_in(name, TINY)


def test_own_configs_that_cannot(write_config):
    with pytest.raises(ConfigError, match='SapiensViT'):
        drop_in(write_config(
            "custom_imports = dict(imports=['sapiens_mm'])\n"
            "model = dict(backbone=dict(_delete_=True, type='SapiensViT', arch='sapiens_tiny'))"), TINY)
    with pytest.raises(ConfigError, match='model'):
        drop_in(write_config("default_scope = 'mmdet'\n", base=None), TINY)
    with pytest.raises(ConfigError, match='default_scope: got None'):
        drop_in(write_config("model = dict(type='A')\n", base=None), TINY)
    with pytest.raises(ConfigError, match='does not load'):
        drop_in(write_config('model = dict(\n'), TINY)
    with pytest.raises(ConfigError, match='num_blocks'):
        drop_in(write_config('model = dict(backbone=dict(num_blocks=3))'), TINY)
    with pytest.raises(ConfigError, match=r'RetinaHead.*\[4, 8, 16, 32, 64\].*\[8, 16, 32, 64, 128\]'):
        drop_in(write_config('model = dict(bbox_head=dict(anchor_generator=dict(strides=[4, 8, 16, 32, 64])))'), TINY)
    with pytest.raises(ValueError, match='of the size 1b, expected sapiens_0.3b'):
        adapt(write_config(), 'sapiens_0.3b', 'weights/sapiens_1b_epoch_173_clean.pth')
    with pytest.raises(ValueError, match='sapiens_7b'):
        drop_in(write_config(), 'sapiens_7b')
