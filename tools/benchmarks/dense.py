"""Speed of the dense code, compared with a straightforward implementation.

    python tools/benchmarks/dense.py                # all parts
    python tools/benchmarks/dense.py --only loader  # some of them
    python tools/benchmarks/dense.py --out dense.json

* loader: 4K images (JPEG, with masks and labels as PNG) to 1024x768 training samples, through a DataLoader with 2
  worker processes; backgrounds of half the size. The plain pipeline has the release's order of operations, with mmseg's
  transforms where they exist: load all, random background, resize, crop, rotate, flip, photometric, pack. Both draw
  from the same ranges. Case `parts` has the 28 parts; case `parts, depth, normals` also the other labels, as .npy; in
  `all as npy` the parts are .npy as well. Ours derives the person from these labels; the plain pipeline decodes the
  mask.
* postprocess: logits of 28 parts (28x512x384, batch 1) to the label map of a 4K image. Plain is mmseg's: logits resized
  to the input, then to the image, then argmax; the data sample keeps logits and labels. `memory` repeats the case in a
  separate process and gives its peak memory beyond what it held before, in MB.
* metric: one 4K image with a person through each evaluator. Plain is mmseg's `IoUMetric` for parts, and whole arrays in
  NumPy (least squares by `lstsq`; all angles sorted for the median) for depth and normals.

Both sides take turns, and the time is that of the fastest round, the one that other programs disturbed least. `ratio`
is plain time / our time.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from measure import peak_memory, take_turns
from mmcv.transforms import BaseTransform
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing
from mmseg.datasets.transforms import PackSegInputs
from mmseg.evaluation.metrics import IoUMetric
from mmseg.models.segmentors.base import BaseSegmentor
from mmseg.registry import TRANSFORMS
from mmseg.structures import SegDataSample

import sapiens_mm.dense.datasets
import sapiens_mm.dense.transforms  # noqa: F401
from sapiens_mm.dense.metrics import SapiensDepthMetric, SapiensNormalMetric, SapiensPartsMetric
from sapiens_mm.dense.resize import resize_argmax

GOALS = dict(loader=3., postprocess=5., memory=10.)


def row(part: str, case: str, ours: float, plain: float, **more: float) -> dict:
    """Returns a line of the table from times in seconds."""
    return dict(part=part, case=case, ours=ours, plain=plain, ratio=plain / ours, goal=GOALS.get(part), **more)


@TRANSFORMS.register_module()
class PlainLoadLabels(BaseTransform):
    """Loads whole the labels that mmseg does not load."""

    def transform(self, results: dict) -> dict:
        results['gt_person_mask'] = (cv2.imread(results['mask_path'], cv2.IMREAD_GRAYSCALE) > 0).astype(np.uint8)
        results['seg_fields'].append('gt_person_mask')
        for path, key in (('seg_map_path', 'gt_seg_map'), ('depth_map_path', 'gt_depth_map'),
                          ('normal_map_path', 'gt_normal_map')):
            if path in results and key not in results:
                results[key] = np.load(results[path])
                results['seg_fields'].append(key)
        return results


@TRANSFORMS.register_module()
class PlainBackground(BaseTransform):
    """Puts a random photo behind the person, at the full size of the image."""

    def __init__(self, folder: str, prob: float):
        self.photos = sorted(Path(folder).iterdir())
        self.prob = prob

    def transform(self, results: dict) -> dict:
        if np.random.rand() < self.prob:
            photo = cv2.imread(str(self.photos[np.random.randint(len(self.photos))]))
            photo = cv2.resize(photo, results['img'].shape[1::-1])
            mask = results['gt_person_mask'][..., None]
            results['img'] = (results['img'] * mask + photo * (1 - mask)).astype(np.uint8)
        return results


@TRANSFORMS.register_module()
class PlainFinish(BaseTransform):
    """Steps that mmseg's geometric transforms lack: padding, normals, left and right parts, the depth target."""

    def __init__(self, size: tuple[int, int]):
        self.size = size

    def transform(self, results: dict) -> dict:
        for key, value in (('img', 0), ('gt_seg_map', 255), ('gt_person_mask', 0), ('gt_depth_map', 0),
                           ('gt_normal_map', 0)):
            if key in results:
                missing = [want - have for want, have in zip(self.size, results[key].shape)]
                results[key] = cv2.copyMakeBorder(results[key], 0, missing[0], 0, missing[1], cv2.BORDER_CONSTANT,
                                                  value=(value, ) * 3)
        if results['flip']:
            parts = results['gt_seg_map']
            results['gt_seg_map'] = np.array([*results['flip_indices'], *range(28, 256)], np.uint8)[parts]
        if 'gt_normal_map' in results:
            normals = results['gt_normal_map']
            if results['flip']:
                normals = normals * [-1, 1, 1]
            length = np.linalg.norm(normals, axis=2, keepdims=True)
            results['gt_normal_map'] = (normals / np.maximum(length, 1e-6)).astype(np.float32)
        if 'gt_depth_map' in results:
            depth, person = results['gt_depth_map'], results['gt_person_mask'] > 0
            if person.any():
                near, far = depth[person].min(), depth[person].max()
                depth = np.where(person, (depth - near) / max(far - near, 1e-6), 0).astype(np.float32)
            results['gt_depth_map'] = depth
        return results


