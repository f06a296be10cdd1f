"""Speed of `SapiensInferencer` from image files to keypoints or maps, compared with a plain demo.

    python tools/benchmarks/inference.py                                 # 308 keypoints, the tiny model at 256x192
    python tools/benchmarks/inference.py --persons 1 --dtype bfloat16
    python tools/benchmarks/inference.py --arch sapiens_0.3b --size 1024x768 --frames 2
    python tools/benchmarks/inference.py --only dense --out inference.json
    python tools/benchmarks/inference.py --runtime openvino --threads 1
    python tools/benchmarks/inference.py --only embedded --runtime openvino --threads 2

* pose: JPEGs of `--frame-size` with `--persons` boxes each. Plain is mmpose's `inference_topdown`, called for one
  person after the other; its `UDPHeatmap` decodes on the host.
* dense: parts, depth and normals of whole frames. Plain runs one model after the other. Each reads and preprocesses the
  image again, copies its outputs to the host, resizes them there to the frame and, for parts, takes the argmax.
* embedded: the embedded model in torch and in `--runtime`: its networks alone, and all tasks of a 640x480 photo.

In pose and dense both have the same random weights and the same dtype. `batched` is the inferencer with
`--batch-size`, `one by one` the same with batches of one; with `--runtime openvino`, `torch` is `batched` in PyTorch.
They take turns, and the time is that of the fastest round, the one that other programs disturbed least. `ratio` is the
speed of the batched inferencer relative to plain; `difference` is the median distance of its keypoints from the plain
ones in pixels of the frame, or the share of pixels with another part.

The next lines time the inferencer's stages one after the other, without the overlap of its threads. `host share` is the
share of the batched time in which neither the model nor the decoding (pasting, for maps) runs, if these are as fast as
when timed alone; it is 0 if they are slower.
"""
import argparse
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from measure import take_turns
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpose.apis import inference_topdown
from pose import StockPoseHead, stock_codec

from sapiens_mm.apis.boxes import best_boxes
from sapiens_mm.apis.crops import crop_for_pose, resize_frame
from sapiens_mm.apis.frames import read_frames
from sapiens_mm.apis.inferencer import SapiensInferencer
from sapiens_mm.apis.openvino_model import RUNTIMES
from sapiens_mm.apis.sources import find_sources
from sapiens_mm.backbones import SapiensViT
from sapiens_mm.dense.estimators import restore
from sapiens_mm.dense.resize import placement
from sapiens_mm.tasks import get_task

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
GOALS = dict(pose=2., dense=None)
DENSE = ('seg', 'depth', 'normal')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--only', nargs='+', choices=PARTS, default=list(PARTS), help='parts to run')
    parser.add_argument('--arch', default='sapiens_tiny', help='of the backbone')
    parser.add_argument('--size', choices=['1024x768', '256x192'], default='256x192', help='input size (HxW)')
    parser.add_argument('--dtype', choices=['float32', 'bfloat16', 'float16'], default='float32')
    parser.add_argument('--runtime', choices=RUNTIMES, default='torch', help='of the inferencer; plain is in PyTorch')
    parser.add_argument('--frames', type=int, default=8)
    parser.add_argument('--frame-size', default='960x1280', help='HxW (%(default)s)')
    parser.add_argument('--persons', type=int, default=4, help='in each frame')
    parser.add_argument('--batch-size', type=int, default=4)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--threads', type=int, default=min(2, os.cpu_count() or 1), help='of a model on the CPU')
    parser.add_argument('--quick', action='store_true', help='toy sizes that run in seconds')
    parser.add_argument('--out', type=Path, help='also write the results to this JSON file')
    args = parser.parse_args(argv)
    if args.quick:
        args.arch = dict(embed_dims=32, num_layers=1, num_heads=2, feedforward_channels=32)
        args.frames, args.frame_size, args.persons, args.rounds = 2, '120x160', 2, 1
    args.device = 'cuda' if torch.cuda.is_available() else 'cpu'
    return args


