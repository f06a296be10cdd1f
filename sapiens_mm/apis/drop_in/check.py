"""A training step and a prediction of stock configs with a tiny Sapiens backbone, on made data in two processes."""
import copy
import functools
import os.path as osp
import queue
import tempfile
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import build_optim_wrapper
from mmengine.structures import PixelData

from . import DropInError, Plan, drop_in
from .plan import parts_of
from .stock import build_model, input_size, model_maps, stride_of, train_pipeline

TINY = dict(embed_dims=32, num_layers=4, num_heads=2, feedforward_channels=64)
_STEPS = 3
_BATCH = 2
_SIDE = 128  # of the images of detectors and segmentors, in pixels


@dataclass
class Check:
    """What became of one config.

    Attributes:
        config: Its name.
        refused: Why it was refused; None if it was not.
        error: What went wrong; None if all went well.
        neck: The chosen neck, or ``'none'``.
        strides: Strides of the maps that the head got, in pixels.
        head_strides: Those that the head states; None if it states none.
        losses: Of each step, in the first process.
        predictions: Samples that came out of testing, with whatever was found in them.
        without_gradient: Names of the trainable parameters that had no gradient in some step.
        groups: Number of the optimizer's parameter groups.
    """
    config: str
    refused: str | None = None
    error: str | None = None
    neck: str = 'none'
    strides: list[float] = field(default_factory=list)
    head_strides: list[float] | None = None
    losses: list[float] = field(default_factory=list)
    predictions: int = 0
    without_gradient: list[str] = field(default_factory=list)
    groups: int = 0

    @property
    def passed(self) -> bool:
        """Whether it was not refused and nothing went wrong."""
        return self.refused is None and self.error is None


def check(configs: Sequence[str], report: Callable[[Check], None] | None = None) -> list[Check]:
    """Puts a tiny Sapiens backbone into each config, trains it three steps in two processes and predicts.

    Args:
        configs: See :func:`sapiens_mm.apis.drop_in.drop_in`.
        report: Called with each result as it comes.
    """
    results = torch.multiprocessing.get_context('spawn').Queue()
    halves: dict[str, dict[int, Check]] = {}
    checks = []
    with tempfile.TemporaryDirectory() as folder:
        workers = torch.multiprocessing.spawn(_worker, (list(configs), folder, results), 2, join=False, daemon=True)
        while len(checks) < len(configs):
            try:
                rank, half = results.get(timeout=1)
            except queue.Empty:
                workers.join(timeout=0)  # raises where a process died
                continue
            both = halves.setdefault(half.config, {})
            both[rank] = half
            if len(both) == 2:
                checks.append(_merged(both[0], both[1]))
                if report is not None:
                    report(checks[-1])
        workers.join()
    return checks


def _merged(first: Check, second: Check) -> Check:
    """The result of both processes: where one fails, the other often fails after it."""
    errors = [half.error for half in (first, second) if half.error]
    first.error = '; the other process: '.join(dict.fromkeys(errors)) or None
    first.without_gradient = sorted({*first.without_gradient, *second.without_gradient})
    return first


def _worker(rank: int, configs: list[str], folder: str, results) -> None:
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    MMLogger.get_instance('check', log_level='ERROR')
    for i, config in enumerate(configs):
        # A group of its own: after an error in one process the other's is of no more use.
        dist.init_process_group('gloo', f'file://{folder}/{i}', world_size=2, rank=rank, timeout=timedelta(seconds=300))
        found = Check(config)
        try:
            plan = drop_in(config, TINY)
            path = osp.join(folder, f'{i}-{rank}.py')
            with open(path, 'w', encoding='utf-8') as file:
                file.write(plan.text(folder))
            plan.cfg = Config.fromfile(path)  # what is written, not what was meant
            _shrink(plan.cfg)
            _run(found, plan, rank)
        except DropInError as error:
            found.refused = str(error)
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            found.error = f'{type(error).__name__}: {error} ({osp.basename(frame.filename)}, line {frame.lineno})'
        finally:
            dist.destroy_process_group()
        results.put((rank, found))


