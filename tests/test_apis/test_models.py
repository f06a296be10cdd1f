"""Tests of loading and saving models."""
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import BaseDataElement

from sapiens_mm.apis import model_zoo
from sapiens_mm.apis.model_config import build_model
from sapiens_mm.apis.model_zoo import released_config
from sapiens_mm.apis.models import load_model, load_released, save_model
from sapiens_mm.backbones import SapiensViT
from sapiens_mm.engine.checkpoint import CheckpointError

IMAGES = torch.randint(0, 256, (2, 3, 64, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_missing_config(small_models):
    with pytest.raises(FileNotFoundError, match='nowhere.py'):
        load_model(small_models['depth'][1], 'nowhere.py')


@pytest.mark.parametrize(('text', 'value'), [
    ('a = 3\nmodel = dict(\n', 'config {} .*line 2: SyntaxError'),
    ('model = b', 'config {} .*line 1: NameError'),
    ('a = 1\nmodel = dict(a=a +)', 'config {} .*line 2: SyntaxError')])
def test_broken_configs(small_models, tmp_path, text, value):
    broken, other = tmp_path / 'broken.py', tmp_path / 'other.py'
    broken.write_text(text)
    other.write_text("_base_ = 'broken.py'\n")
    for config in (broken, other):
        with pytest.raises(ValueError, match=value.format(broken)) as error:
            load_model(small_models['depth'][1], config)
        assert '\n' not in str(error.value)


def test_a_missing_checkpoint(small_models):
    with pytest.raises(FileNotFoundError, match='nowhere.pth'):
        load_model('nowhere.pth', small_models['depth'][0])


@pytest.mark.parametrize(('name', 'other', 'value'), [
    ('depth', 'normal', 'size mismatch for decode_head.conv_seg'), ('seg', 'pose-17', 'Missing key.s.'),
    ('pose-17', 'pose-133', 'size mismatch for head.final_layer')])
def test_a_checkpoint_of_another_model(small_models, name, other, value):
    with pytest.raises(CheckpointError, match=f'does not fill Sapiens.* .{value}') as error:
        load_model(small_models[other][1], small_models[name][0])
    assert '\n' not in str(error.value)


def test_an_unexpected_tensor(small_models, tmp_path):
    config, checkpoint = small_models['depth']
    weights = torch.load(checkpoint, weights_only=True)['state_dict']
    torch.save({**weights, 'backbone.layers.2.ln1.weight': torch.ones(32)}, tmp_path / 'deeper.pth')
    with pytest.raises(CheckpointError, match='unexpected .1.: layers.2.ln1.weight'):
        load_model(tmp_path / 'deeper.pth', config)


class Odd:
    """Checkpoints that hold something else, by name; each is made of the weights of a depth model."""
    first = 'decode_head.conv_seg.weight'
    changes = {
        'list': lambda weights: [weights], 'empty': lambda weights: {},
        'empty_dict': lambda weights: dict(state_dict={}),
        'list_dict': lambda weights: dict(state_dict=[weights]), 'none': lambda weights: dict(state_dict=None),
        'text': lambda weights: dict(state_dict='weights'), 'tensor': lambda weights: weights[Odd.first],
        'other': lambda weights: dict(epoch=3, optimizer=dict(lr=.1)),
        'number': lambda weights: {**weights, 7: weights[Odd.first]},
        'numbers': lambda weights: dict.fromkeys(weights, 3),
        'nested': lambda weights: dict(state_dict=dict(net=weights)),
        'array': lambda weights: {**weights, Odd.first: [1., 2.]}, 'bytes': lambda weights: {b'a': weights[Odd.first]},
        '0d': lambda weights: {name: torch.zeros(()) for name in weights},
        '0d_one': lambda weights: {**weights, 'backbone.pos_embed': torch.zeros(())},
        'empty_tensor': lambda weights: {**weights, 'backbone.pos_embed': torch.zeros(0)},
        'int': lambda weights: {name: value.to(torch.int64) for name, value in weights.items()},
        'bool': lambda weights: {**weights, Odd.first: weights[Odd.first] > 0},
        'complex': lambda weights: {**weights, Odd.first: weights[Odd.first].to(torch.complex64)},
        'sparse': lambda weights: {**weights, Odd.first: weights[Odd.first].to_sparse()},
        'none_value': lambda weights: {**weights, Odd.first: None},
    }


@pytest.mark.parametrize('name', Odd.changes)
@pytest.mark.parametrize('inside', [False, True])
def test_odd_checkpoints(small_models, tmp_path, name, inside):
    config, checkpoint = small_models['depth']
    content = Odd.changes[name](torch.load(checkpoint, weights_only=True)['state_dict'])
    inside = inside and not (isinstance(content, dict) and 'state_dict' in content)
    torch.save(dict(state_dict=content) if inside else content, tmp_path / 'odd.pth')
    with pytest.raises(CheckpointError, match='odd.pth') as error:
        load_model(tmp_path / 'odd.pth', config)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('meta', [
    dict(cfg='[' * 100_000), dict(cfg='{"a": ' + '[' * 100_000), dict(cfg='model = ' + '(' * 5000),
    dict(cfg='model = 3'), dict(cfg='model = dict()'), dict(cfg='model = dict(type="SapiensDepthEstimator")'),
    dict(cfg='{"model": []}'), dict(cfg=''),
    dict(cfg='model = dict(backbone=3, decode_head=dict())'), dict(cfg='test_dataloader = 3'), [1], 'text', dict(cfg=3),
    dict(cfg='{"model": {"type": "SapiensDepthEstimator", "backbone": {"type": "SapiensViT", "arch": 5}}}')])
def test_odd_configs_of_checkpoints(small_models, tmp_path, meta):
    torch.save(dict(torch.load(small_models['depth'][1], weights_only=True), meta=meta), tmp_path / 'odd.pth')
    with pytest.raises((CheckpointError, ValueError), match='odd.pth') as error:
        load_model(tmp_path / 'odd.pth')
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('meta', ['text', [1], 3, dict(classes=3)])
def test_odd_metainfo_of_checkpoints(small_models, tmp_path, meta):
    config, checkpoint = small_models['seg']
    torch.save(dict(torch.load(checkpoint, weights_only=True), meta=dict(dataset_meta=meta)), tmp_path / 'odd.pth')
    with pytest.raises((CheckpointError, ValueError), match='odd.pth') as error:
        load_model(tmp_path / 'odd.pth', config)
    assert '\n' not in str(error.value)


def test_archives_of_torchscript_that_do_not_fit(small_models, tmp_path, trace):
    config, checkpoint = small_models['normal']  # its padding is 2
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / 'other.pt2'))
    with pytest.raises(CheckpointError, match=r'other\.pt2 does not fill Sapiens'):
        load_model(tmp_path / 'other.pt2', config)
    path = trace(load_model(checkpoint, config), tmp_path / 'normal.pt2')
    with pytest.raises(CheckpointError, match=r'normal\.pt2 has no config'):
        load_model(path)
    cfg = Config.fromfile(config)
    cfg.model.backbone.patch_cfg = dict(padding=0)
    with pytest.raises(ValueError, match=r'padding: got 0, expected 2.*normal\.pt2'):
        load_model(path, dict(cfg))


