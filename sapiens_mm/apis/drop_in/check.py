"""Check of stock configs with a tiny Sapiens backbone: training steps and a prediction on noise, in two processes."""
import copy
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

from ...backbones import SapiensViT
from ..config_report import ConfigError
from . import Plan, drop_in, read_text
from .plan import as_list, parts_of
from .stock import build_model, input_size, model_maps, stride_of, train_pipeline

TINY = dict(embed_dims=32, num_layers=4, num_heads=2, feedforward_channels=64)
_STEPS = 3
_BATCH = 2
_SIDE = 128  # of the images of detectors and segmentors, in pixels


@dataclass
class Check:
    """Result of one config: ``refused`` has the reason of a refusal, ``error`` the first failed check.

    ``strides`` of the head's maps are in pixels; ``head_strides`` are those in the head's settings, None if it has
    none. ``losses`` has one value per step; ``without_gradient`` names parameters that had no gradient in some step.
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
        return self.refused is None and self.error is None


def check(configs: Sequence[str], report: Callable[[Check], None] | None = None,
          vit: type = SapiensViT) -> list[Check]:
    """Trains each config three steps with a tiny backbone in two processes and predicts; reports each result."""
    results = torch.multiprocessing.get_context('spawn').Queue()
    halves: dict[str, dict[int, Check]] = {}
    checks = []
    with tempfile.TemporaryDirectory() as folder:
        workers = torch.multiprocessing.spawn(_worker, (list(configs), folder, results, vit), 2, join=False,
                                              daemon=True)
        while len(checks) < len(configs):
            try:
                rank, half = results.get(timeout=1)
            except queue.Empty:
                workers.join(timeout=0)  # raises where a process died
                continue
            both = halves.setdefault(half.config, {})
            both[rank] = half
            if len(both) == 2:
                # Where one process fails, the other often fails after it.
                errors = dict.fromkeys(both[rank].error for rank in (0, 1) if both[rank].error)
                both[0].error = '; the other process: '.join(errors) or None
                both[0].without_gradient = sorted({*both[0].without_gradient, *both[1].without_gradient})
                checks.append(both[0])
                if report is not None:
                    report(both[0])
        workers.join()
    return checks


def _worker(rank: int, configs: list[str], folder: str, results, vit: type) -> None:
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    MMLogger.get_instance('check', log_level='ERROR')
    for i, config in enumerate(configs):
        # A new group for each config: an error in one process leaves the other's useless.
        dist.init_process_group('gloo', f'file://{folder}/{i}', world_size=2, rank=rank, timeout=timedelta(seconds=300))
        result = Check(config)
        try:
            plan = drop_in(config, TINY, vit=vit)
            plan.cfg = read_text(plan, osp.join(folder, f'{i}-{rank}.py'))
            _shrink(plan.cfg)
            _run(result, plan, rank)
        except ConfigError as error:
            result.refused = str(error)
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            result.error = f'{type(error).__name__}: {error} ({osp.basename(frame.filename)}, line {frame.lineno})'
        finally:
            dist.destroy_process_group()
        results.put((rank, result))


def _shrink(cfg: Config) -> None:
    if cfg.default_scope in ('mmdet', 'mmpose'):
        cfg.model.data_preprocessor.pop('batch_augments', None)  # pads to the size of training, or asks a runner
        for part in parts_of(cfg.model):
            if 'clip_border' in part:  # mmdet cannot paste the mask of a box outside of the image on a CPU
                part.clip_border = True
    if cfg.default_scope == 'mmseg':
        cfg.model.setdefault('data_preprocessor', {})['size'] = (_SIDE, _SIDE)
        if cfg.model.test_cfg.get('mode') == 'slide':
            cfg.model.test_cfg.update(crop_size=(_SIDE, _SIDE), stride=(_SIDE // 2, _SIDE // 2))


def _run(result: Check, plan: Plan, rank: int) -> None:
    torch.manual_seed(rank)
    cfg = plan.cfg
    result.neck = ' + '.join(part.type for part in as_list(cfg.model.get('neck')) if part) or 'none'
    model = build_model(cfg)
    _compare_strides(result, plan, model)
    for part in model.modules():
        if (getattr(part, 'init_cfg', None) or {}) and 'Pretrained' in str(part.init_cfg):
            part.init_cfg = None  # such as a shared ResNet stage, whose weights are a download
    model.init_weights()
    wrapper = copy.deepcopy(cfg.optim_wrapper)
    wrapper.type = 'OptimWrapper'  # mixed precision needs an accelerator
    wrapper.pop('dtype', None)
    wrapper.paramwise_cfg.layer_decay_rate = 0.85  # that of pretrained weights
    optim_wrapper = build_optim_wrapper(model, wrapper)
    result.groups = len(optim_wrapper.param_groups)
    _train(result, model, optim_wrapper, made_data(cfg, rank))
    model.eval()
    if hasattr(model, 'prototype'):  # a retriever's, which is otherwise made from its dataset
        model.prototype = torch.randn(_BATCH, TINY['embed_dims'])
    data = made_data(cfg, rank, train=False)
    with torch.no_grad():
        for i in range(_BATCH):  # one by one: not every estimator tests batches
            one = {key: copy.deepcopy(value[i:i + 1]) for key, value in data.items()}
            result.predictions += len(model.test_step(one))
    if result.predictions != _BATCH:
        raise RuntimeError(f'{result.predictions} predictions for {_BATCH} samples')


def _train(result: Check, model: torch.nn.Module, optim_wrapper, data: dict) -> None:
    seen: set[str] = set()
    trainable = {name: param for name, param in model.named_parameters() if param.requires_grad}
    for name, param in trainable.items():
        param.register_hook(lambda _, name=name: seen.add(name))
    parallel = MMDistributedDataParallel(model.train(), broadcast_buffers=False)
    for _ in range(_STEPS):
        seen.clear()
        losses = parallel.train_step(copy.deepcopy(data), optim_wrapper)
        result.losses.append(float(losses['loss']))
        result.without_gradient = sorted(set(trainable) - seen)
        if result.without_gradient:
            raise RuntimeError(f'{len(result.without_gradient)} parameters got no gradient: '
                               f'{", ".join(result.without_gradient[:5])}')
        if not np.isfinite(result.losses[-1]):
            raise RuntimeError(f'the loss is {result.losses[-1]}')


def _compare_strides(result: Check, plan: Plan, model: torch.nn.Module) -> None:
    size = (256, 256) if plan.host == 'mmdet' else input_size(plan.cfg)
    features, maps = model_maps(model, size)
    result.strides = [stride_of(size, fmap) for fmap in maps or features]  # a neck may make vectors of them
    result.head_strides = plan.head_strides
    expected = plan.head_strides or plan.strides
    if [round(stride) for stride in result.strides] != [round(stride) for stride in expected]:
        raise RuntimeError(f'the head gets maps of strides {result.strides}, expected {expected}')
    for extractor in (module for module in model.modules() if hasattr(module, 'featmap_strides')
                      and hasattr(module, 'roi_layers')):
        if list(extractor.featmap_strides) != result.strides[:len(extractor.featmap_strides)]:
            raise RuntimeError(f'regions are cropped from strides {extractor.featmap_strides}, but the maps have '
                               f'{result.strides}')


def made_data(cfg: Config, seed: int = 0, train: bool = True) -> dict:
    """Returns a batch of noise with labels in the format of the config's loader: ``inputs`` and ``data_samples``."""
    make = dict(mmdet=_detection, mmpose=_pose, mmseg=_segmentation, mmpretrain=_classification)[cfg.default_scope]
    inputs, samples = zip(*(make(cfg, np.random.default_rng(seed * _BATCH + i), train) for i in range(_BATCH)))
    return dict(inputs=list(inputs), data_samples=list(samples))