def _shrink(cfg: Config) -> None:
    """Smaller images where the model takes any size."""
    if cfg.default_scope in ('mmdet', 'mmpose'):
        cfg.model.data_preprocessor.pop('batch_augments', None)  # pads to the size of training, or asks a runner
        for part in parts_of(cfg.model):
            if 'clip_border' in part:  # mmdet cannot paste the mask of a box outside of the image on a CPU
                part.clip_border = True
    if cfg.default_scope != 'mmseg':
        return
    cfg.model.setdefault('data_preprocessor', {})['size'] = (_SIDE, _SIDE)
    if cfg.model.test_cfg.get('mode') == 'slide':
        cfg.model.test_cfg.update(crop_size=(_SIDE, _SIDE), stride=(_SIDE // 2, _SIDE // 2))


def _run(found: Check, plan: Plan, rank: int) -> None:
    torch.manual_seed(rank)
    cfg = plan.cfg
    neck = cfg.model.get('neck')
    found.neck = ' + '.join(part.type for part in (neck if isinstance(neck, list) else [neck]) if part) or 'none'
    model = build_model(cfg)
    _compare_strides(found, plan, model)
    for part in model.modules():
        if (getattr(part, 'init_cfg', None) or {}) and 'Pretrained' in str(part.init_cfg):
            part.init_cfg = None  # weights from elsewhere, such as those of a shared ResNet stage
    model.init_weights()
    wrapper = copy.deepcopy(cfg.optim_wrapper)
    wrapper.type = 'OptimWrapper'  # mixed precision needs an accelerator
    wrapper.pop('dtype', None)
    wrapper.paramwise_cfg.layer_decay_rate = 0.85  # that of pretrained weights
    optim_wrapper = build_optim_wrapper(model, wrapper)
    found.groups = len(optim_wrapper.param_groups)
    seen: set[str] = set()
    trainable = {name: param for name, param in model.named_parameters() if param.requires_grad}
    for name, param in trainable.items():
        param.register_hook(lambda _, name=name: seen.add(name))
    data = made_data(cfg, rank)
    parallel = MMDistributedDataParallel(model.train(), broadcast_buffers=False)
    for _ in range(_STEPS):
        seen.clear()
        losses = parallel.train_step(copy.deepcopy(data), optim_wrapper)
        found.losses.append(float(losses['loss']))
        found.without_gradient = sorted(set(trainable) - seen)
        if found.without_gradient:
            raise RuntimeError(f'{len(found.without_gradient)} parameters got no gradient: '
                               f'{", ".join(found.without_gradient[:5])}')
        if not np.isfinite(found.losses[-1]):
            raise RuntimeError(f'the loss is {found.losses[-1]}')
    model.eval()
    if hasattr(model, 'prototype'):  # a retriever's, which the images of its data set would make
        model.prototype = torch.randn(_BATCH, TINY['embed_dims'])
    data = made_data(cfg, rank, train=False)
    with torch.no_grad():
        for i in range(_BATCH):  # one by one: not every estimator tests batches
            one = {key: copy.deepcopy(value[i:i + 1]) for key, value in data.items()}
            found.predictions += len(model.test_step(one))
    if found.predictions != _BATCH:
        raise RuntimeError(f'{found.predictions} predictions for {_BATCH} samples')


def _compare_strides(found: Check, plan: Plan, model: torch.nn.Module) -> None:
    """Measures the strides of the maps that the head gets; they must be those that it states."""
    size = (256, 256) if plan.host == 'mmdet' else input_size(plan.cfg)
    features, maps = model_maps(model, size)
    found.strides = [stride_of(size, fmap) for fmap in maps or features]  # a neck may make vectors of them
    found.head_strides = plan.head_strides
    expected = plan.head_strides or plan.strides
    if [round(stride) for stride in found.strides] != [round(stride) for stride in expected]:
        raise RuntimeError(f'the head gets maps of strides {found.strides}, expected {expected}')
    for extractor in (module for module in model.modules() if hasattr(module, 'featmap_strides')
                      and hasattr(module, 'roi_layers')):
        if list(extractor.featmap_strides) != found.strides[:len(extractor.featmap_strides)]:
            raise RuntimeError(f'regions are cut from strides {extractor.featmap_strides}, but the maps have '
                               f'{found.strides}')


# ---------------------------------------------------------------------------------------------------------------------
# Made data


def made_data(cfg: Config, seed: int = 0, train: bool = True) -> dict:
    """A batch of noise with labels, as the config's loader would give it: ``inputs`` and ``data_samples``."""
    make = dict(mmdet=_detection, mmpose=_pose, mmseg=_segmentation, mmpretrain=_classification)[cfg.default_scope]
    if make is _pose:
        make = functools.partial(_pose, train=train)
    inputs, samples = zip(*(make(cfg, np.random.default_rng(seed * _BATCH + i)) for i in range(_BATCH)))
    return dict(inputs=list(inputs), data_samples=list(samples))


def _noise(rng: np.random.Generator, size: tuple[int, int]) -> torch.Tensor:
    return torch.from_numpy(rng.integers(0, 256, (3, *size), dtype=np.uint8))


def _detection(cfg: Config, rng: np.random.Generator) -> tuple:
    from mmdet.testing import demo_mm_inputs

    panoptic = 'panoptic_head' in cfg.model
    classes = min([part['num_classes'] for part in parts_of(cfg.model) if isinstance(part.get('num_classes'), int)],
                  default=1)
    if panoptic:
        classes = cfg.model.panoptic_head.num_things_classes
    masks = any(step.get('with_mask') for step in train_pipeline(cfg))
    data = demo_mm_inputs(1, [(3, _SIDE, _SIDE)], num_items=[3], num_classes=max(classes, 2), with_mask=masks,
                          with_semantic=panoptic)
    sample = data['data_samples'][0]
    sample.gt_instances.labels %= classes
    return _noise(rng, (_SIDE, _SIDE)), sample


def _segmentation(cfg: Config, rng: np.random.Generator) -> tuple:
    from mmseg.structures import SegDataSample

    size = input_size(cfg)
    head = cfg.model.decode_head
    classes = min(part['num_classes'] for part in parts_of(head) if isinstance(part.get('num_classes'), int))
    coarse = torch.from_numpy(rng.integers(0, classes, (1, size[0] // 32, size[1] // 32)))
    label = coarse.repeat_interleave(32, 1).repeat_interleave(32, 2)
    label[:, :8] = 255
    sample = SegDataSample(metainfo=dict(ori_shape=size, img_shape=size, pad_shape=size, padding_size=[0, 0, 0, 0]))
    sample.gt_sem_seg = PixelData(data=label)
    return _noise(rng, size), sample


def _classification(cfg: Config, rng: np.random.Generator) -> tuple:
    from mmpretrain.structures import DataSample

    sample = DataSample().set_gt_label(int(rng.integers(cfg.model.head.num_classes)))
    return _noise(rng, input_size(cfg)), sample


def _pose(cfg: Config, rng: np.random.Generator, train: bool) -> tuple:
    """A sample before its target is made, then in training through the config's own codec, and packed."""
    from mmpose.registry import TRANSFORMS

    size = input_size(cfg)
    encode, pack = _target_steps(cfg)
    codec = encode.encoder[0] if isinstance(encode.encoder, (list, tuple)) else encode.encoder
    names = _metainfo(cfg)
    number = names['num_keypoints']
    keypoints = rng.uniform(0.2, 0.8, (1, number, 2)).astype(np.float32) * size[::-1]
    low, high = keypoints.min(axis=1), keypoints.max(axis=1)
    box = np.concatenate([low, high], axis=1)
    if codec.type == 'DecoupledHeatmap':  # of a box's four corners
        box = box[:, [0, 1, 0, 3, 2, 1, 2, 3]]
    if codec.type == 'Hand3DHeatmap':
        keypoints = np.concatenate([keypoints, np.full((1, number, 1), 32, np.float32)], axis=2)
    results = dict(
        img=rng.integers(0, 256, (*size, 3), dtype=np.uint8), img_id=0, id=0, img_path='made',
        img_shape=size, ori_shape=size, input_size=size[::-1],
        input_center=(low + high)[0] / 2, input_scale=np.array(size[::-1], np.float32),
        bbox=box, bbox_score=np.ones(1, np.float32), category_id=[1], area=np.full(1, size[0] * size[1], np.float32),
        keypoints=keypoints, transformed_keypoints=keypoints, keypoints_visible=np.ones((1, number), np.float32),
        flip_indices=names['flip_indices'], dataset_keypoint_weights=names['dataset_keypoint_weights'],
        warp_mat=np.eye(2, 3), flip=False, flip_direction=None,
        # of hands
        rel_root_depth=np.float32(0), rel_root_valid=np.float32(1), hand_type=np.array([[1, 0]], np.float32),
        hand_type_valid=np.ones(1, np.float32), focal=np.ones(2, np.float32), principal_pt=np.zeros(2, np.float32))
    if codec.get('heatmap_size') is not None and len(codec.heatmap_size) == 2:
        results['heatmap_mask'] = np.ones(codec.heatmap_size[::-1], np.uint8)
    for step in (encode, pack) if train else (pack, ):
        results = TRANSFORMS.build(step)(results)
    return results['inputs'], results['data_samples']


def _target_steps(cfg: Config) -> tuple[ConfigDict, ConfigDict]:
    """The config's own transforms that make and pack the target."""
    steps = {step.type: step for step in train_pipeline(cfg)}
    # Some stock configs give PackPoseInputs arguments that it no longer takes.
    pack = {key: value for key, value in steps['PackPoseInputs'].items() if key in ('type', 'meta_keys')}
    return steps['GenerateTarget'], ConfigDict(pack)


def _metainfo(cfg: Config) -> dict:
    """What the config's data set says of its keypoints, without its files."""
    from mmpose.datasets.datasets.utils import parse_pose_metainfo
    from mmpose.registry import DATASETS

    dataset = cfg.train_dataloader.dataset
    metainfo = dataset.get('metainfo') or DATASETS.get(dataset.type).METAINFO
    if metainfo:
        return parse_pose_metainfo(dict(metainfo))
    return DATASETS.build(dict(dataset, pipeline=[], lazy_init=True)).metainfo  # of some sets it depends on a subset
