"""ONNX files in place of models."""
import sys

import numpy as np
import pytest
import torch

from sapiens_mm.apis import SapiensInferencer
from sapiens_mm.apis.export import export_model
from sapiens_mm.apis.models import load_model
from sapiens_mm.apis.onnx_model import load_onnx_model
from sapiens_mm.engine.checkpoint import CheckpointError

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')


@pytest.fixture(scope='module', params=['pose-133', 'multi'])
def pair(request, can_export, small_models, tmp_path_factory):
    """A model, and the file of it."""
    config, checkpoint = small_models[request.param]
    model, path = load_model(checkpoint, config), tmp_path_factory.mktemp('onnx') / 'a.onnx'
    export_model(model, path)
    return model, path


def test_without_onnxruntime(pair, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(ImportError, match=r"pip install 'sapiens_mm\[export\]'"):
        load_onnx_model(str(pair[1]))


def test_an_unsupported_device(pair):
    with pytest.raises(ValueError, match='mps'):
        load_onnx_model(str(pair[1]), 'mps')


def test_a_broken_file(tmp_path):
    (tmp_path / 'a.onnx').write_bytes(b'no model')
    with pytest.raises(CheckpointError, match='a.onnx'):
        load_onnx_model(str(tmp_path / 'a.onnx'))


def test_a_foreign_file(tmp_path):
    node = onnx.helper.make_node('Identity', ['x'], ['y'])
    values = [onnx.helper.make_tensor_value_info(name, 1, [1]) for name in 'xy']
    graph = onnx.helper.make_graph([node], 'graph', values[:1], values[1:])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid('', 18)], ir_version=9),
              tmp_path / 'a.onnx')
    with pytest.raises(CheckpointError, match='a.onnx'):
        load_onnx_model(str(tmp_path / 'a.onnx'))


@pytest.mark.usefixtures('can_export')
def test_metadata_of_other_tools_is_ignored(small_models, tmp_path):
    config, checkpoint = small_models['depth']
    export_model(load_model(checkpoint, config), tmp_path / 'a.onnx')
    model = onnx.load(tmp_path / 'a.onnx')
    onnx.helper.set_model_props(model, {**{entry.key: entry.value for entry in model.metadata_props},
                                        'onnx.infer': 'onnxruntime.quant'})
    onnx.save(model, tmp_path / 'b.onnx')
    assert load_model(tmp_path / 'b.onnx').tasks == ('depth', )


@pytest.mark.usefixtures('can_export')
def test_a_file_with_decode(small_models, tmp_path):
    config, checkpoint = small_models['depth']
    export_model(load_model(checkpoint, config), tmp_path / 'a.onnx', with_decode=True)
    with pytest.raises(CheckpointError, match='a.onnx .*--with-decode'):
        load_onnx_model(str(tmp_path / 'a.onnx'))


def test_features_need_a_backbone(pair):
    inferencer = SapiensInferencer(weights=pair[1], device='cpu', detector=None)
    with pytest.raises(ValueError, match='a.onnx'):
        inferencer.features(np.zeros((64, 48, 3), np.uint8))
    with pytest.raises(ValueError, match='a.onnx'):
        inferencer.save_pretrained('nowhere', 'mit')


@pytest.mark.usefixtures('can_export')
def test_large_models_have_their_weights_beside_them(small_models, tmp_path, monkeypatch):
    monkeypatch.setattr('torch.onnx._internal.exporter._onnx_program._LARGE_MODEL_THRESHOLD', 0)
    config, checkpoint = small_models['normal']
    export_model(load_model(checkpoint, config), tmp_path / 'a.onnx')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.onnx', 'a.onnx.data']
    assert load_model(tmp_path / 'a.onnx')(torch.zeros(1, 3, 64, 48))['normal'].shape == (1, 3, 16, 12)
    (tmp_path / 'a.onnx.data').unlink()
    with pytest.raises(CheckpointError, match='a.onnx.data'):
        load_model(tmp_path / 'a.onnx')


def test_outputs_equal_those_of_the_model(pair):
    model, path = pair
    loaded = load_model(path)
    assert loaded.tasks == model.tasks
    assert loaded.input_size == model.input_size
    for number in (1, 2, 5):
        images = torch.randint(0, 256, (number, 3, 64, 48), dtype=torch.uint8)
        outputs = loaded(images)
        with torch.no_grad():
            expected = model(images)
        assert list(outputs) == list(expected)
        for task, output in expected.items():
            torch.testing.assert_close(outputs[task], output, rtol=0, atol=1e-4 * output.abs().max().item())


def test_metadata_equals_that_of_the_model(pair):
    model, path = pair
    loaded = load_model(path)
    for task, meta in model.metainfo.items():
        for name, value in meta.items():
            np.testing.assert_equal(_plain(loaded.metainfo[task][name]), _plain(value), err_msg=name)
    if model.codec is not None:
        heatmaps = torch.rand(1, 133, 16, 12)
        torch.testing.assert_close(loaded.codec.decode_heatmaps(heatmaps), model.codec.decode_heatmaps(heatmaps))


def _plain(value):
    """JSON has no tuples."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    return value