def write_frames(folder: Path, args: argparse.Namespace) -> tuple[list[str], list[np.ndarray]]:
    """Writes JPEGs (a gradient, discs and noise); returns their paths, and boxes (N, 5) side by side for each."""
    rng = np.random.default_rng(0)
    height, width = map(int, args.frame_size.split('x'))
    ramp = np.linspace(0, 160, width)[None, :, None] + np.linspace(0, 60, height)[:, None, None]
    paths, boxes = [], []
    for i in range(args.frames):
        image = ramp + rng.normal(0, 8, (height, width, 3))
        for x, y in rng.integers((0, 0), (width, height), (60, 2)).tolist():
            cv2.circle(image, (x, y), int(rng.integers(5, 60)), rng.integers(0, 256, 3).tolist(), -1)
        paths.append(str(folder / f'{i}.jpg'))
        cv2.imwrite(paths[-1], image.clip(0, 255).astype(np.uint8))
        left = np.linspace(0, width, args.persons, endpoint=False)
        ends = rng.uniform((.05, .9), (.1, 1), (args.persons, 2)) * height
        boxes.append(np.column_stack([left, ends[:, 0], left + width / args.persons, ends[:, 1],
                                      np.linspace(1, .5, args.persons)]).astype(np.float32))
    return paths, boxes


def save_random_weights(cfg: Config, path: Path) -> None:
    """Saves random weights; unlike with initial weights, the outputs depend on the image."""
    model = build(cfg)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and 'pos_embed' not in name:
            fan_in = parameter[0].numel()
            with torch.no_grad():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * fan_in**-.5)
    torch.save(dict(state_dict=model.state_dict()), path)


def build(cfg: Config):
    if cfg.default_scope == 'mmpose':
        from mmpose.registry import MODELS
    else:
        from mmseg.registry import MODELS
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(cfg.model).eval()


def narrow(head: dict) -> None:
    """Makes a head as small as the backbone of ``--quick``."""
    for key in ('deconv_out_channels', 'conv_out_channels'):
        head[key] = (16, ) * len(head[key])


def own_weights(cfg: Config, name: str, folder: Path) -> tuple[str, str]:
    """Writes a config and a checkpoint of random weights; returns their paths."""
    cfg.model.backbone.init_cfg = None
    paths = str(folder / f'{name}.py'), str(folder / f'{name}.pth')
    cfg.dump(paths[0])
    save_random_weights(cfg, paths[1])
    return paths


def plain_dtype(args: argparse.Namespace):
    """Returns the autocast context of a plain model."""
    dtype = getattr(torch, args.dtype)
    return nullcontext() if dtype == torch.float32 else torch.autocast(args.device, dtype)


def time_all(args: argparse.Namespace, part: str, inferencers: list[SapiensInferencer], plain: Callable,
             inputs: tuple, stages: dict[str, Callable], difference: Callable) -> tuple[dict, dict]:
    """Returns the table row of a part and the times of its stages, in seconds per frame."""
    functions = [lambda inferencer=inferencer: inferencer(*inputs) for inferencer in inferencers] + [plain]
    batched, single, *others, stock = (seconds / args.frames for seconds in take_turns(functions, args.rounds))
    stages = {name: take_turns([stage], args.rounds)[0] / args.frames for name, stage in stages.items()}
    host = 1 - min(1, sum(stages[name] for name in ('model', 'decode')) / batched)
    case = f'{args.frames} frames {args.frame_size}, {args.persons} persons, {args.size}, {args.dtype}, {args.device}, '
    case += args.runtime
    return dict(part=part, case=case, batched=batched, one_by_one=single, **({'torch': others[0]} if others else {}),
                plain=stock, ratio=stock / batched,
                goal=GOALS[part], difference=float(difference()), host_share=host, stages=stages)


def make_inferencers(args: argparse.Namespace, weights: list) -> list[SapiensInferencer]:
    """Returns those of `batched` and `one by one`, and of `torch` with another runtime."""
    cases = [(args.runtime, args.batch_size), (args.runtime, 1)]
    cases += [] if args.runtime == 'torch' else [('torch', args.batch_size)]
    return [SapiensInferencer(weights=weights, detector=None, device=args.device, dtype=getattr(torch, args.dtype),
                              score_threshold=0, batch_size=size, runtime=runtime) for runtime, size in cases]


def read_all(paths: list[str]) -> list[np.ndarray]:
    return [frame.image for path in paths for frame in read_frames(find_sources([path])[0])]


def batches_of(crops: list[np.ndarray], args: argparse.Namespace) -> list[torch.Tensor]:
    return [torch.from_numpy(np.stack(crops[i:i + args.batch_size])).to(args.device).permute(0, 3, 1, 2)
            for i in range(0, len(crops), args.batch_size)]


