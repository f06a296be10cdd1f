"""Every config builds a model and an optimizer, and the examples train a step in their hosts."""
import copy
import functools
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model.utils import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, MODELS, init_default_scope
from mmengine.structures import InstanceData, PixelData
from mmseg.registry import DATASETS
from torch._subclasses.fake_tensor import FakeTensorMode

import sapiens_mm.dense  # noqa: F401  (registers)
from sapiens_mm.apis.model_zoo import released_file
from sapiens_mm.engine.launch import build_runner, leave_out_fused

from .test_dense.conftest import write_people

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
NAMES = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts)
SIZES = ('0.3b', '0.6b', '1b', '2b')
POSE = dict(coco=17, coco_wholebody=133, goliath=308, lsp=17, mixed=17, synthetic=17)
TINY = dict(embed_dims=32, num_layers=3, num_heads=2, feedforward_channels=64)
built = {}


@functools.cache
def load(name):
    """A config that the tests only read."""
    return Config.fromfile(CONFIGS / name)


def build(cfg):
    """A config's model without memory for its weights, and with an optimizer; configs with equal settings share it."""
    cfg = Config(copy.deepcopy(dict(
        model=cfg.model, optim_wrapper=cfg.optim_wrapper, default_scope=cfg.default_scope)))
    leave_out_fused(cfg)
    init_default_scope(cfg.default_scope)
    key = str(cfg)
    if key not in built:
        with FakeTensorMode():
            built[key] = MODELS.build(cfg.model)
            build_optim_wrapper(built[key], cfg.optim_wrapper)
    return built[key]


def levels(path):
    """Levels of bases below a config."""
    bases = Config._get_base_files(str(path))
    return 1 + max(levels(path.parent / base) for base in bases) if bases else 0


@pytest.mark.parametrize('name', [name for name in NAMES if not name.startswith('examples/')])
def test_bases_are_at_most_three_levels_deep(name):
    assert levels(CONFIGS / name) <= 3


