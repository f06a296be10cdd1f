"""Tests of trial training steps of drop-in configs."""
import sys

import pytest

from sapiens_mm.apis.drop_in.check import check

RETINANET = 'mmdet::retinanet_r50_fpn_1x_coco'


def write_config(folder, name, base, text):
    path = folder / f'{name}.py'
    path.write_text(f'_base_ = {base!r}\n{text}')
    return str(path)


@pytest.mark.slow
def test_what_trains_and_what_does_not(tmp_path):
    """One pair of processes checks all configs: an error in one does not affect the next."""
    unused = write_config(
        tmp_path, 'unused', 'mmseg::fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512.py',
        "model = dict(auxiliary_head=dict(loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.0)))\n"
        "custom_imports = dict(imports=['unused_layer'])\n")
    (tmp_path / 'unused_layer.py').write_text('''
from mmseg.models.decode_heads import FCNHead
init = FCNHead.__init__


def with_more(self, *args, **kwargs):
    import torch
    init(self, *args, **kwargs)
    self.idle = torch.nn.Linear(2, 2)


FCNHead.__init__ = with_more
''')
    sys.path.insert(0, str(tmp_path))
    try:
        results = check([
            'mmseg::bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024', unused,
            'mmpose::td-hm_res50_8xb64-210e_coco-256x192', RETINANET])
    finally:
        sys.path.remove(str(tmp_path))
    refused, idle, pose, detector = results
    assert not refused.passed
    assert 'BiSeNetV1' in refused.refused
    assert not idle.passed
    assert idle.without_gradient == [f'{head}.idle.{kind}' for head in ('auxiliary_head', 'decode_head')
                                     for kind in ('bias', 'weight')]
    for result in (pose, detector):
        assert result.passed, result.error
        assert len(result.losses) == 3
        assert result.predictions == 2
        assert result.groups == 2 * (4 + 2) + 1  # embeddings and blocks, head; position embedding is no bias
    assert detector.losses[-1] < detector.losses[0]
    assert (detector.neck, detector.strides, detector.head_strides) == (
        'SapiensFeaturePyramid', [8, 16, 32, 64, 128], [8, 16, 32, 64, 128])


@pytest.mark.slow
def test_stock_configs(root):
    """Of 60 stock configs at least 54 train with a Sapiens backbone; the others are refused with a reason."""
    listed = root.parent / 'shared' / 'stock_configs.txt'
    if not listed.is_file():
        pytest.skip(f'{listed} does not exist')
    pytest.importorskip('mmpretrain')
    pytest.importorskip('sklearn')  # mmdet's PAA
    names = [line for line in listed.read_text().splitlines() if line and not line.startswith('#')]
    results = check(names, print)
    assert [result.error for result in results if result.error] == []
    assert sum(result.passed for result in results) >= 54
