"""Models as files: what they compute, and what is refused."""
import json
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from torch import nn

from sapiens_mm.apis import export
from sapiens_mm.apis.export import ExportedModel, export_model
from sapiens_mm.apis.models import load_model
from sapiens_mm.pose.codec import SapiensUDPHeatmap
from sapiens_mm_cli import main as sapiens_mm

OUTPUTS = {
    'pose-17': {'keypoints': (17, 2), 'scores': (17, )},
    'seg': {'labels': (64, 48)},
    'depth': {'depth': (1, 64, 48)},
    'normal': {'normals': (3, 64, 48)},
    'multi': {'labels': (64, 48), 'depth': (1, 64, 48), 'normals': (3, 64, 48)},
}


def load(models, name, **kwargs):
    config, checkpoint = models[name]
    return load_model(checkpoint, config, **kwargs)


def run_onnx(path, images):
    session = pytest.importorskip('onnxruntime').InferenceSession(path, providers=['CPUExecutionProvider'])
    actual = session.run(None, {'images': images.numpy()})
    return {output.name: torch.from_numpy(array) for output, array in zip(session.get_outputs(), actual)}


@pytest.mark.parametrize('config', ['nowhere.py', 'no_config.py'])
def test_invalid_configs(small_models, tmp_path, monkeypatch, capsys, config):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'no_config.py').write_text('a = 1\n')
    assert sapiens_mm(['export', config, str(small_models['depth'][1])]) == 2
    assert ('nowhere.py' if config == 'nowhere.py' else 'depth.pth') in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['no_config.py']


def test_a_checkpoint_of_another_model(small_models, tmp_path, capsys):
    out = tmp_path / 'a.onnx'
    assert sapiens_mm(['export', str(small_models['depth'][0]), str(small_models['normal'][1]), '--out', str(out)]) == 2
    assert 'size mismatch' in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize('out', ['nowhere/a.onnx', '.'])
def test_an_invalid_output_file(small_models, tmp_path, capsys, out):
    config, checkpoint = map(str, small_models['depth'])
    assert sapiens_mm(['export', config, checkpoint, '--out', str(tmp_path / out)]) == 2
    assert str(tmp_path / out) in capsys.readouterr().err


def test_onnx_in_bfloat16(small_models, tmp_path):
    with pytest.raises(ValueError, match='bf16'):
        export_model(load(small_models, 'depth', dtype=torch.bfloat16), tmp_path / 'a.onnx')


@pytest.mark.parametrize('package', ['onnxscript', 'onnxruntime'])
def test_onnx_without_its_packages(small_models, tmp_path, monkeypatch, package):
    pytest.importorskip('onnxscript')
    pytest.importorskip('onnxruntime')
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"{package}.*pip install 'sapiens_mm\[export\]'"):
        export_model(load(small_models, 'depth'), tmp_path / 'a.onnx')


def test_an_old_torch(small_models, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch, '__version__', '2.1.2')
    config, checkpoint = map(str, small_models['depth'])
    out = tmp_path / 'a.pt2'
    assert sapiens_mm(['export', config, checkpoint, '--format', 'torch-export', '--out', str(out)]) == 2
    assert 'got torch 2.1.2' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures('can_export')
