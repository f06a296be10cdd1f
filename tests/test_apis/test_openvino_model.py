"""OpenVINO in place of PyTorch."""
import json
import os
import shutil
import signal
import sys
import threading

import cv2
import numpy as np
import pytest
import torch

from sapiens_mm.apis import SapiensInferencer, openvino_model
from sapiens_mm.apis.export import TOLERANCES, export_model
from sapiens_mm.apis.models import load_model
from sapiens_mm.apis.network import DTYPES
from sapiens_mm.apis.openvino_model import choose_runtime
from sapiens_mm_cli import main

BOXES = [np.array([[10, 5, 80, 115, 1], [30, 0, 90, 120, 1]], np.float32)]


@pytest.fixture(scope='module')
def has_openvino():
    pytest.importorskip('openvino')


@pytest.fixture(scope='module')
def _cache(tmp_path_factory):
    """Shared by the tests, since conversions take seconds."""
    return tmp_path_factory.mktemp('cache')


@pytest.fixture
def cache(has_openvino, _cache, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(_cache))
    return _cache / 'sapiens_mm' / 'openvino'


@pytest.fixture
def conversions(monkeypatch):
    """The models that were converted."""
    models, convert = [], openvino_model._convert
    monkeypatch.setattr(openvino_model, '_convert', lambda model: models.append(model) or convert(model))
    return models


def make(models, name, **options):
    config, checkpoint = models[name]
    return SapiensInferencer(weights=(config, checkpoint), device='cpu', dtype='fp32', detector=None, **options)


def image():
    return cv2.resize(np.random.default_rng(0).integers(0, 256, (12, 9, 3), np.uint8), (90, 120),
                      interpolation=cv2.INTER_CUBIC)


def assert_equal(actual, expected, size):
    relative, pixels = TOLERANCES['fp32']
    if expected.keypoints is not None:
        scale = (BOXES[0][:, 2:4] - BOXES[0][:, :2]).max() * 1.25 / min(size)
        assert np.abs(actual.keypoints - expected.keypoints).max() < pixels * max(scale, 1)
        np.testing.assert_allclose(actual.keypoint_scores, expected.keypoint_scores, atol=relative)
    assert list(actual.maps) == list(expected.maps)
    for name, values in expected.maps.items():
        if name == 'parts':
            assert (actual.maps[name] == values).mean() > .999
        else:
            np.testing.assert_allclose(actual.maps[name], values, atol=10 * relative * np.abs(values).max())


@pytest.mark.parametrize('flip_test', [False, True])
def test_the_embedded_model_equals_that_of_torch(cache, flip_test):
    options = dict(size='tiny', device='cpu', dtype='fp32', flip_test=flip_test, detector=None)
    expected, = SapiensInferencer(**options)([image()], BOXES)
    inferencer = SapiensInferencer(**options, runtime='openvino')
    actual, = inferencer([image()], BOXES)
    assert_equal(actual, expected, inferencer.pose.input_size)
    assert {'parts', 'depth', 'normal'} == set(actual.maps)


@pytest.mark.parametrize('name', ['pose-308', 'multi'])
def test_outputs_equal_those_of_torch_for_any_batch(cache, small_models, name):
    (model, ), (expected, ) = (make(small_models, name, runtime=runtime).models for runtime in ('openvino', 'torch'))
    for number in (1, 3, 1):
        images = torch.randint(0, 256, (number, 3, 64, 48), dtype=torch.uint8)
        outputs = model(images)
        with torch.no_grad():
            for task, output in expected(images).items():
                torch.testing.assert_close(outputs[task], output, rtol=0, atol=1e-4 * output.abs().max().item())


def test_some_tasks_and_the_detector_of_a_multi_task_model(cache, small_models):
    tasks = ['seg', 'normal']
    expected, actual = (SapiensInferencer(tasks, weights=small_models['multi'], device='cpu', dtype='fp32',
                                          detector='parts', per_person=True, runtime=runtime)([image()] * 3)
                        for runtime in ('torch', 'openvino'))
    for one, other in zip(actual, expected, strict=True):
        assert list(one.maps) == ['parts', 'normal']
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1)


def test_a_second_start_reads_the_cache(cache, small_models, conversions):
    make(small_models, 'depth', runtime='openvino')
    make(small_models, 'depth', runtime='openvino')
    assert len(conversions) == 1
    assert not [name for name in os.listdir(cache) if '.part' in name]


@pytest.mark.parametrize(('name', 'damage'), [
    ('model.xml', 'cut'), ('model.bin', 'changed'), ('model.bin', 'missing'), ('sha256.json', 'cut')])
def test_a_damaged_cache_is_made_again(cache, small_models, conversions, name, damage):
    expected = make(small_models, 'seg', runtime='openvino')([image()])[0].parts
    path, = cache.glob(f'{openvino_model._key(make(small_models, "seg").models[0])}/{name}')
    content = path.read_bytes()
    path.unlink()
    if damage != 'missing':
        middle = len(content) // 2
        path.write_bytes(content[:middle] if damage == 'cut' else
                         content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1:])
    conversions.clear()
    for _ in range(2):
        assert (make(small_models, 'seg', runtime='openvino')([image()])[0].parts == expected).all()
        assert len(conversions) == 1