def benchmark_pose(args: argparse.Namespace, folder: Path) -> dict:
    paths, boxes = write_frames(folder, args)
    pipelines = Config.fromfile(CONFIGS / f'_base_/pipelines/pose_{args.size}.py')
    cfg = Config.fromfile(CONFIGS / 'sapiens_pose/goliath/sapiens_tiny-210e_goliath-256x192.py')
    cfg.codec = pipelines.codec
    cfg.model.backbone.update(arch=args.arch, img_size=pipelines.codec.input_size[::-1])
    cfg.model.head.update(in_channels=width_of(args.arch), decoder=pipelines.codec)
    if args.quick:
        narrow(cfg.model.head)
    cfg.model.test_cfg = dict(flip_test=False)
    cfg.test_dataloader.dataset.pipeline = pipelines.test_pipeline
    weights = own_weights(cfg, 'pose', folder)
    inferencers = make_inferencers(args, [weights])

    stock = Config(cfg.to_dict())
    stock.model.type = 'TopdownPoseEstimator'
    stock.model.head.update(type=StockPoseHead, decoder=stock_codec(dict(pipelines.codec)))
    for transform in stock.test_dataloader.dataset.pipeline:
        transform.type = transform.type.replace('SapiensLoadImage', 'LoadImage')
    model = build(stock).to(args.device)
    model.load_state_dict(torch.load(weights[1])['state_dict'])
    model.cfg, model.dataset_meta = stock, inferencers[0].metainfo['pose']
    model.head.final_layer.register_forward_hook(lambda *args: args[-1].float())  # NumPy has no bfloat16

    def plain() -> list[np.ndarray]:
        results = []
        with plain_dtype(args), DefaultScope.overwrite_default_scope('mmpose'):
            for path, persons in zip(paths, boxes):
                image = cv2.imread(path)
                results.append([inference_topdown(model, image, person[None, :4])[0].pred_instances.keypoints[0]
                                for person in persons])
        return results

    pose = inferencers[0].pose
    images = read_all(paths)
    crops = [crop_for_pose(image, box[:4], pose.input_size).image
             for image, detected in zip(images, boxes) for box in detected]
    batches = batches_of(crops, args)

    @torch.inference_mode()
    def run(batch: torch.Tensor) -> torch.Tensor:
        return next(iter(pose(batch).values()))

    @torch.inference_mode()
    def decode(maps: torch.Tensor) -> list[torch.Tensor]:
        return [values.cpu() for values in pose.codec.decode_heatmaps(maps)]

    heatmaps = [run(batch) for batch in batches]
    stages = dict(
        read=lambda: read_all(paths),
        persons=lambda: [best_boxes(detected, image.shape[:2], 0, .65, None) for image, detected in zip(images, boxes)],
        crop=lambda: [crop_for_pose(image, box[:4], pose.input_size) for image, detected in zip(images, boxes)
                      for box in detected],
        copy=lambda: batches_of(crops, args),
        model=lambda: [run(batch) for batch in batches],
        decode=lambda: [decode(maps) for maps in heatmaps])

    def difference() -> float:
        ours = np.stack([result.keypoints for result in inferencers[0](paths, boxes)])
        return np.median(np.linalg.norm(ours - np.array(plain()), axis=-1))

    return time_all(args, 'pose', inferencers, plain, (paths, boxes), stages, difference)


def benchmark_dense(args: argparse.Namespace, folder: Path) -> dict:
    paths, _ = write_frames(folder, args)
    size = tuple(map(int, args.size.split('x')))
    weights = []
    for task in DENSE:
        cfg = Config.fromfile(CONFIGS / f'sapiens_{task}/synthetic/sapiens_tiny-40e_synthetic-256x192.py')
        cfg.model.backbone.update(arch=args.arch, img_size=size)
        cfg.model.decode_head.in_channels = width_of(args.arch)
        if args.quick:
            narrow(cfg.model.decode_head)
        cfg.model.data_preprocessor.size = size
        weights.append(own_weights(cfg, task, folder))
    inferencers = make_inferencers(args, weights)
    models, plain_models = ({model.tasks[0]: model for model in inferencers[i].dense} for i in (0, -1))

    @torch.inference_mode()
    def plain() -> list[dict[str, np.ndarray]]:
        results = []
        for path in paths:
            maps = {}
            for task, model in plain_models.items():
                image = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
                crop = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
                output = model(batches_of([crop], args)[0])[task].cpu()
                output = F.interpolate(output, image.shape[:2], mode='bilinear', align_corners=False)[0]
                maps[task] = output.argmax(0).numpy() if task == 'seg' else output.numpy()
            results.append(maps)
        return results

    inferencer = inferencers[0]
    images = read_all(paths)
    crops = [resize_frame(image, size).image for image in images]
    batches = batches_of(crops, args)

    @torch.inference_mode()
    def run(model, batch: torch.Tensor) -> torch.Tensor:
        return model(batch)[model.tasks[0]]

    @torch.inference_mode()
    def finish(task: str, output: torch.Tensor, image: np.ndarray) -> np.ndarray:
        place = placement(dict(ori_shape=image.shape[:2], img_shape=size), output.shape[-2:], size)
        return restore(get_task(task), output, place).cpu().numpy()

    outputs = {task: [output for batch in batches for output in run(model, batch)] for task, model in models.items()}
    stages = dict(
        read=lambda: read_all(paths),
        crop=lambda: [resize_frame(image, size) for image in images],
        copy=lambda: batches_of(crops, args),
        model=lambda: [run(model, batch) for model in models.values() for batch in batches],
        decode=lambda: [finish(task, output, image) for task, batch in outputs.items()
                        for output, image in zip(batch, images)])

    def difference() -> float:
        return np.mean([(result.parts != maps['seg']).mean() for result, maps in zip(inferencer(paths), plain())])

    return time_all(args, 'dense', inferencers, plain, (paths, ), stages, difference)