def test_a_file_that_differs_from_the_model_is_removed(small_models, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(export.TOLERANCES, 'fp32', (-1., -1.))
    config, checkpoint = map(str, small_models['depth'])
    out = tmp_path / 'a.pt2'
    assert sapiens_mm(['export', config, checkpoint, '--format', 'torch-export', '--out', str(out)]) == 1
    assert 'depth' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures('can_export')
@pytest.mark.parametrize('name', OUTPUTS)
def test_onnx_decodes_like_the_model_for_any_batch(small_models, tmp_path, capsys, name):
    pytest.importorskip('onnxruntime')
    config, checkpoint = map(str, small_models[name])
    out = tmp_path / 'a.onnx'
    assert sapiens_mm(['export', config, checkpoint, '--with-decode', '--out', str(out)]) == 0
    assert f'wrote {out}' in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ['a.onnx']
    model = load(small_models, name)
    for number in (1, 4):
        images = torch.rand(number, 3, 64, 48, generator=torch.Generator().manual_seed(number)) * 255
        actual = run_onnx(out, images)
        assert {key: tuple(value.shape[1:]) for key, value in actual.items()} == OUTPUTS[name]
        with torch.no_grad():
            expected = ExportedModel(model, True)(images)
        for key, value in expected.items():
            assert actual[key].dtype == value.dtype
            if key == 'labels':
                assert (actual[key] == value).float().mean() > 0.999
            elif key != 'keypoints':  # of which random heatmaps have uncertain ones
                torch.testing.assert_close(actual[key], value, rtol=0, atol=1e-3 * value.abs().max().item())


@pytest.mark.usefixtures('can_export')
@pytest.mark.parametrize(('name', 'dtype'), [('pose-308', torch.float32), ('multi', torch.bfloat16)])
def test_torch_export(small_models, tmp_path, name, dtype):
    model, out = load(small_models, name, dtype=dtype), tmp_path / 'a.pt2'
    differences = export_model(model, out, 'torch-export')
    assert all(actual <= tolerated for actual, tolerated in differences.values())
    extra = {'metadata.json': ''}
    program = torch.export.load(out, extra_files=extra).module()
    images = torch.rand(2, 3, 64, 48) * 255
    with torch.no_grad():
        for (_, expected), actual in zip(model(images).items(), program(images).values()):
            torch.testing.assert_close(actual, expected)
    assert json.loads(json.loads(extra['metadata.json'])['tasks']) == list(model.tasks)


@pytest.mark.usefixtures('can_export')
def test_onnx_in_half_precision(small_models, tmp_path, recwarn):
    pytest.importorskip('onnxruntime')
    differences = export_model(load(small_models, 'depth', dtype=torch.float16), tmp_path / 'a.onnx')
    assert 0 < differences['depth'][0] < 0.02
    assert not [warning for warning in recwarn.list if 'torch' in warning.filename or 'copyreg' in warning.filename]


@pytest.mark.usefixtures('can_export')
@pytest.mark.parametrize('size', [(128, 96), (64, 48)])
def test_a_narrow_released_model_and_an_input_of_another_size(small_models, tmp_path, size):
    """The heads of 0.3b and a quarter of its layers; where the input is not ``img_size``, positions are resized."""
    pytest.importorskip('onnxruntime')
    cfg = Config.fromfile(small_models['normal'][0])
    cfg.model.backbone.arch = dict(embed_dims=64, num_layers=6, num_heads=16, feedforward_channels=256)
    cfg.model.backbone.img_size = (128, 96)
    cfg.model.decode_head.in_channels = 64
    cfg.test_dataloader.dataset.pipeline[1]['size'] = size
    with DefaultScope.overwrite_default_scope('mmseg'):
        torch.save(MODELS.build(cfg.model).state_dict(), tmp_path / 'a.pth')
    model = load_model(tmp_path / 'a.pth', cfg.to_dict())
    assert model.input_size == size
    differences = export_model(model, tmp_path / 'a.onnx', with_decode=True)
    assert differences['normals'][0] <= 1e-4
    with torch.no_grad():  # the model is as it was
        assert model(torch.zeros(1, 3, *size))['normal'].isfinite().all()


@pytest.mark.usefixtures('can_export')
def test_exported_keypoints_are_decoded_as_in_a_test_run():
    """Maps with a peak inside and at the border, so low or high that mmpose clips them, and of zeros."""
    codec = SapiensUDPHeatmap((192, 256), (48, 64), sigma=2)
    random = torch.Generator().manual_seed(0)
    labels = torch.rand(3, 8, 2, generator=random) * torch.tensor([47., 63])
    labels[:, 0] = torch.tensor([0., 63])
    heatmaps = codec.render(labels) + 0.01 * torch.rand(3, 8, 64, 48, generator=random)
    heatmaps *= torch.tensor([1, 1, 1, 1, 1e-3, 1e-2, 200, 0])[:, None, None]

    class Decoder(nn.Module):
        def forward(self, heatmaps):
            return codec.decode_heatmaps(heatmaps)

    program = torch.export.export(Decoder(), (heatmaps[:2], ),
                                  dynamic_shapes={'heatmaps': {0: torch.export.Dim('batch')}})
    (actual, actual_scores), (expected, expected_scores) = program.module()(heatmaps), codec.decode_heatmaps(heatmaps)
    assert (actual - expected).abs().max() < 0.01
    torch.testing.assert_close(actual_scores, expected_scores, rtol=0, atol=0)


def test_help(capsys):
    with pytest.raises(SystemExit):
        sapiens_mm(['export', '--help'])
    assert '--with-decode' in capsys.readouterr().out
