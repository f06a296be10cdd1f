"""Tests of written drop-in configs."""
import re

import pytest
from mmengine.config import Config

from sapiens_mm.apis.drop_in import drop_in


def test_own_config_is_inherited_from_its_place(write_config, tmp_path):
    """By a relative path, with what it changed, and without weights that are another backbone's."""
    path = write_config("load_from = 'https://somewhere/retinanet.pth'\nmodel = dict(bbox_head=dict(num_classes=3))\n")
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


@pytest.mark.parametrize('path', ['faster-rcnn_sapiens-0.3b_1x_coco', 'rtmpose_sapiens-0.3b_420e_coco-256x192',
                                  'upernet_sapiens-0.3b_80k_ade20k-512x512'])
def test_examples_are_what_the_tool_writes(root, path):
    path = root / 'configs' / 'examples' / f'{path}.py'
    base = re.search(r"_base_ = '(.*)'", path.read_text())[1]
    assert path.read_text() == drop_in(base).text(str(path.parent))
