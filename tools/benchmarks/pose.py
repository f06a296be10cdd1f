"""Speed of the pose code, compared with the stock mmpose components that it replaces.

    python tools/benchmarks/pose.py                     # all parts
    python tools/benchmarks/pose.py --only decode step  # some of them
    python tools/benchmarks/pose.py --out pose.json

* loader: images through a DataLoader with worker processes. The same augmentation and images; the stock pipeline
  renders heatmaps, ours carries coordinates. All 308 keypoints are labeled.
* decode: heatmaps to keypoints, `SapiensUDPHeatmap.batch_decode` against `UDPHeatmap.decode` person by person. The maps
  are Gaussians of random height (0.05 to 1) in noise.
* step: a whole training step (copy to the device, forward, loss, backward, AdamW) of the same tiny model. Ours renders
  the targets and computes the PCK at one step in 50 (the mean is given); the stock step receives rendered heatmaps and
  computes the PCK on the host at every step. `loss alone` is the same from predicted heatmaps to their gradient.

Both sides take turns, and the time is that of the fastest round, the one that other programs disturbed least. `ratio`
is stock time / our time.
"""
import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn as nn
from measure import take_turns
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData, PixelData
from mmengine.utils.dl_utils import set_multi_processing
from mmpose.models.heads import HeatmapHead
from mmpose.registry import KEYPOINT_CODECS, MODELS
from mmpose.structures import PoseDataSample

from sapiens_mm.backbones.head_layers import conv_layers, upsampling_layers
from sapiens_mm.pose import SapiensPoseHead

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
LOG_INTERVAL = 50  # of configs/_base_/pose_runtime.py
GOALS = dict(loader=4., decode=5., step=1.)


class StockPoseHead(HeatmapHead):
    """mmpose's head with the layers of ``SapiensPoseHead``, so that only the path from targets to losses differs."""

    def _make_deconv_layers(self, in_channels, layer_out_channels, layer_kernel_sizes):
        return upsampling_layers(in_channels, layer_out_channels, layer_kernel_sizes)

    def _make_conv_layers(self, in_channels, layer_out_channels, layer_kernel_sizes):
        return conv_layers(in_channels, layer_out_channels, layer_kernel_sizes)


def row(part: str, case: str, ours: float, stock: float, **more: float) -> dict:
    """Returns a line of the table from times in seconds."""
    return dict(part=part, case=case, ours=ours, stock=stock, ratio=stock / ours, goal=GOALS[part], **more)


def stock_codec(codec: dict) -> dict:
    return {**codec, 'type': 'UDPHeatmap'}


def write_dataset(root: Path, num_images: int, num_keypoints: int = 308) -> None:
    """Makes 640x480 JPEGs (a gradient, discs and noise) with one fully labeled person each, in COCO's format."""
    rng = np.random.default_rng(0)
    width, height = 640, 480
    ramp = np.linspace(0, 160, width)[None, :, None] + np.linspace(0, 60, height)[:, None, None]
    images, annotations = [], []
    (root / 'images').mkdir()
    for i in range(num_images):
        image = ramp + rng.normal(0, 8, (height, width, 3))
        for x, y in rng.integers((0, 0), (width, height), (20, 2)).tolist():
            cv2.circle(image, (x, y), int(rng.integers(5, 60)), rng.integers(0, 256, 3).tolist(), -1)
        cv2.imwrite(str(root / f'images/{i}.jpg'), image.clip(0, 255).astype(np.uint8))
        images.append(dict(id=i, file_name=f'{i}.jpg', width=width, height=height))
        points = rng.uniform((200, 40), (440, 440), (num_keypoints, 2)).round(1)
        keypoints = np.concatenate([points, np.full((num_keypoints, 1), 2)], axis=1).ravel().tolist()
        annotations.append(dict(id=i, image_id=i, category_id=1, iscrowd=0, bbox=[190, 30, 260, 420], area=60000,
                                num_keypoints=num_keypoints, keypoints=keypoints))
    content = dict(images=images, annotations=annotations, categories=[dict(id=1, name='person')])
    (root / 'train.json').write_text(json.dumps(content))


def stock_pipeline(pipeline: list[dict]) -> list[dict]:
    """Returns the same transforms in the same order with mmpose's components and codec, and without seeding.

    Blur and coarse dropout stay ours: the stock ones need albumentations, which mmpose does not install.
    """
    stock = dict(SapiensLoadImage='LoadImage', SapiensPhotometricDistortion='PhotometricDistortion')
    out = []
    for transform in pipeline:
        transform = dict(transform)
        transform['type'] = stock.get(transform['type'], transform['type'])
        if transform['type'] == 'GenerateTarget':
            transform['encoder'] = stock_codec(transform['encoder'])
        if transform['type'] != 'SapiensSeedSample':
            out.append(transform)
    return out


