"""A Sapiens backbone in a config of mmdet, mmseg, mmpose or mmpretrain."""
import copy
import os.path as osp
import tempfile

from mmengine.config import Config
from torch import nn

from ...backbones import SapiensViT
from .fit import FIT, backbone_cfg, put_backbone
from .plan import DropInError, Plan
from .stock import brief, build_model, find_config, load_stock, measure
from .training import adapt_hooks, drop_dead_keys, normalize, optimize

__all__ = ['DropInError', 'Plan', 'drop_in', 'find_config']

_NARROW = dict(embed_dims=32, num_heads=2, feedforward_channels=64)


def drop_in(config: str, arch: str | dict = 'sapiens_0.3b', checkpoint: str | None = None) -> Plan:
    """Puts a Sapiens backbone into a config, with the neck, strides and optimizer that its head needs.

    The stock model is built with its own backbone, without weights, and its maps are measured: their channels and
    strides are what the head must get from the new backbone.

    Args:
        config: A path, or ``HOST::FILE`` of an installed host: ``'mmdet::faster-rcnn_r50_fpn_1x_coco'``, with or
            without folders and suffix.
        arch: Architecture of :class:`SapiensViT`.
        checkpoint: Weights of the backbone: a path, ``http(s)://`` or ``hf://`` address; by default the public
            pretrained ones of the size, where there are any.

    Raises:
        DropInError: The config cannot take a plain ViT, or does not build with its own backbone.
        FileNotFoundError: There is no such config.
        ValueError: Several fit, or ``arch`` is unknown.
    """
    width = SapiensViT._arch_settings(arch)['embed_dims']
    path, base = find_config(config)
    stock = load_stock(path, config)
    plan = Plan(base, stock, copy.deepcopy(stock))
    measured = measure(stock, config)
    plan.head_strides = measured.head_strides
    put_backbone(plan, arch, checkpoint)
    FIT[plan.host](plan, measured, width)
    normalize(plan)
    optimize(plan)
    adapt_hooks(plan)
    drop_dead_keys(plan, [name for name, _ in _built(plan).named_parameters()])
    return plan


def _built(plan: Plan) -> nn.Module:
    """The new model from what is written, with a narrow backbone."""
    with tempfile.TemporaryDirectory() as folder:
        path = osp.join(folder, 'config.py')
        try:
            with open(path, 'w', encoding='utf-8') as file:
                file.write(plan.text(folder))
            cfg = Config.fromfile(path)
            backbone = backbone_cfg(cfg)
            backbone.arch = dict(_NARROW, num_layers=SapiensViT._arch_settings(backbone.arch)['num_layers'])
            return build_model(cfg)
        except Exception as error:
            raise DropInError(f'{plan.base}: the new config does not build ({brief(error)})') from error