@TRANSFORMS.register_module()
class PlainPack(PackSegInputs):
    """mmseg's ``PackSegInputs``, with normals and mask added."""

    def transform(self, results: dict) -> dict:
        packed = super().transform(results)
        packed['mask'] = torch.from_numpy(np.ascontiguousarray(results['gt_person_mask']))
        if 'gt_normal_map' in results:
            packed['normals'] = torch.from_numpy(np.ascontiguousarray(results['gt_normal_map'].transpose(2, 0, 1)))
        return packed


def our_pipeline(photos: str, size: tuple[int, int], depth: bool) -> list[dict]:
    return [
        dict(type='SapiensLoadLabels', mmap=True, mask=False),
        dict(type='SapiensRandomWarp', size=size),
        dict(type='SapiensRandomBackground', folder=photos, prob=0.8),
        dict(type='SapiensPhotometricDistortion'),
        *[dict(type='SapiensNormalizeDepth')] * depth,
        dict(type='SapiensPackDense'),
    ]


def plain_pipeline(photos: str, size: tuple[int, int], npy: bool = False) -> list[dict]:
    return [
        dict(type='LoadImageFromFile'),
        *[dict(type='LoadAnnotations', reduce_zero_label=False)] * (not npy),
        dict(type='PlainLoadLabels'),
        dict(type='PlainBackground', folder=photos, prob=0.8),
        dict(type='RandomResize', scale=size, ratio_range=(0.2, 2.), keep_ratio=True),
        dict(type='RandomCrop', crop_size=size, cat_max_ratio=0.75),
        dict(type='RandomRotate', prob=0.5, degree=45.),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PhotoMetricDistortion'),
        dict(type='PlainFinish', size=size),
        dict(type='PlainPack'),
    ]