def benchmark_loader(args: argparse.Namespace, cfg: Config) -> list[dict]:
    # As the runner sets a training process up.
    set_multi_processing(mp_start_method='fork', opencv_num_threads=0)
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder), args.images)

        def loader(pipeline: list[dict]):
            return Runner.build_dataloader(
                dict(
                    batch_size=args.batch,
                    num_workers=2,
                    persistent_workers=True,
                    sampler=dict(type='DefaultSampler', shuffle=True),
                    dataset=dict(type='SapiensCocoStyleDataset', data_root=folder, ann_file='train.json',
                                 data_prefix=dict(img='images/'), data_mode='topdown', pipeline=pipeline)))

        loaders = loader(cfg.train_pipeline), loader(stock_pipeline(cfg.train_pipeline))
        ours, stock = take_turns([lambda loader=loader: sum(1 for _ in loader) for loader in loaders], args.rounds)
    case = f'images/s, {args.size}, K=308, 2 workers'
    return [row('loader', case, ours, stock, ours_per_s=args.images / ours, stock_per_s=args.images / stock)]


def benchmark_decode(args: argparse.Namespace, cfg: Config) -> list[dict]:
    cv2.setNumThreads(args.threads)
    ours, stock = KEYPOINT_CODECS.build(cfg.codec), KEYPOINT_CODECS.build(stock_codec(cfg.codec))
    generator = torch.Generator().manual_seed(0)
    places = torch.rand(args.persons, 308, 2, generator=generator) * (torch.tensor(ours.heatmap_size) - 1)
    heights = 0.05 + 0.95 * torch.rand(args.persons, 308, 1, 1, generator=generator)
    maps = ours.render(places) * heights
    maps += 0.005 * torch.randn(maps.shape, generator=generator)
    persons = list(maps.numpy())

    def decode_stock():
        return [stock.decode(person)[0] for person in persons]

    difference = np.abs(np.stack(ours.batch_decode(maps)[0]) - np.stack(decode_stock())).max()
    seconds = take_turns([lambda: ours.batch_decode(maps), decode_stock], args.rounds)
    w, h = ours.heatmap_size
    case = f'{args.persons} x 308 maps {h}x{w}, {args.threads} threads'
    return [row('decode', case, *seconds, max_difference_px=float(difference))]


def training_batches(codecs: tuple, size: tuple[int, int], num_keypoints: int, batch: int) -> tuple[dict, dict]:
    """Returns batches of the same images as our loader gives them (coordinates) and as mmpose's does (heatmaps)."""
    rng = np.random.default_rng(0)
    batches = [], []
    for _ in range(batch):
        image = torch.from_numpy(rng.integers(0, 256, (3, size[1], size[0]), dtype=np.uint8))
        keypoints = rng.uniform((0, 0), size, (1, num_keypoints, 2)).astype(np.float32)
        for codec, out in zip(codecs, batches):
            encoded = codec.encode(keypoints)
            sample = PoseDataSample()
            if 'heatmaps' in encoded:
                sample.gt_fields = PixelData(heatmaps=torch.from_numpy(encoded.pop('heatmaps')))
            sample.gt_instance_labels = InstanceData(**encoded).to_tensor()
            out.append(dict(inputs=image, data_samples=sample))
    return pseudo_collate(batches[0]), pseudo_collate(batches[1])


def benchmark_step(args: argparse.Namespace, cfg: Config) -> Iterator[dict]:
    for size in dict.fromkeys(('256x192', args.size)):
        # Short steps need more rounds against noise.
        rounds = args.rounds * (1 if args.quick or size == '1024x768' else 8)
        for num_keypoints in (17, 308):
            yield from step_rows(args, size, num_keypoints, rounds)