@pytest.mark.parametrize('name', ['pose-17', 'pose-308', 'seg', 'depth', 'normal', 'foreground', 'multi'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_archives_of_torchscript_equal_the_checkpoint(small_models, tmp_path, trace, name, dtype):
    config, checkpoint = small_models[name]
    expected = load_model(checkpoint, config)
    loaded = load_model(trace(load_model(checkpoint, config), tmp_path / f'{name}.pt2', dtype), config)
    assert loaded.tasks == expected.tasks
    weights = loaded.network.model.state_dict()
    assert weights.keys() == expected.network.model.state_dict().keys()
    for key, value in expected.network.model.state_dict().items():
        assert torch.equal(weights[key], value.to(dtype).float())


@pytest.mark.parametrize('padding', [0, 2])
def test_the_foreground_model_by_its_name(tmp_path, monkeypatch, trace, padding):
    """A narrow backbone in the place of 1b; the archive alone tells the padding of the patch embedding."""
    monkeypatch.setitem(SapiensViT.arch_zoo, 'sapiens_1b', dict(
        embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64))
    cfg = Config(released_config('1b', 'foreground', padding))
    weights = build_model(cfg, 'this')[0].state_dict()
    torch.save({name: torch.randn(value.shape) for name, value in weights.items()}, tmp_path / 'a.pth')
    path = tmp_path / 'sapiens_1b_seg_foreground_epoch_8_torchscript.pt2'
    model = load_model(tmp_path / 'a.pth', dict(cfg))
    model.input_size = 64, 48
    trace(model, path)
    loaded = load_model(path)
    assert loaded.tasks == ('foreground', )
    assert loaded.input_size == (1024, 768)
    assert loaded.network.model.backbone.patch_embed.projection.padding == (padding, padding)
    assert loaded.network.model.decode_head.conv_seg.out_channels == 2


def test_a_checkpoint_without_a_config(small_models):
    with pytest.raises(CheckpointError, match='depth.pth'):
        load_model(small_models['depth'][1])


def test_unsupported_models(small_models, tmp_path):
    config, checkpoint = small_models['pose-17']
    other = tmp_path / 'other.py'
    other.write_text(f"_base_ = '{config}'\ndefault_scope = 'mmdet'")
    with pytest.raises(ValueError, match='mmdet'):
        load_model(checkpoint, other)
    other.write_text('default_scope = "mmseg"')
    with pytest.raises(ValueError, match=checkpoint.name):
        load_model(checkpoint, other)


def test_an_unregistered_class(small_models):
    config, checkpoint = small_models['depth']
    cfg = Config.fromfile(config)
    cfg.model.backbone.type = 'MyViT'
    with pytest.raises(ValueError, match='MyViT'):
        load_model(checkpoint, dict(cfg))


def test_tasks_that_a_model_lacks(small_models):
    config, checkpoint = small_models['multi']
    with pytest.raises(ValueError, match='pose-17'):
        load_model(checkpoint, config, tasks=['pose-17'])


@pytest.mark.parametrize(('size', 'task', 'value'), [
    ('1b', 'hair', "task: got 'hair'"), ('1b', 'pretrain', "task: got 'pretrain'"), ('3b', 'depth', "size: got '3b'"),
    ('2b', 'pose-308', 'pose-308 was not released for 2b'), ('tiny', 'depth', "task: got 'depth'")])
def test_unknown_released_models(tmp_path, monkeypatch, size, task, value):
    monkeypatch.setattr(model_zoo, 'EMBEDDED', tmp_path)
    with pytest.raises(ValueError, match=value):
        load_released(size, task)


def test_without_mmseg(small_models, monkeypatch):
    for name in [name for name in sys.modules if name.startswith('sapiens_mm.dense')]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(sys.modules['sapiens_mm'], 'dense', raising=False)
    monkeypatch.setitem(sys.modules, 'mmseg', None)
    config = Config(released_config('0.3b', 'depth'))
    with pytest.raises(ImportError, match='pip install mmsegmentation==1.2.2'):
        load_model(small_models['depth'][1], dict(config))


def test_a_checkpoint_that_names_a_function(small_models, tmp_path):
    config, checkpoint = small_models['depth']
    cfg = Config.fromfile(config)
    cfg.model.backbone.type = 'subprocess.check_output'
    torch.save(dict(torch.load(checkpoint, weights_only=True), meta=dict(cfg=cfg.pretty_text)), tmp_path / 'bad.pth')
    with pytest.raises(CheckpointError, match='subprocess.check_output'):
        load_model(tmp_path / 'bad.pth')


@pytest.mark.parametrize('name', ['pose-17', 'seg', 'depth', 'normal', 'multi'])
def test_outputs_are_those_of_the_host(small_models, name):
    config, checkpoint = small_models[name]
    model = load_model(checkpoint, config)
    outputs = model(IMAGES)
    cfg = Config.fromfile(config)
    if name.startswith('pose'):
        from mmpose.registry import MODELS
    else:
        from mmseg.registry import MODELS
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        host = MODELS.build({**cfg.model, 'backbone': {**cfg.model.backbone, 'init_cfg': None}}).eval()
    host.load_state_dict(torch.load(checkpoint, weights_only=True)['state_dict'])
    data = dict(inputs=list(IMAGES.flip(1)), data_samples=[BaseDataElement() for _ in IMAGES])
    with torch.no_grad():
        expected = host(host.data_preprocessor(data)['inputs'], None, mode='tensor')
    expected = expected if isinstance(expected, dict) else {model.tasks[0]: expected}
    assert model.tasks == tuple(expected) == tuple(outputs)
    for task, output in outputs.items():
        assert output.std() > 0
        torch.testing.assert_close(output, expected[task])


def test_metadata_of_models(small_models):
    model = load_model(*small_models['pose-308'][::-1])
    assert model.tasks == ('pose-308', )
    assert model.input_size == (64, 48)
    assert model.metainfo['pose-308']['keypoint_id2name'][0] == 'nose'
    assert len(model.sha256) == 64
    parts = load_model(*small_models['seg'][::-1])
    assert parts.metainfo['seg']['classes'][2] == 'Face_Neck'
    assert parts.input_size == (64, 48)
    assert parts.codec is None


@pytest.mark.parametrize(('name', 'number', 'first'), [
    ('pose-17', 17, 'keypoint_0'), ('pose-133', 133, 'keypoint_0'), ('pose-308', 308, 'keypoint_0'),
    ('seg', 28, 'class_0'), ('multi', 28, 'class_0')])
def test_names_are_not_guessed_from_their_number(small_models, name, number, first):
    config, checkpoint = small_models[name]
    cfg = Config.fromfile(config)
    bare = {key: cfg[key] for key in ('model', 'default_scope')}
    for unstated in (bare, dict(bare, test_dataloader=dict(dataset=dict(pipeline=[dict(size=(64, 48))])))):
        model = load_model(checkpoint, unstated)
        meta = model.metainfo[model.tasks[0]]
        names = list(meta.get('keypoint_id2name', {}).values()) or meta['classes']
        assert len(names) == len(set(names)) == number
        assert names[0] == first
        assert 'flip_indices' not in meta
        assert number > 28 or len(meta.get('palette', range(17))) == number


def test_names_from_the_checkpoint(small_models, tmp_path):
    config, checkpoint = small_models['seg']
    names = tuple(f'part {i}' for i in range(28))
    torch.save(dict(torch.load(checkpoint, weights_only=True), meta=dict(dataset_meta=dict(classes=names))),
               tmp_path / 'a.pth')
    assert load_model(tmp_path / 'a.pth', config).metainfo['seg']['classes'] == names


def test_one_task_of_a_multi_task_model(small_models):
    model = load_model(*small_models['multi'][::-1], tasks=['pose-17', 'depth'])
    assert model.tasks == ('depth', )
    assert list(model.network.model.heads) == ['depth']
    assert list(model(IMAGES)) == ['depth']


@pytest.mark.parametrize('name', ['pose-308', 'multi', 'normal'])
def test_saved_models_need_no_config(small_models, tmp_path, monkeypatch, name):
    model = load_model(*small_models[name][::-1])
    save_model(model, tmp_path / 'model.safetensors')
    again = load_model(tmp_path / 'model.safetensors')
    assert (again.tasks, again.input_size) == (model.tasks, model.input_size)
    for task in model.tasks:
        assert list(again.metainfo[task]) == list(model.metainfo[task])
        assert torch.equal(again(IMAGES)[task], model(IMAGES)[task])
    monkeypatch.setattr(model_zoo, 'EMBEDDED', tmp_path)
    assert load_released('tiny', model.tasks[-1]).tasks == model.tasks[-1:]
    with pytest.raises(ValueError, match='pose-133'):
        load_released('tiny', 'pose-133')


def test_counters_of_batch_norm_are_saved_as_they_are(tmp_path):
    model = load_released('tiny', 'pose-17')  # its backbone has BatchNorm
    save_model(model, tmp_path / 'model.safetensors', torch.float16)
    again = load_model(tmp_path / 'model.safetensors').network.model.state_dict()
    before = model.network.model.state_dict()
    counters = {name: tensor for name, tensor in before.items() if tensor.dtype == torch.int64}
    assert counters
    assert all(torch.equal(again[name], tensor) for name, tensor in counters.items())


def test_checkpoints_of_trainings_need_no_config(small_models, tmp_path):
    config, checkpoint = small_models['pose-17']
    meta = dict(cfg=Config.fromfile(config).pretty_text)
    torch.save(dict(torch.load(checkpoint, weights_only=True), meta=meta), tmp_path / 'epoch_1.pth')
    model = load_model(tmp_path / 'epoch_1.pth')
    assert torch.equal(model(IMAGES)['pose-17'], load_model(checkpoint, config)(IMAGES)['pose-17'])


def test_a_checkpoint_runs_and_imports_nothing(small_models, tmp_path, monkeypatch):
    (tmp_path / 'trap.py').write_text('raise SystemExit("it ran")')
    monkeypatch.syspath_prepend(tmp_path)
    config, checkpoint = small_models['pose-17']
    weights = torch.load(checkpoint, weights_only=True)
    for dataset in (dict(type='trap.Dataset'), dict(type='trap'),
                    dict(type='CocoDataset', metainfo=dict(from_file=str(tmp_path / 'trap.py')))):
        cfg = Config.fromfile(config)
        cfg.test_dataloader.dataset = dict(dataset, pipeline=[])
        torch.save(dict(weights, meta=dict(cfg='somewhere_else = inf\n' + cfg.pretty_text)), tmp_path / 'a.pth')
        assert load_model(tmp_path / 'a.pth').tasks == ('pose-17', )
    cfg.model.backbone.type = 'trap'
    torch.save(dict(weights, meta=dict(cfg=cfg.pretty_text)), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match="'trap'"):
        load_model(tmp_path / 'a.pth')
    torch.save(dict(weights, meta=dict(cfg='model = (')), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='a.pth .*SyntaxError'):
        load_model(tmp_path / 'a.pth')


@pytest.mark.parametrize('name', ['seg', 'depth', 'multi'])
def test_models_have_no_losses(small_models, recwarn, name):
    network = load_model(*small_models[name][::-1]).network
    assert not [module for module in network.modules() if type(module).__name__.endswith('Loss')]
    assert not [warning for warning in recwarn if 'build_loss' in str(warning.message)]  # which mmseg itself calls


def test_one_of_several_tasks_can_be_saved(small_models, tmp_path):
    model = load_model(*small_models['multi'][::-1], tasks=['depth'])
    save_model(model, tmp_path / 'depth.safetensors')
    assert torch.equal(load_model(tmp_path / 'depth.safetensors')(IMAGES)['depth'], model(IMAGES)['depth'])
