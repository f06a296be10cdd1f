import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import BaseDataElement

from sapiens_mm.apis import models
from sapiens_mm.apis.models import (
    choose_device,
    default_tasks,
    fastest_dtype,
    load_model,
    load_released,
    released_config,
    save_model,
)
from sapiens_mm.backbones.model_zoo import RELEASED
from sapiens_mm.engine.checkpoint import CheckpointError

IMAGES = torch.randint(0, 256, (2, 3, 64, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
CONFIGS = {
    'pose-17': 'sapiens_pose/coco/sapiens_{}-210e_coco-1024x768.py',
    'pose-133': 'sapiens_pose/coco_wholebody/sapiens_{}-210e_coco_wholebody-1024x768.py',
    'pose-308': 'sapiens_pose/goliath/sapiens_{}-210e_goliath-1024x768.py',
    'parts': 'sapiens_seg/goliath/sapiens_{}-200e_goliath-1024x768.py',
    'depth': 'sapiens_depth/render_people/sapiens_{}-200e_render_people-1024x768.py',
    'normal': 'sapiens_normal/render_people/sapiens_{}-200e_render_people-1024x768.py',
}


def test_a_config_that_is_not_there(small_models):
    with pytest.raises(FileNotFoundError, match="no config file 'nowhere.py'; check the path"):
        load_model(small_models['depth'][1], 'nowhere.py')


@pytest.mark.parametrize(('text', 'says'), [
    ('a = 3\nmodel = dict(\n', r"config {} cannot be read, line 2: SyntaxError: '\(' was never closed"),
    ('model = b', 'config {} cannot be read, line 1: NameError: name .b. is not defined'),
    ('a = 1\nmodel = dict(a=a +)', 'config {} cannot be read, line 2: SyntaxError: ')])
def test_configs_that_are_broken(small_models, tmp_path, text, says):
    broken, other = tmp_path / 'broken.py', tmp_path / 'other.py'
    broken.write_text(text)
    other.write_text("_base_ = 'broken.py'\n")
    for config in (broken, other):
        with pytest.raises(ValueError, match=says.format(broken)) as error:
            load_model(small_models['depth'][1], config)
        assert '\n' not in str(error.value)


def test_a_checkpoint_that_is_not_there(small_models):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint file 'nowhere\.pth'"):
        load_model('nowhere.pth', small_models['depth'][0])


@pytest.mark.parametrize(('name', 'other', 'says'), [
    ('depth', 'normal', 'size mismatch for decode_head.conv_seg'), ('parts', 'pose-17', 'Missing key.s.'),
    ('pose-17', 'pose-133', 'size mismatch for head.final_layer')])
def test_a_checkpoint_of_another_model(small_models, name, other, says):
    with pytest.raises(CheckpointError, match=f'does not fill Sapiens.* .{says}') as error:
        load_model(small_models[other][1], small_models[name][0])
    assert '\n' not in str(error.value)


def test_a_tensor_too_many(small_models, tmp_path):
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
def test_odd_checkpoints_are_said_in_a_line(small_models, tmp_path, name, inside):
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
def test_odd_configs_of_checkpoints_are_said_in_a_line(small_models, tmp_path, meta):
    torch.save(dict(torch.load(small_models['depth'][1], weights_only=True), meta=meta), tmp_path / 'odd.pth')
    with pytest.raises((CheckpointError, ValueError), match='odd.pth') as error:
        load_model(tmp_path / 'odd.pth')
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('meta', ['text', [1], 3, dict(classes=3)])
def test_odd_names_in_a_checkpoint(small_models, tmp_path, meta):
    config, checkpoint = small_models['parts']
    torch.save(dict(torch.load(checkpoint, weights_only=True), meta=dict(dataset_meta=meta)), tmp_path / 'odd.pth')
    with pytest.raises((CheckpointError, ValueError), match='odd.pth') as error:
        load_model(tmp_path / 'odd.pth', config)
    assert '\n' not in str(error.value)


def test_a_checkpoint_that_does_not_say_what_it_is(small_models):
    with pytest.raises(CheckpointError, match='depth.pth does not say which model it is of; give its config too'):
        load_model(small_models['depth'][1])


def test_a_model_that_is_not_run(small_models, tmp_path):
    config, checkpoint = small_models['pose-17']
    other = tmp_path / 'other.py'
    other.write_text(f"_base_ = '{config}'\ndefault_scope = 'mmdet'")
    with pytest.raises(ValueError, match="default_scope='mmdet'; models of mmpose and mmseg are run"):
        load_model(checkpoint, other)
    other.write_text('default_scope = "mmseg"')
    with pytest.raises(ValueError, match='the config for .* has no model'):
        load_model(checkpoint, other)


def test_a_class_that_no_one_registered(small_models):
    config, checkpoint = small_models['depth']
    cfg = Config.fromfile(config)
    cfg.model.backbone.type = 'MyViT'
    with pytest.raises(ValueError, match='cannot be built .MyViT is not in .*; if it needs modules of your own'):
        load_model(checkpoint, dict(cfg))


def test_tasks_that_a_model_has_not(small_models):
    config, checkpoint = small_models['multi']
    with pytest.raises(ValueError, match='has parts, depth, normal, but none of pose-17'):
        load_model(checkpoint, config, tasks=['pose-17'])


def test_names_that_there_are_not(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="task is 'hair', but must be one of pose-308"):
        load_released('1b', 'hair')
    with pytest.raises(ValueError, match='pose-308 was not released for 2b; take 0.3b, 0.6b or 1b'):
        load_released('2b', 'pose-308')
    with pytest.raises(ValueError, match="size is '3b', but must be one of"):
        load_released('3b', 'depth')
    monkeypatch.setattr(models, 'EMBEDDED', tmp_path)
    with pytest.raises(ValueError, match="the embedded model has no 'depth': no weights lie in"):
        load_released('tiny', 'depth')


def test_without_mmseg(small_models, monkeypatch):
    for name in [name for name in sys.modules if name.startswith('sapiens_mm.dense')]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(sys.modules['sapiens_mm'], 'dense', raising=False)
    monkeypatch.setitem(sys.modules, 'mmseg', None)
    config = Config(released_config('0.3b', 'depth'))
    with pytest.raises(ImportError, match='is run by mmsegmentation .*: pip install mmsegmentation==1.2.2'):
        load_model(small_models['depth'][1], dict(config))


def test_a_checkpoint_that_names_a_function(small_models, tmp_path):
    config, checkpoint = small_models['depth']
    cfg = Config.fromfile(config)
    cfg.model.backbone.type = 'subprocess.check_output'
    torch.save(dict(torch.load(checkpoint, weights_only=True), meta=dict(cfg=cfg.pretty_text)), tmp_path / 'bad.pth')
    with pytest.raises(CheckpointError, match="names the type 'subprocess.check_output'"):
        load_model(tmp_path / 'bad.pth')


def test_a_device_that_there_is_not():
    with pytest.raises(ValueError, match="device 'cuda:99' cannot be used .*; leave it out"):
        choose_device('cuda:99')


def test_the_device_and_its_dtype(monkeypatch):
    assert choose_device('cpu') == torch.device('cpu')
    assert choose_device(None).type in ('cpu', 'cuda', 'mps')
    assert fastest_dtype(torch.device('mps')) == torch.float32
    for there, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        for name in ('_is_avx512_bf16_supported', '_is_amx_tile_supported'):
            monkeypatch.setattr(torch.cpu, name, lambda there=there: there, raising=False)
        assert fastest_dtype(torch.device('cpu')) == dtype


@pytest.mark.parametrize('name', ['pose-17', 'parts', 'depth', 'normal', 'multi'])
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
    expected = {'parts' if task == 'seg' else task: output for task, output in expected.items()}
    assert model.tasks == tuple(expected) == tuple(outputs)
    for task, output in outputs.items():
        assert output.std() > 0
        torch.testing.assert_close(output, expected[task])


def test_what_is_known_about_a_model(small_models):
    model = load_model(*small_models['pose-308'][::-1])
    assert model.tasks == ('pose-308', )
    assert model.input_size == (64, 48)
    assert model.metainfo['pose-308']['keypoint_id2name'][0] == 'nose'
    assert len(model.sha256) == 64
    parts = load_model(*small_models['parts'][::-1])
    assert parts.metainfo['parts']['classes'][2] == 'Face_Neck'
    assert parts.input_size == (64, 48)
    assert parts.codec is None


@pytest.mark.parametrize(('name', 'number', 'first'), [
    ('pose-17', 17, 'keypoint_0'), ('pose-133', 133, 'keypoint_0'), ('pose-308', 308, 'keypoint_0'),
    ('parts', 28, 'class_0'), ('multi', 28, 'class_0')])
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


def test_names_that_a_checkpoint_states_stay(small_models, tmp_path):
    config, checkpoint = small_models['parts']
    names = tuple(f'part {i}' for i in range(28))
    torch.save(dict(torch.load(checkpoint, weights_only=True), meta=dict(dataset_meta=dict(classes=names))),
               tmp_path / 'a.pth')
    assert load_model(tmp_path / 'a.pth', config).metainfo['parts']['classes'] == names


def test_names_of_released_models_are_known():
    for task, first in (('pose-17', 'nose'), ('pose-133', 'nose'), ('pose-308', 'nose')):
        assert models._released_names(task)['keypoint_id2name'][0] == first
    assert models._released_names('parts')['classes'][2] == 'Face_Neck'
    for (size, zoo), file in RELEASED.items():
        if zoo in models.TASKS.values():
            found = models._find_released(f'/somewhere/{file.path}')
            assert models.TASKS[found[1]] == zoo
            assert found[0] == size


def test_of_several_tasks_one_is_kept(small_models):
    model = load_model(*small_models['multi'][::-1], tasks=['pose-17', 'depth'])
    assert model.tasks == ('depth', )
    assert list(model.network.model.heads) == ['depth']
    assert list(model(IMAGES)) == ['depth']


@pytest.mark.parametrize('name', ['pose-17', 'multi'])
def test_in_bfloat16(small_models, name):
    config, checkpoint = small_models[name]
    exact, rough = load_model(checkpoint, config)(IMAGES), load_model(checkpoint, config, dtype=torch.bfloat16)(IMAGES)
    last = load_model(checkpoint, config, dtype=torch.bfloat16).network.last_layers()
    for found, wanted in zip(last, load_model(checkpoint, config).network.last_layers()):
        assert torch.equal(found.weight, wanted.weight)
    for task in exact:
        assert rough[task].dtype == torch.float32
        assert 0 < (rough[task] - exact[task]).abs().mean() < .1 * exact[task].std()


@pytest.mark.parametrize('name', ['pose-308', 'multi', 'normal'])
def test_a_file_that_says_what_it_is(small_models, tmp_path, monkeypatch, name):
    model = load_model(*small_models[name][::-1])
    save_model(model, tmp_path / 'model.safetensors')
    again = load_model(tmp_path / 'model.safetensors')
    assert (again.tasks, again.input_size) == (model.tasks, model.input_size)
    for task in model.tasks:
        assert list(again.metainfo[task]) == list(model.metainfo[task])
        assert torch.equal(again(IMAGES)[task], model(IMAGES)[task])
    monkeypatch.setattr(models, 'EMBEDDED', tmp_path)
    assert load_released('tiny', model.tasks[-1]).tasks == model.tasks[-1:]
    with pytest.raises(ValueError, match=f"has no 'pose-133', but {model.tasks[0]}"):
        load_released('tiny', 'pose-133')


def test_what_a_training_wrote_needs_no_config(small_models, tmp_path):
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
    with pytest.raises(CheckpointError, match="names the type 'trap', which no registry has"):
        load_model(tmp_path / 'a.pth')
    torch.save(dict(weights, meta=dict(cfg='model = (')), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='cannot be read .SyntaxError: .*; give the config file too'):
        load_model(tmp_path / 'a.pth')


@pytest.mark.parametrize('name', ['parts', 'depth', 'multi'])
def test_models_have_no_losses(small_models, recwarn, name):
    network = load_model(*small_models[name][::-1]).network
    assert not [module for module in network.modules() if type(module).__name__.endswith('Loss')]
    assert not [warning for warning in recwarn if 'build_loss' in str(warning.message)]  # which mmseg itself calls


def test_one_of_several_tasks_can_be_saved(small_models, tmp_path):
    model = load_model(*small_models['multi'][::-1], tasks=['depth'])
    save_model(model, tmp_path / 'depth.safetensors')
    assert torch.equal(load_model(tmp_path / 'depth.safetensors')(IMAGES)['depth'], model(IMAGES)['depth'])


def test_what_is_done_by_default():
    assert default_tasks('1b') == default_tasks('0.3b') == ('pose-308', 'parts', 'depth', 'normal')
    assert default_tasks('2b') == ('pose-133', 'depth', 'normal')  # of which there are no others
    assert set(default_tasks('tiny')) == {'pose-17', 'parts', 'depth', 'normal'}
    with pytest.raises(ValueError, match="size is '3b', but must be one of tiny, 0.3b, 0.6b, 1b, 2b"):
        default_tasks('3b')


@pytest.mark.parametrize('task', models.TASKS)
def test_parameters_are_those_of_the_models(task):
    built = {size: models._build(Config(released_config(size, task)), 'this')[0]
             for size, zoo in RELEASED if zoo == models.TASKS[task]}
    assert models.PARAMETERS[task] == {size: sum(parameter.numel() for parameter in model.parameters())
                                       for size, model in built.items()}


@pytest.mark.parametrize('task', models.TASKS)
@pytest.mark.parametrize('size', ['0.3b', '1b'])
def test_released_models_are_those_of_the_configs(root, size, task):
    built = []
    for cfg in (Config(released_config(size, task)), Config.fromfile(root / 'configs' / CONFIGS[task].format(size))):
        model, config = models._build(cfg, 'this')
        codec = getattr(getattr(model, 'head', None), 'decoder', None)
        shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        built.append((str(model), shapes, vars(codec)['scale_factor'].tolist() if codec else None,
                      codec and codec.blur_kernel_size, config['data_preprocessor']['mean'],
                      config['data_preprocessor']['bgr_to_rgb']))
    assert built[0] == built[1]