def step_rows(args: argparse.Namespace, size: str, num_keypoints: int, rounds: int) -> list[dict]:
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    codec = Config.fromfile(CONFIGS / f'_base_/pipelines/pose_{size}.py').codec
    models, optimizers = [], []
    for head, decoder in ((SapiensPoseHead, codec), (StockPoseHead, stock_codec(codec))):
        model = Config.fromfile(CONFIGS / 'sapiens_pose/goliath/sapiens_tiny-210e_goliath-256x192.py').model
        model.backbone.update(arch=args.arch, img_size=codec.input_size[::-1])
        model.head.update(type=head, out_channels=num_keypoints, decoder=decoder)
        model = MODELS.build(model).to(device).train()
        models.append(model)
        optimizers.append(OptimWrapper(torch.optim.AdamW(model.parameters(), lr=1e-4)))
    models[1].load_state_dict(models[0].state_dict())
    batches = training_batches([model.head.decoder for model in models], codec.input_size, num_keypoints, args.batch)

    def step(i: int) -> dict:
        return models[i].train_step(batches[i], optimizers[i])

    samples = [model.data_preprocessor(batch, training=True)['data_samples'] for model, batch in zip(models, batches)]
    maps = torch.rand(args.batch, num_keypoints, *codec.heatmap_size[::-1], device=device, requires_grad=True)

    def loss_alone(i: int) -> None:
        maps.grad = None
        models[i].head.loss((maps, ), samples[i])['loss_kpt'].backward()

    case = f'{size}, K={num_keypoints}, batch {args.batch}, {device}'
    losses = [step(i)['loss'].item() for i in (0, 1)]
    whole = step_row(case, step, rounds)
    whole['relative_difference'] = abs(losses[0] / losses[1] - 1)
    for model in models:
        for name in ('deconv_layers', 'conv_layers', 'final_layer'):
            setattr(model.head, name, nn.Identity())
    return [whole, step_row(case + ', loss alone', loss_alone, 3 * rounds)]


def step_row(case: str, function: Callable[[int], object], rounds: int) -> dict:
    """Times ``function(0)`` (ours), at a logged iteration too, and ``function(1)`` (stock)."""
    hub = MessageHub.get_current_instance()
    before = hub.get_info('logged_iter', True)

    def ours(logged: bool) -> None:
        hub.update_info('logged_iter', logged)
        function(0)

    plain, logged, stock = take_turns([lambda: ours(False), lambda: ours(True), lambda: function(1)], rounds)
    hub.update_info('logged_iter', before)
    mean = (plain * (LOG_INTERVAL - 1) + logged) / LOG_INTERVAL
    return row('step', case, mean, stock, plain=plain, logged=logged)


def line(entry: dict) -> str:
    if 'ours_per_s' in entry:
        columns = [f'{entry[key]:.1f}/s' for key in ('ours_per_s', 'stock_per_s')]
    else:
        columns = [f'{entry[key] * 1000:.1f} ms' for key in ('ours', 'stock')]
    notes = [f'{key} {value:.2g}' for key, value in entry.items() if 'difference' in key]
    return (f'{entry["part"]:8}{entry["case"]:46}{columns[0]:>12}{columns[1]:>12}{entry["ratio"]:>7.2f}x'
            f'{entry["goal"]:>6g}x  {" ".join(notes)}'.rstrip())


PARTS = dict(loader=benchmark_loader, decode=benchmark_decode, step=benchmark_step)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--only', nargs='+', choices=PARTS, default=list(PARTS), help='parts to run')
    parser.add_argument('--size', choices=['1024x768', '256x192'], default='1024x768', help='input size (HxW)')
    parser.add_argument('--rounds', type=int, default=3, help='timed rounds (of a 256x192 step: 8 times as many)')
    parser.add_argument('--images', type=int, default=64, help='images of a loader round')
    parser.add_argument('--persons', type=int, default=8, help='persons to decode')
    parser.add_argument('--batch', type=int, default=2, help='batch size of loader and step')
    parser.add_argument('--threads', type=int, default=2, help='threads of decode and of a step on the CPU')
    parser.add_argument('--arch', default='sapiens_tiny', help='backbone of the step, 192 wide')
    parser.add_argument('--quick', action='store_true', help='toy sizes that run in seconds')
    parser.add_argument('--out', type=Path, help='also write the results to this JSON file')
    args = parser.parse_args(argv)
    if args.quick:
        args.arch = dict(embed_dims=192, num_layers=1, num_heads=3, feedforward_channels=192)
        args.size, args.rounds, args.images, args.persons, args.threads = '256x192', 1, 4, 2, 1
    return args


def main(argv: list[str] | None = None) -> list[dict]:
    args = parse_args(argv)
    init_default_scope('mmpose')
    torch.set_num_threads(args.threads)
    cfg = Config.fromfile(CONFIGS / f'_base_/pipelines/pose_{args.size}.py')
    rows = []
    print(f'{"part":8}{"case":46}{"ours":>12}{"stock":>12}{"ratio":>8}{"goal":>7}')
    for part in args.only:
        for entry in PARTS[part](args, cfg):
            print(line(entry), flush=True)
            rows.append(entry)
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1) + '\n')
    return rows


if __name__ == '__main__':
    main()
