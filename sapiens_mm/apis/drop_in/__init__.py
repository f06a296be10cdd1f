"""Sapiens backbones in configs of mmdet, mmseg, mmpose or mmpretrain."""
import copy
import os.path as osp
import tempfile

from mmengine.config import Config
from torch import nn

from ...backbones import Sapiens2ViT, SapiensViT
from .fit import FIT, num_layers_of, put_backbone
from .plan import Plan
from .stock import brief, build_model, find_config, load_stock, measure
from .training import adapt_hooks, drop_dead_keys, normalize, optimize

__all__ = ['Plan', 'drop_in', 'find_config']

_NARROW = dict(embed_dims=32, num_heads=2, feedforward_channels=64)


def drop_in(config: str, arch: str | dict = 'sapiens_0.3b', checkpoint: str | None = None,
            vit: type | None = None) -> Plan:
    """Puts a Sapiens backbone into a config, with the neck, strides and optimizer that its head needs.

    The head needs maps with the channels and strides of the stock model, which are measured on it without weights.

    Args:
        config: A path, or ``HOST::FILE`` of an installed host: ``'mmdet::faster-rcnn_r50_fpn_1x_coco'``, with or
            without folders and suffix.
        arch: Architecture of ``vit``.
        checkpoint: Weights of the backbone: a path, ``http(s)://`` or ``hf://`` address; by default the public
            pretrained ones of the size, if any.
        vit: ``SapiensViT`` or ``Sapiens2ViT``; by default as the name of ``arch`` says.

    Raises:
        ConfigError: The config cannot take a plain ViT, or does not build with its own backbone.
        FileNotFoundError: The config does not exist, or its host is not installed.
        ValueError: Several configs match, or ``arch`` is unknown.
    """
    if vit is None:
        vit = Sapiens2ViT if str(arch).startswith('sapiens2_') else SapiensViT
    width = vit._arch_settings(arch)['embed_dims']
    path, base = find_config(config)
    stock = load_stock(path, config)
    plan = Plan(base, stock, copy.deepcopy(stock))
    measured = measure(stock, config)
    plan.head_strides = measured.head_strides
    put_backbone(plan, vit, arch, checkpoint)
    FIT[plan.host](plan, measured, width)
    normalize(plan)
    optimize(plan)
    adapt_hooks(plan)
    drop_dead_keys(plan, [name for name, _ in _build_narrow(plan).named_parameters()])
    return plan


def _build_narrow(plan: Plan) -> nn.Module:
    try:
        with tempfile.TemporaryDirectory() as folder:
            written = read_text(plan, osp.join(folder, 'config.py'))
        backbone = Plan(plan.base, plan.stock, written).backbone
        backbone.arch = dict(_NARROW, num_layers=num_layers_of(backbone))
        return build_model(written)
    except Exception as error:
        raise plan.refusal(f'the new config does not build ({brief(error)})') from error


def read_text(plan: Plan, path: str) -> Config:
    with open(path, 'w', encoding='utf-8') as file:
        file.write(plan.text(osp.dirname(path)))
    return Config.fromfile(path)