@pytest.mark.parametrize('name', NAMES)
def test_model_and_schedule_build(name):
    cfg = load(name)
    model = build(cfg)
    if '-test_' not in name:
        assert 'SapiensNonFiniteHook' in [hook['type'] for hook in cfg.custom_hooks]
    # A lower bound would raise the learning rate of the decayed layers.
    assert not any(scheduler.get('eta_min') for scheduler in cfg.param_scheduler)
    if 'sapiens_pose' in name:
        assert model.head.final_layer.out_channels == POSE[Path(name).parent.name]
        height, width = model.backbone.img_size
        assert f'{height}x{width}' in name
        assert model.head.decoder.input_size == (width, height)
        assert model.head.decoder.heatmap_size == (width // 4, height // 4)
        if height == 1024:
            assert model.backbone.patch_embed.projection.padding == (2, 2)
            assert model.head.decoder.sigma == 6
        data = cfg.train_dataloader.dataset
        assert data.get('pipeline') or all(inner.pipeline for inner in data.get('datasets') or [data.dataset])
        assert cfg.test_dataloader.dataset.pipeline == cfg.val_dataloader.dataset.pipeline


@HOOKS.register_module()
class InfiniteBatch(Hook):
    """Makes the inputs of the second iteration infinite."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 1:
            data_batch['inputs'] = [torch.full(image.shape, float('inf')) for image in data_batch['inputs']]


def micro_dense(folder):
    cfg = Config.fromfile(CONFIGS / 'sapiens_depth/synthetic/sapiens_tiny-40e_synthetic-256x192.py')
    write_people(folder, 'abcdef')
    cfg.model.backbone.arch = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
    cfg.model.decode_head.update(in_channels=32, deconv_out_channels=(8, 8, 8), conv_out_channels=(8, 8),
                                 deconv_kernel_sizes=(4, 4, 4), conv_kernel_sizes=(1, 1))
    cfg.train_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False)
    cfg.train_dataloader.dataset.update(type='SapiensDenseDataset', data_root=str(folder))
    return cfg


@pytest.mark.parametrize(('task', 'guarded'), [('pose', True), ('dense', True), ('pose', False)])
def test_an_infinite_batch_changes_no_weight(task, guarded, tmp_path, micro_config):
    cfg = Config.fromfile(micro_config) if task == 'pose' else micro_dense(tmp_path / 'people')
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.test_cfg = cfg.test_dataloader = cfg.test_evaluator = None
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.work_dir, cfg.train_cfg.max_epochs, cfg.default_hooks.logger.interval = str(tmp_path / 'run'), 1, 1
    cfg.custom_hooks = [dict(type='InfiniteBatch'), *[hook for hook in cfg.custom_hooks
                                                      if guarded or hook['type'] != 'SapiensNonFiniteHook']]
    runner = build_runner(cfg)
    runner.train()
    finite = all(param.isfinite().all() for param in runner.model.parameters())
    assert finite == guarded
    if guarded:
        assert runner.message_hub.get_scalar('train/skipped_steps').current() == 1


# (task, dataset): epochs, outputs, padding of the patch embedding
DENSE = {
    ('seg', 'goliath'): (200, 28, 0), ('seg', 'lip'): (400, 20, 2), ('seg', 'cihp'): (400, 20, 2),
    ('depth', 'render_people'): (200, 1, 0), ('depth', 'synthhuman'): (200, 1, 0),
    ('normal', 'render_people'): (200, 3, 2), ('normal', 'synthhuman'): (200, 3, 2),
}


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize(('task', 'dataset'), DENSE)
def test_dense_models_of_the_release(task, dataset, size):
    epochs, outputs, padding = DENSE[task, dataset]
    cfg = load(f'sapiens_{task}/{dataset}/sapiens_{size}-{epochs}e_{dataset}-1024x768.py')
    model = cfg.model
    assert model.backbone.arch == f'sapiens_{size}'
    assert model.backbone.init_cfg.checkpoint == released_file(size, 'pretrain').source
    # The base batch is that of a step, whatever its passes (engine/launch.py).
    assert cfg.auto_scale_lr.base_batch_size == 64
    warm_up, decay = cfg.param_scheduler
    assert (warm_up.by_epoch, decay.by_epoch, cfg.train_cfg.max_epochs) == (False, True, epochs)
    assert build(cfg).decode_head.conv_seg.out_channels == outputs
    assert build(cfg).backbone.patch_embed.projection.padding == (padding, padding)
    layers = 4 if task == 'depth' else 3
    assert len(model.decode_head.deconv_out_channels) == layers
    assert set(model.decode_head.deconv_out_channels) == {384 if task == 'depth' else 768}
    if task == 'seg':
        assert len(model.decode_head.loss_decode.class_weight) == outputs
    assert model.test_cfg == dict(mode='whole')
    kinds = [step['type'] for step in cfg.train_dataloader.dataset.pipeline]
    assert kinds.index('SapiensLoadLabels') < kinds.index('SapiensRandomWarp')
    assert ('SapiensNormalizeDepth' in kinds) == (task == 'depth')
    best = cfg.default_hooks.checkpoint
    assert (best.save_best, best.rule) == dict(
        seg=('parts/mIoU', 'greater'), depth=('depth/scale-shift/per-image/RMSE', 'less'),
        normal=('normal/pooled/mean', 'less'))[task]


@pytest.mark.parametrize(('task', 'dataset', 'field'), [
    ('seg', 'goliath', 'gt_sem_seg'), ('depth', 'render_people', 'gt_depth_map'),
    ('normal', 'render_people', 'gt_normal_map')])
def test_training_samples_with_new_backgrounds(task, dataset, field, tmp_path, monkeypatch):
    write_people(tmp_path / 'train', 'abcdef')
    for name in ('PARTS_ROOT', 'RENDER_PEOPLE_ROOT'):
        monkeypatch.setenv(name, str(tmp_path))
    path = next((CONFIGS / f'sapiens_{task}/{dataset}').glob('sapiens_0.3b-*'))
    init_default_scope('mmseg')
    monkeypatch.setenv('BACKGROUND_ROOT', str(tmp_path / 'photos'))
    with pytest.raises(FileNotFoundError, match='photos.*BACKGROUND_ROOT'):
        DATASETS.build(Config.fromfile(path).train_dataloader.dataset)
    monkeypatch.setenv('BACKGROUND_ROOT', str(tmp_path / 'train/images'))
    people = DATASETS.build(Config.fromfile(path).train_dataloader.dataset)
    for sample in people:
        assert sample['inputs'].shape == (3, 1024, 768)
        label = sample['data_samples'].get(field).data
        assert label.shape[1:] == (1024, 768)
        assert ((label > 0) & (label != 255)).any()


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('dataset', ['thuman2', 'hi4d'])
@pytest.mark.parametrize('task', ['depth', 'normal'])
def test_benchmarks_differ_from_training_in_the_data_alone(task, dataset, size):
    cfg = load(f'sapiens_{task}/{dataset}/sapiens_{size}-test_{dataset}-1024x768.py')
    trained = load(f'sapiens_{task}/render_people/sapiens_{size}-200e_render_people-1024x768.py')
    assert cfg.model == trained.model
    assert cfg.test_evaluator == trained.test_evaluator
    tested = cfg.test_dataloader.dataset
    assert tested.type == dict(thuman2='SapiensTHuman2Dataset', hi4d='SapiensHi4DDataset')[dataset]
    assert tested.pipeline == trained.test_dataloader.dataset.pipeline
    assert tuple(tested.tasks) == (task, )


@pytest.mark.parametrize('readme', sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob('README.md')))
def test_links_of_readmes_exist(readme):
    path = CONFIGS / readme
    links = re.findall(r'\]\(([^)#]+)\)', path.read_text())
    assert links
    assert [link for link in links if '://' not in link and not (path.parent / link).exists()] == []


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('dataset', ['coco', 'coco_wholebody', 'goliath'])
def test_pose_models_of_the_release(dataset, size):
    cfg = load(f'sapiens_pose/{dataset}/sapiens_{size}-210e_{dataset}-1024x768.py')
    assert cfg.model.backbone.arch == f'sapiens_{size}'
    assert cfg.model.backbone.init_cfg.checkpoint == released_file(size, 'pretrain').source
    assert cfg.train_cfg.max_epochs == 210
    assert 'accumulative_counts' not in cfg.optim_wrapper
    assert not cfg.param_scheduler[0].by_epoch


@pytest.mark.parametrize('dataset', ['coco', 'coco_wholebody', 'goliath'])
@pytest.mark.parametrize('size', SIZES)
def test_the_same_step_in_passes(size, dataset):
    """The options in configs/sapiens_pose/README.md for GPUs too small for 64 images."""
    cfg = copy.deepcopy(load(f'sapiens_pose/{dataset}/sapiens_{size}-210e_{dataset}-1024x768.py'))
    options = re.search('train_dataloader.batch_size=.*(?=`)', (CONFIGS / 'sapiens_pose/README.md').read_text()).group()
    changes = {name: int(value) for name, value in (option.split('=') for option in options.split())}
    cfg.merge_from_dict(changes)
    passes = cfg.optim_wrapper.accumulative_counts
    assert len(changes) == 3
    assert passes > 1
    assert cfg.train_dataloader.batch_size * passes == 64
    assert cfg.param_scheduler[0].end == 500 * passes


@pytest.mark.parametrize('gpus', [1024, 8, 1])
@pytest.mark.parametrize(('size', 'batch'), [('0.3b', 98304), ('0.6b', 65536), ('1b', 40960), ('2b', 20480)])
def test_pretraining_as_in_the_paper(size, batch, gpus, monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', str(gpus))
    cfg = Config.fromfile(CONFIGS / f'sapiens_pretrain/humans_300m/sapiens_{size}-1pass_humans_300m-1024x1024.py')
    model, wrapper, loader = cfg.model, cfg.optim_wrapper, cfg.train_dataloader
    assert (model.backbone.arch, model.backbone.img_size, model.backbone.patch_size) == (f'sapiens_{size}', 1024, 16)
    passes = wrapper.accumulative_counts
    assert gpus * loader.batch_size * passes == batch
    assert wrapper.optimizer.lr == pytest.approx(1.5e-4 * batch / 256)
    images = cfg.train_cfg.max_iters // passes * batch
    assert 300_000_000 - batch < images <= 300_000_000
    assert images * (1024 // 16)**2 == pytest.approx(1.2e12, rel=0.03)
    warm_up, cosine = cfg.param_scheduler
    assert warm_up.end == cosine.begin == pytest.approx(cfg.train_cfg.max_iters / 40, abs=passes)
    assert cosine.end == cfg.train_cfg.max_iters
    assert cfg.default_hooks.checkpoint.interval % passes == 0  # a checkpoint lacks gradients not applied yet


def test_data_root_is_one_environment_variable(monkeypatch):
    monkeypatch.setenv('COCO_ROOT', '/somewhere/coco')
    cfg = Config.fromfile(CONFIGS / 'sapiens_pose/coco/sapiens_1b-210e_coco-1024x768.py')
    text = cfg.pretty_text
    assert cfg.train_dataloader.dataset.data_root == '/somewhere/coco/'
    assert cfg.val_evaluator.ann_file == '/somewhere/coco/annotations/person_keypoints_val2017.json'
    assert 'data/coco' not in text


def tiny_example(name, **overrides):
    cfg = Config.fromfile(CONFIGS / 'examples' / name)
    cfg.model.backbone.update(arch=TINY, init_cfg=None, img_size=128)
    cfg.merge_from_dict(overrides)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).train()
    model.init_weights()
    return model, build_optim_wrapper(model, cfg.optim_wrapper)


def step(model, optim_wrapper, inputs, data_samples):
    before = {name: param.detach().clone() for name, param in model.backbone.named_parameters()}
    losses = model.train_step(dict(inputs=inputs, data_samples=data_samples), optim_wrapper)
    assert torch.isfinite(losses['loss'])
    assert losses['loss'] > 0
    for name, param in model.backbone.named_parameters():
        assert not torch.equal(param, before[name]), name


def test_detector_trains_a_step():
    from mmdet.structures import DetDataSample
    model, optim_wrapper = tiny_example('faster-rcnn_sapiens-0.3b_1x_coco.py', **{'model.neck.in_channels': 32})
    sample = DetDataSample(metainfo=dict(img_shape=(120, 100), pad_shape=(120, 100), scale_factor=(1., 1.)))
    sample.gt_instances = InstanceData(bboxes=torch.tensor([[10., 10., 70., 90.]]), labels=torch.tensor([0]))
    step(model, optim_wrapper, [torch.randint(0, 256, (3, 120, 100), dtype=torch.uint8)], [sample])


def test_segmentor_trains_a_step():
    from mmseg.structures import SegDataSample
    model, optim_wrapper = tiny_example(
        'upernet_sapiens-0.3b_80k_ade20k-512x512.py', **{
            'model.neck.in_channels': 32,
            'model.data_preprocessor.size': (64, 48),
            'model.decode_head.channels': 16,
            'model.auxiliary_head.channels': 16
        })
    sample = SegDataSample(metainfo=dict(img_shape=(64, 48), pad_shape=(64, 48)))
    sample.gt_sem_seg = PixelData(data=torch.randint(0, 150, (1, 64, 48)))
    step(model, optim_wrapper, [torch.randint(0, 256, (3, 64, 48), dtype=torch.uint8)] * 2, [sample, sample.clone()])


def test_simcc_pose_trains_a_step():
    from mmpose.codecs import SimCCLabel
    from mmpose.structures import PoseDataSample
    model, optim_wrapper = tiny_example(
        'rtmpose_sapiens-0.3b_420e_coco-256x192.py', **{'model.head.in_channels': 32})
    codec = SimCCLabel((192, 256), sigma=(4.9, 5.66), simcc_split_ratio=2.0, normalize=False)
    encoded = codec.encode(np.random.default_rng(0).uniform(20, 180, (1, 17, 2)))
    sample = PoseDataSample()
    sample.gt_instance_labels = InstanceData(
        **{k: encoded[k] for k in ('keypoint_x_labels', 'keypoint_y_labels', 'keypoint_weights')}).to_tensor()
    step(model, optim_wrapper, [torch.randint(0, 256, (3, 256, 192), dtype=torch.uint8)] * 2, [sample, sample.clone()])
