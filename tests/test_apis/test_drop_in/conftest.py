"""Fixtures of drop-in configs."""
import copy

import pytest

from sapiens_mm.apis.drop_in.check import TINY
from sapiens_mm.apis.drop_in.fit import put_backbone
from sapiens_mm.apis.drop_in.plan import Plan
from sapiens_mm.apis.drop_in.stock import find_config, load_stock
from sapiens_mm.apis.drop_in.training import adapt_hooks, normalize, optimize
from sapiens_mm.backbones import SapiensViT


@pytest.fixture
def write_config(tmp_path):
    """Writes a config of the user's own, by default RetinaNet on mmdet's."""

    def write(text='', base='mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'):
        path = tmp_path / 'mine' / 'own.py'
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'_base_ = {base!r}\n{text}' if base else text)
        return str(path)

    return write


def adapt(config, arch=TINY, checkpoint=None):
    """A plan with backbone, normalization, optimizer and hooks, which no model needs to be built for."""
    path, base = find_config(config)
    stock = load_stock(path, config)
    plan = Plan(base, stock, copy.deepcopy(stock))
    put_backbone(plan, SapiensViT, arch, checkpoint)
    normalize(plan)
    optimize(plan)
    adapt_hooks(plan)
    return plan