def benchmark_embedded(args: argparse.Namespace, folder: Path) -> dict:
    args.frames, args.frame_size = 1, '480x640'
    image, = read_all(write_frames(folder, args)[0])
    runtimes = list(dict.fromkeys(['torch', args.runtime]))
    inferencers = [SapiensInferencer(size='tiny', device=args.device, dtype=getattr(torch, args.dtype), runtime=runtime)
                   for runtime in runtimes]

    @torch.inference_mode()
    def run(models: list, crops: list[np.ndarray]) -> list[torch.Tensor]:
        return [output for model in models for batch in batches_of(crops, args) for output in model(batch).values()]

    people = [crop_for_pose(image, [0, 0, *image.shape[1::-1]], inferencers[0].pose.input_size).image] * 4
    frame = [resize_frame(image, inferencers[0].dense[0].input_size).image]
    box = [np.array([[0, 0, *image.shape[1::-1], 1]], np.float32)]
    cases = {'pose, 1 person': lambda inferencer: run([inferencer.pose], people[:1]),
             'pose, 4 people': lambda inferencer: run([inferencer.pose], people),
             'seg, depth, normal': lambda inferencer: run(inferencer.dense, frame),
             'all of a photo': lambda inferencer: inferencer([image], box)}
    seconds = {name: dict(zip(runtimes, take_turns([lambda inferencer=inferencer, case=case: case(inferencer)
                                                    for inferencer in inferencers], args.rounds)))
               for name, case in cases.items()}
    crops = {'pose, 4 people': people, 'seg, depth, normal': frame}
    differences = [((one - other).abs().max() / one.abs().max()).item()
                   for name, models in (('pose, 4 people', [[i.pose] for i in inferencers]),
                                        ('seg, depth, normal', [i.dense for i in inferencers]))
                   for one, other in zip(run(models[0], crops[name]), run(models[-1], crops[name]), strict=True)]
    return dict(part='embedded', case=f'{args.dtype}, {args.device}, {args.threads} threads', seconds=seconds,
                difference=max(differences))


def width_of(arch: str | dict) -> int:
    return (SapiensViT.arch_zoo[arch] if isinstance(arch, str) else arch)['embed_dims']


def show(row: dict) -> None:
    if row['part'] == 'embedded':
        print(f'{row["part"]}: {row["case"]}; difference {row["difference"]:.2g}')
        for name, times in row['seconds'].items():
            print(f'  {name:18} ' + ', '.join(f'{runtime} {value * 1000:.1f} ms' for runtime, value in times.items())
                  + f'; ratio {times["torch"] / list(times.values())[-1]:.2f}', flush=True)
        return
    goal = f' (goal {row["goal"]:g})' if row['goal'] else ''
    print(f'{row["part"]}: {row["case"]}')
    print('  ms per frame     ' + ', '.join(f'{name.replace("_", " ")} {row[name] * 1000:.1f}'
                                            for name in ('batched', 'one_by_one', 'torch', 'plain') if name in row))
    print(f'  ratio            {row["ratio"]:.2f}{goal}; difference {row["difference"]:.2g}')
    print('  stages, ms       ' + ', '.join(f'{name} {seconds * 1000:.1f}' for name, seconds in row['stages'].items()))
    print(f'  host share       {row["host_share"]:.0%} (goal 15 %)', flush=True)


PARTS = dict(pose=benchmark_pose, dense=benchmark_dense, embedded=benchmark_embedded)


def main(argv: list[str] | None = None) -> list[dict]:
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    rows = []
    for part in args.only:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(PARTS[part](args, Path(folder)))
        show(rows[-1])
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1) + '\n')
    return rows


if __name__ == '__main__':
    main()