def test_a_cache_that_cannot_be_written(has_openvino, small_models, tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    with pytest.warns(UserWarning, match='cannot be written'):
        assert make(small_models, 'depth', runtime='openvino')([image()])[0].depth.shape == (120, 90)


def test_a_full_cache_loses_the_conversion_unused_the_longest(cache, small_models, monkeypatch):
    shutil.rmtree(cache, ignore_errors=True)
    make(small_models, 'seg', runtime='openvino')
    first, = cache.iterdir()
    os.utime(first, (0, 0))
    make(small_models, 'normal', runtime='openvino')
    second, = set(cache.iterdir()) - {first}
    os.utime(second, (1, 1))
    make(small_models, 'seg', runtime='openvino')  # now used last
    newest = openvino_model._key(make(small_models, 'depth').models[0])
    monkeypatch.setattr(openvino_model, 'MAX_CACHED', 2.5 * openvino_model._size(first))
    make(small_models, 'depth', runtime='openvino')
    assert {path.name for path in cache.iterdir()} == {first.name, newest}


def test_a_signal_after_another_thread_drops_the_models(cache, small_models):
    held, signals = [make(small_models, 'depth', runtime='openvino')], []
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    before = signal.signal(signal.SIGINT, lambda *args: signals.append(args[0]))
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert signals == [signal.SIGINT]


def test_another_config_or_other_weights_are_other_conversions(has_openvino, small_models):
    models = [make(small_models, name).models[0] for name in ('depth', 'depth', 'normal', 'multi', 'multi')]
    models[1].input_size = 32, 32
    models[4].keep(['depth'])
    assert len({openvino_model._key(model) for model in models}) == 5


def test_meta_states_what_ran(cache, tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), image())
    for runtime, dtype in (('torch', 'fp32'), ('openvino', 'bf16')):
        out = tmp_path / runtime
        assert main(['run', str(tmp_path / 'a.png'), '--size', 'tiny', '--tasks', 'pose-17', '--device', 'cpu',
                     '--runtime', runtime, '--dtype', dtype, '--out', str(out), '--save', 'json']) == 0
        model, = json.loads((out / 'meta.json').read_text())['models']
        assert model['runtime'] == runtime
        assert model['dtype'] in ('float32', 'bfloat16')  # float32 where the CPU has no bfloat16
    assert list(cache.iterdir())


def test_resume_names_the_other_runtime(cache, tmp_path, capsys):
    args = ['run', str(tmp_path), '--size', 'tiny', '--tasks', 'pose-17', '--device', 'cpu', '--dtype', 'fp32', '--out',
            str(tmp_path / 'out'), '--save', 'json', '--resume']
    for name, runtime in (('a', 'torch'), ('b', 'auto')):
        cv2.imwrite(str(tmp_path / f'{name}.png'), image())
        assert main([*args, '--runtime', runtime]) == 0
    assert 'torch in float32' in capsys.readouterr().err
    meta = json.loads((tmp_path / 'out/meta.json').read_text())
    assert [part['models'][0]['runtime'] for part in (meta, *meta['earlier'])] == ['openvino', 'torch']


@pytest.mark.parametrize('options', [dict(device='meta'), dict(dtype='fp16'), dict(compile=True), dict(missing=True)])
def test_auto_is_torch_where_openvino_cannot_run(options, monkeypatch):
    if options.pop('missing', False):
        monkeypatch.setitem(sys.modules, 'openvino', None)
    device, dtype = options.get('device', 'cpu'), DTYPES[options.get('dtype', 'fp32')]
    assert choose_runtime('auto', torch.device(device), dtype, options.get('compile', False)) == 'torch'


@pytest.mark.usefixtures('can_export')
def test_auto_leaves_onnx_files_to_onnx_runtime(has_openvino, small_models, tmp_path):
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    config, checkpoint = small_models['depth']
    export_model(load_model(checkpoint, config), tmp_path / 'a.onnx')
    facts, = SapiensInferencer(weights=str(tmp_path / 'a.onnx'), device='cpu', runtime='auto').describe()['models']
    assert facts['runtime'] == 'onnx'


def test_without_openvino(monkeypatch, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / 'a.png'), image())
    monkeypatch.setitem(sys.modules, 'openvino', None)
    assert main(['run', str(tmp_path / 'a.png'), '--size', 'tiny', '--device', 'cpu', '--runtime', 'openvino',
                 '--out', str(tmp_path / 'out')]) == 2
    line, = capsys.readouterr().err.splitlines()
    assert "pip install 'sapiens_mm[openvino]'" in line
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(('options', 'word'), [
    (dict(runtime='tensorrt'), 'tensorrt'), (dict(runtime='openvino', dtype='fp16'), 'float16'),
    (dict(runtime='openvino', compile=True), 'compile'), (dict(runtime='openvino', device='meta'), 'meta')])
def test_invalid_options(options, word):
    with pytest.raises(ValueError, match=word):
        SapiensInferencer(size='tiny', **{'device': 'cpu', **options})


@pytest.mark.usefixtures('can_export')
def test_an_onnx_file_is_refused(has_openvino, small_models, tmp_path):
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    config, checkpoint = small_models['depth']
    export_model(load_model(checkpoint, config), tmp_path / 'a.onnx')
    facts, = SapiensInferencer(weights=str(tmp_path / 'a.onnx'), device='cpu').describe()['models']
    assert (facts['runtime'], facts['dtype']) == ('onnx', 'float32')
    with pytest.raises(ValueError, match='a.onnx'):
        SapiensInferencer(weights=str(tmp_path / 'a.onnx'), device='cpu', runtime='openvino')


def test_features_need_torch(cache, small_models):
    with pytest.raises(ValueError, match='openvino'):
        next(make(small_models, 'depth', runtime='openvino').features([image()]))