def write_dataset(root: Path, num_images: int, size: tuple[int, int]) -> None:
    """Makes JPEGs (noise on a ramp) with an ellipsoid of five parts each, its depth and normals; backgrounds half as
    large."""
    rng = np.random.default_rng(0)
    height, width = size
    for folder in ('images', 'masks', 'parts', 'parts_npy', 'depths', 'normals', 'photos'):
        (root / folder).mkdir()
    y, x = np.mgrid[:height, :width].astype(np.float32)
    for i in range(num_images):
        ramp = (x / width * 160)[..., None] + (y / height * 60)[..., None] + rng.uniform(0, 30, 3)
        noise = cv2.resize(rng.normal(0, 30, (height // 4, width // 4, 3)).astype(np.float32), (width, height))
        image = (ramp + noise).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(root / f'photos/{i}.jpg'), cv2.resize(image, (width // 2, height // 2)))
        middle = np.array([width, height]) * rng.uniform(0.4, 0.6, 2)
        radii = np.array([width * 0.2, height * 0.4]) * rng.uniform(0.8, 1.2, 2)
        u, v = (x - np.float32(middle[0])) / np.float32(radii[0]), (y - np.float32(middle[1])) / np.float32(radii[1])
        square = u**2 + v**2
        person = square < 1
        up = np.sqrt(np.maximum(1 - square, 0))
        image[person] = 255 - image[person]
        cv2.imwrite(str(root / f'images/{i}.jpg'), image)
        cv2.imwrite(str(root / f'masks/{i}.png'), person.astype(np.uint8) * 255)
        parts = np.where(person, np.clip((v + 1) * 2.5, 0, 4).astype(np.uint8) * 5 + 2 + (u > 0), 0)
        cv2.imwrite(str(root / f'parts/{i}.png'), parts.astype(np.uint8))
        np.save(root / f'parts_npy/{i}.npy', parts.astype(np.uint8))
        np.save(root / f'depths/{i}.npy', np.where(person, 3 - 0.3 * up, 0).astype(np.float32))
        np.save(root / f'normals/{i}.npy', np.where(person[..., None], np.stack([u, -v, up], -1), 0).astype(np.float32))


def benchmark_loader(args: argparse.Namespace) -> Iterator[dict]:
    # As the runner sets a training process up.
    set_multi_processing(mp_start_method='fork', opencv_num_threads=0)
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder), args.images, args.source)
        photos = str(Path(folder) / 'photos')

        def loader(pipeline: list[dict], tasks: tuple, parts: str):
            return Runner.build_dataloader(
                dict(
                    batch_size=args.batch,
                    num_workers=2,
                    persistent_workers=True,
                    sampler=dict(type='DefaultSampler', shuffle=True),
                    dataset=dict(type='SapiensDenseDataset', data_root=folder, tasks=tasks, pipeline=pipeline,
                                 data_prefix=dict(seg_map_path=parts))))

        every = ('parts', 'depth', 'normal')
        for tasks, parts in ((('parts', ), 'parts'), (every, 'parts'), (every, 'parts_npy')):
            npy = parts == 'parts_npy'
            pipelines = our_pipeline(photos, args.size, len(tasks) > 1), plain_pipeline(photos, args.size, npy)
            loaders = [loader(pipeline, tasks, parts) for pipeline in pipelines]
            ours, plain = take_turns([lambda one=one: sum(1 for _ in one) for one in loaders], args.rounds)
            case = 'all as npy' if npy else ', '.join(tasks).replace('normal', 'normals')
            case = f'{case}: {args.source[1]}x{args.source[0]} to {args.size[1]}x{args.size[0]}'
            yield row('loader', case, ours, plain, ours_per_s=args.images / ours, plain_per_s=args.images / plain)


def part_logits() -> torch.Tensor:
    """Returns (1, 28, 512, 384) logits: a person of 27 smooth parts of the size of limbs on a third of the image."""
    torch.manual_seed(0)
    logits = torch.nn.functional.interpolate(3 * torch.randn(1, 28, 8, 6), (512, 384), mode='bilinear')
    y, x = torch.linspace(-1, 1, 512)[:, None], torch.linspace(-1, 1, 384)
    logits[:, 0] = 40 * ((x / 0.6)**2 + (y / 0.8)**2 - 1)
    return logits


def postprocessors(args: argparse.Namespace) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """Returns our postprocessing and mmseg's, from logits to labels."""
    host = SimpleNamespace(align_corners=False)

    def plain(logits: torch.Tensor) -> torch.Tensor:
        logits = torch.nn.functional.interpolate(logits, args.size, mode='bilinear', align_corners=False)
        samples = [SegDataSample(metainfo=dict(ori_shape=args.source))]
        return BaseSegmentor.postprocess_result(host, logits, samples)[0].cpu().pred_sem_seg.data[0]

    return dict(ours=lambda logits: resize_argmax(logits[0], args.source), plain=plain)


def measure_peak(args: argparse.Namespace) -> int:
    """Returns the bytes that one call needs beyond what the process held before."""
    function, logits = postprocessors(args)[args.child], part_logits()
    Path('/proc/self/clear_refs').write_text('5')
    before = peak_memory()
    function(logits)
    return peak_memory() - before


def benchmark_postprocess(args: argparse.Namespace) -> Iterator[dict]:
    functions, logits = postprocessors(args), part_logits()
    case = f'28x512x384 to {args.source[0]}x{args.source[1]}'
    ours, plain = take_turns([partial(function, logits) for function in functions.values()], args.rounds)
    differ = (functions['ours'](logits) != functions['plain'](logits)).float().mean().item()
    yield row('postprocess', case, ours, plain, share_of_pixels_that_differ=differ)
    peaks = []
    for name in functions:
        command = [sys.executable, __file__, '--child', name, '--size', *map(str, args.size), '--source',
                   *map(str, args.source)]
        peaks.append(int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1]))
    yield row('memory', case, *(peak / 1e6 for peak in peaks))


def measured_sample(size: tuple[int, int]) -> dict:
    """Returns labels and predictions of an image, a quarter of which is a person, in an evaluator's format."""
    rng = np.random.default_rng(0)
    height, width = size
    y, x = np.mgrid[-1:1:height * 1j, -1:1:width * 1j].astype(np.float32)
    person = (x / 0.5)**2 + (y / 0.64)**2 < 1
    parts = np.where(person, 1 + ((y + 1) * 13).astype(np.uint8), 0).astype(np.uint8)
    normal = np.stack([x, y, np.ones_like(x)])
    normal = np.where(person, normal / np.linalg.norm(normal, axis=0), 0).astype(np.float32)
    noise = rng.normal(0, 0.1, size).astype(np.float32)
    depth = np.where(person, 3 + x, 0).astype(np.float32)
    maps = dict(
        gt_sem_seg=parts, pred_sem_seg=np.roll(parts, 9, 0), gt_depth_map=depth,
        pred_depth_map=0.3 * depth + noise, gt_normal_map=normal, pred_normal_map=normal + noise, gt_person_mask=person)
    maps = {key: torch.from_numpy(value if value.ndim == 3 else value[None]) for key, value in maps.items()}
    return {key: dict(data=value) for key, value in maps.items()}


def plain_depth(sample: dict) -> dict:
    mask = sample['gt_person_mask']['data'][0].numpy() & (sample['gt_depth_map']['data'][0].numpy() > 0)
    true = sample['gt_depth_map']['data'][0].numpy().astype(np.float64)
    predicted = sample['pred_depth_map']['data'][0].numpy().astype(np.float64)
    columns = np.stack([predicted[mask], np.ones(mask.sum())], 1)
    scale, shift = np.linalg.lstsq(columns, true[mask], rcond=None)[0]
    p, z = (scale * predicted + shift).clip(0.1, 100)[mask], true[mask]
    worse = np.maximum(p / z, z / p)
    log = np.log(p) - np.log(z)
    return dict(
        RMSE=np.sqrt(np.mean((p - z)**2)), AbsRel=np.mean(abs(p - z) / z), SiLog=np.std(log),
        log10=np.mean(abs(np.log10(p) - np.log10(z))), **{f'delta{k}': np.mean(worse < 1.25**k) for k in (1, 2, 3)})


def plain_normals(sample: dict) -> dict:
    true, predicted = (sample[key]['data'].numpy().astype(np.float64) for key in ('gt_normal_map', 'pred_normal_map'))
    mask = sample['gt_person_mask']['data'][0].numpy()
    lengths = np.linalg.norm(true, axis=0) * np.linalg.norm(predicted, axis=0)
    angles = np.degrees(np.arccos(((true * predicted).sum(0) / np.maximum(lengths, 1e-12)).clip(-1, 1)))[mask]
    return dict(mean=angles.mean(), median=np.median(angles), RMSE=np.sqrt(np.mean(angles**2)),
                **{f'within_{degrees}': 100 * np.mean(angles < degrees) for degrees in (5, 7.5, 11.25, 22.5, 30)})


def benchmark_metric(args: argparse.Namespace) -> Iterator[dict]:
    sample = measured_sample(args.source)
    meta = dict(classes=[str(i) for i in range(28)])
    stock = IoUMetric(ignore_index=255)

    def plain_parts() -> dict:
        stock.process(None, [sample])
        stock.results.clear()

    plain = dict(parts=plain_parts, depth=partial(plain_depth, sample), normals=partial(plain_normals, sample))
    ours = dict(parts=SapiensPartsMetric(), depth=SapiensDepthMetric(), normals=SapiensNormalMetric())
    for metric in (stock, ours['parts']):
        metric.dataset_meta = meta
    for name, metric in ours.items():
        seconds = take_turns([partial(metric.process, None, [sample]), plain[name]], args.rounds)
        case = f'{name}, one image of {args.source[0]}x{args.source[1]}'
        yield row('metric', case, *seconds, ours_per_s=1 / seconds[0], plain_per_s=1 / seconds[1])


def line(entry: dict) -> str:
    if 'ours_per_s' in entry:
        columns = [f'{entry[key]:.1f}/s' for key in ('ours_per_s', 'plain_per_s')]
    elif entry['part'] == 'memory':
        columns = [f'{entry[key]:.1f} MB' for key in ('ours', 'plain')]
    else:
        columns = [f'{entry[key] * 1000:.1f} ms' for key in ('ours', 'plain')]
    goal = '-' if entry['goal'] is None else f'{entry["goal"]:g}x'
    return f'{entry["part"]:12}{entry["case"]:56}{columns[0]:>12}{columns[1]:>12}{entry["ratio"]:>7.2f}x{goal:>7}'


PARTS = dict(loader=benchmark_loader, postprocess=benchmark_postprocess, metric=benchmark_metric)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--only', nargs='+', choices=PARTS, default=list(PARTS), help='parts to run')
    parser.add_argument('--size', nargs=2, type=int, default=(1024, 768), metavar=('HEIGHT', 'WIDTH'), help='of inputs')
    parser.add_argument('--source', nargs=2, type=int, default=(4096, 3072), metavar=('HEIGHT', 'WIDTH'),
                        help='of the images')
    parser.add_argument('--rounds', type=int, default=3, help='timed rounds')
    parser.add_argument('--images', type=int, default=16, help='images of a loader round')
    parser.add_argument('--batch', type=int, default=2, help='batch size of the loader')
    parser.add_argument('--quick', action='store_true', help='toy sizes that run in seconds')
    parser.add_argument('--child', choices=['ours', 'plain'], help=argparse.SUPPRESS)
    parser.add_argument('--out', type=Path, help='also write the results to this JSON file')
    args = parser.parse_args(argv)
    if args.quick:
        args.size, args.source, args.rounds, args.images = (64, 48), (256, 192), 1, 4
    args.size, args.source = tuple(args.size), tuple(args.source)
    return args


def main(argv: list[str] | None = None) -> list[dict]:
    args = parse_args(argv)
    init_default_scope('mmseg')
    if args.child:
        print(measure_peak(args))
        return []
    rows = []
    print(f'{"part":12}{"case":56}{"ours":>12}{"plain":>12}{"ratio":>8}{"goal":>7}')
    for part in args.only:
        for entry in PARTS[part](args):
            print(line(entry), flush=True)
            rows.append(entry)
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1) + '\n')
    return rows


if __name__ == '__main__':
    main()