def _noise(rng: np.random.Generator, size: tuple[int, int]) -> torch.Tensor:
    return torch.from_numpy(rng.integers(0, 256, (3, *size), dtype=np.uint8))


def _detection(cfg: Config, rng: np.random.Generator, train: bool) -> tuple:
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


def _segmentation(cfg: Config, rng: np.random.Generator, train: bool) -> tuple:
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


def _classification(cfg: Config, rng: np.random.Generator, train: bool) -> tuple:
    from mmpretrain.structures import DataSample

    sample = DataSample().set_gt_label(int(rng.integers(cfg.model.head.num_classes)))
    return _noise(rng, input_size(cfg)), sample


def _pose(cfg: Config, rng: np.random.Generator, train: bool) -> tuple:
    from mmpose.registry import TRANSFORMS

    size, names = input_size(cfg), _metainfo(cfg)
    steps = {step.type: step for step in train_pipeline(cfg)}
    encode = steps['GenerateTarget']
    # Some stock configs give PackPoseInputs arguments that it no longer takes.
    pack = ConfigDict({key: steps['PackPoseInputs'][key] for key in ('type', 'meta_keys')
                       if key in steps['PackPoseInputs']})
    codec = as_list(encode.encoder)[0]
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
        # read by hand models only
        rel_root_depth=np.float32(0), rel_root_valid=np.float32(1), hand_type=np.array([[1, 0]], np.float32),
        hand_type_valid=np.ones(1, np.float32), focal=np.ones(2, np.float32), principal_pt=np.zeros(2, np.float32))
    if codec.get('heatmap_size') is not None and len(codec.heatmap_size) == 2:
        results['heatmap_mask'] = np.ones(codec.heatmap_size[::-1], np.uint8)
    for step in (encode, pack) if train else (pack, ):
        results = TRANSFORMS.build(step)(results)
    return results['inputs'], results['data_samples']


def _metainfo(cfg: Config) -> dict:
    from mmpose.datasets.datasets.utils import parse_pose_metainfo
    from mmpose.registry import DATASETS

    dataset = cfg.train_dataloader.dataset
    metainfo = dataset.get('metainfo') or DATASETS.get(dataset.type).METAINFO
    if metainfo:
        return parse_pose_metainfo(dict(metainfo))
    return DATASETS.build(dict(dataset, pipeline=[], lazy_init=True)).metainfo  # of some sets it depends on a subset
