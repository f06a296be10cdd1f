"""Benchmark of pretraining on people: the paper's table 7 and figure 10 at small scale, on photos.

    python tools/benchmarks/pretraining_helps.py --people people.txt --places places.txt --labeled data/lsp

The same command continues an interrupted run. A small pose model is fine-tuned with the same steps from random weights,
from the encoder of a masked autoencoder trained on photos without people, and from one trained on photos of people.
Both autoencoders use the same number of photos and the same steps and seed; so do those of fewer unique photos
(``--people-counts``). The models are fine-tuned on some of the labeled LSP photos (docs/datasets.md) and tested on its
1,000 test photos; those pretrained on other numbers of photos, with the first of --train-images alone. Each start is
fine-tuned with several seeds (data order, augmentation, new weights), but each encoder is pretrained once, so the
spread is that of the fine-tuning. The lists name one photo per line, as of the config sapiens_pretrain/photos. No
photo of a test set belongs in them.
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Backbone of both trainings, that of the quickstart.
ARCH = 'dict(_delete_=True, embed_dims=160, num_layers=6, num_heads=5, feedforward_channels=320)'
PRETRAIN = """_base_ = '{root}/configs/sapiens_pretrain/photos/sapiens_tiny-2000it_photos-256x192.py'
model = dict(
    backbone=dict(arch={arch}, img_size=(128, 96)), neck=dict(embed_dims=96), norm_target=True)
train_dataloader = dict(
    batch_size=32, dataset=dict(source=dict(path='{photos}', root='/'), size=(128, 96), scale=(0.3, 1.)))
train_cfg = dict(max_iters={steps})
param_scheduler = [
    dict(type='LinearLR', begin=0, end={warm_up}, start_factor=0.01, by_epoch=False),
    dict(type='CosineAnnealingLR', begin={warm_up}, end={steps}, eta_min=0, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval=1000, max_keep_ckpts=1))
randomness = dict(seed=0)
"""
FINETUNE = """_base_ = '{root}/configs/sapiens_pose/synthetic/sapiens_tiny-26e_synthetic-192x144.py'
data_root = '{labeled}/'
codec = dict(type='SapiensUDPHeatmap', input_size=(96, 128), heatmap_size=(24, 32), sigma=2, blur_kernel_size=11)
model = dict(backbone=dict(img_size=(128, 96), init_cfg={init}), head=dict(decoder=codec))
train_pipeline = _base_.train_pipeline
train_pipeline[5]['input_size'] = codec['input_size']
train_pipeline[6]['encoder'] = codec
test_pipeline = _base_.test_pipeline
test_pipeline[2]['input_size'] = codec['input_size']
train_dataloader = dict(
    batch_size=16,
    dataset=dict(data_root=data_root, ann_file='annotations/lsp_train.json', indices={images}, pipeline=train_pipeline))
test_dataloader = dict(dataset=dict(
    data_root=data_root, ann_file='annotations/lsp_test.json', pipeline=test_pipeline))
test_evaluator = [
    dict(type='CocoMetric', ann_file=data_root + 'annotations/lsp_test.json'),
    dict(type='SapiensTorsoPCK'),
]
train_cfg = dict(max_epochs={epochs}, val_interval={epochs})
param_scheduler = [
    dict(type='LinearLR', begin=0, end={warm_up}, start_factor=0.01, by_epoch=False),
    dict(type='CosineAnnealingLR', begin=0, end={epochs}, eta_min=0, by_epoch=True, convert_to_iter_based=True),
]
optim_wrapper = dict(optimizer=dict(lr={lr}), paramwise_cfg=dict(layer_decay_rate={layer_decay}))
default_hooks = dict(checkpoint=dict(interval={epochs}))
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--people', type=Path, required=True, help='list of photos of people, one path per line')
    parser.add_argument('--places', type=Path, required=True, help='list of images without people')
    parser.add_argument('--labeled', type=Path, required=True, help='folder of tools/dataset_converters/lsp.py')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/pretraining_helps'))
    parser.add_argument('--jobs', type=int, default=min(2, os.cpu_count() or 1), help='processes at a time')
    parser.add_argument('--pretrain-steps', type=int, default=4000, help='of 32 images')
    parser.add_argument('--people-counts', type=int, nargs='*', default=[1000, 3000, 10000],
                        help='numbers of unique photos of people that are pretrained on too, with the same steps')
    parser.add_argument('--train-images', type=int, nargs='+', default=[250, 1000], help='labeled photos')
    parser.add_argument('--steps', type=int, default=1000, help='of 16 images, of the fine-tuning')
    parser.add_argument('--lr', type=float, default=1.2e-3, help='of the fine-tuning')
    parser.add_argument('--layer-decay', type=float, default=1., help='of the fine-tuning')
    parser.add_argument('--seeds', type=int, default=3)
    args = parser.parse_args(argv)
    for name in ('jobs', 'pretrain_steps', 'steps', 'seeds'):
        if getattr(args, name) < 1:
            parser.error(f'--{name.replace("_", "-")}: got {getattr(args, name)}, expected 1 or more')
    return args


def read_list(path: Path) -> list[str]:
    """Returns the absolute paths of a list file."""
    if not path.is_file():
        raise SystemExit(f'list of photos: got {path}, expected an existing file; check the path')
    return [str((path.parent / line).resolve()) for line in map(str.strip, path.read_text().splitlines()) if line]


class Benchmark:
    """Runs the stages; skips commands whose result exists."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.folder = args.work_dir.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()
                    if name not in ('work_dir', 'jobs')}
        file = self.folder / 'settings.json'
        before = json.loads(file.read_text()) if file.exists() else settings
        if before != settings:
            raise SystemExit(f'{self.folder}: got settings {before}, expected {settings}; choose another --work-dir')
        people, places = read_list(args.people), read_list(args.places)
        if max(args.people_counts, default=0) > len(people):
            raise SystemExit(f'--people-counts: got {max(args.people_counts)}, expected at most the {len(people)} '
                             f'photos of {args.people}')
        file.write_text(json.dumps(settings))
        # Each set of people is part of the larger ones.
        random.Random(0).shuffle(people)
        random.Random(0).shuffle(places)
        number = min(len(people), len(places))
        self.lists = {'places': places[:number], 'people': people[:number]}
        self.lists |= {f'people-{count}': people[:count] for count in sorted({*args.people_counts}) if count != number}
        # One thread per process, since one process runs per core.
        self.env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONWARNINGS='ignore')

    def run(self, name: str, result: Path, command: list, **env) -> None:
        """Runs a command with its output in a log, unless its result exists."""
        if result.exists():
            return
        start = time.time()
        log = self.folder / f'{name}.log'
        with open(log, 'a') as file:
            done = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, env=dict(self.env, **env),
                                  stdout=file, stderr=subprocess.STDOUT)
        if done.returncode or not result.exists():
            raise SystemExit(f'{name} failed; its output is in {log}')
        print(f'{name}: {time.time() - start:.0f} s', flush=True)

    def together(self, function, *arguments) -> None:
        """Calls a function for each tuple of arguments, ``--jobs`` at a time."""
        with ThreadPoolExecutor(self.args.jobs) as pool:
            list(pool.map(function, *zip(*arguments)))

    def pretrain(self, start: str) -> None:
        steps = self.args.pretrain_steps
        photos = self.folder / f'{start}.txt'
        photos.write_text('\n'.join(self.lists[start]) + '\n')
        config = self.folder / f'pretrain-{start}.py'
        config.write_text(PRETRAIN.format(root=ROOT, photos=photos, arch=ARCH, steps=steps,
                                          warm_up=max(1, steps // 20)))
        work_dir = self.folder / f'pretrain-{start}'
        checkpoint = work_dir / f'iter_{steps}.pth'
        self.run(f'pretrain-{start}', checkpoint, ['tools/train.py', config, '--work-dir', work_dir, '--resume'])
        self.run(f'export-{start}', self.encoder(start), ['tools/export_backbone.py', checkpoint, self.encoder(start)])

    def encoder(self, start: str) -> Path:
        return self.folder / f'{start}.safetensors'

    def finetune(self, start: str, images: int, seed: int) -> None:
        args = self.args
        name = f'finetune-{start}-on-{images}-{seed}'
        config = self.folder / f'{name}.py'
        init = None if start == 'random' else dict(type='Pretrained', checkpoint=str(self.encoder(start)))
        epochs = -(-args.steps // -(-images // 16))
        config.write_text(FINETUNE.format(
            root=ROOT, labeled=args.labeled.resolve(), init=init, images=images, epochs=epochs, lr=args.lr,
            layer_decay=args.layer_decay, warm_up=max(1, args.steps // 20)))
        work_dir = self.folder / name
        checkpoint = work_dir / f'epoch_{epochs}.pth'
        self.run(name, checkpoint, ['tools/train.py', config, '--work-dir', work_dir, '--resume', '--no-validate',
                                    '--cfg-options', f'randomness.seed={seed}'])
        self.run(name.replace('finetune', 'test'), self.metrics(start, images, seed), [
            'tools/test.py', config, checkpoint, '--work-dir', work_dir, '--out', self.metrics(start, images, seed)])

    def metrics(self, start: str, images: int, seed: int) -> Path:
        return self.folder / f'finetune-{start}-on-{images}-{seed}' / 'metrics.json'

    def measure(self) -> dict[str, dict]:
        """Returns ``{start} on {images}`` -> name of a metric -> its value for each seed."""
        args = self.args
        trainings = [(start, images) for images in args.train_images for start in ['random', *self.lists]
                     if images == args.train_images[0] or not start.startswith('people-')]
        self.together(self.pretrain, *[(start,) for start in self.lists])
        # Seeds in the outer loop, so that an interrupted run has results of every start.
        self.together(self.finetune, *[(*training, seed) for seed in range(args.seeds) for training in trainings])
        results = {}
        for start, images in trainings:
            runs = [json.loads(self.metrics(start, images, seed).read_text())['metrics'] for seed in range(args.seeds)]
            results[f'{start} on {images}'] = {key: [run[key] for run in runs] for key in runs[0]}
        return results

    def plot(self, results: dict[str, dict], path: Path) -> None:
        """Draws AP over the number of unique photos of people, beside the other starts."""
        from matplotlib.figure import Figure
        figure = Figure(figsize=(6, 4), layout='constrained')
        images = self.args.train_images[0]
        axes = figure.add_subplot(xlabel='unique photos of people in pretraining', xscale='log',
                                  ylabel=f'AP on LSP test after {images} labeled photos')
        people = sorted((len(photos), start) for start, photos in self.lists.items() if start != 'places')
        runs = [results[f'{start} on {images}']['coco/AP'] for _, start in people]
        means = [statistics.mean(run) for run in runs]
        spread = [[mean - min(run) for mean, run in zip(means, runs)],
                  [max(run) - mean for mean, run in zip(means, runs)]]
        axes.errorbar([count for count, _ in people], means, spread, marker='o', capsize=3, label='people')
        for start, style in (('places', '--'), ('random', ':')):
            axes.axhline(statistics.mean(results[f'{start} on {images}']['coco/AP']), linestyle=style, color='gray',
                         label=f'{start} ({len(self.lists[start])} photos)' if start in self.lists else start)
        axes.legend()
        figure.savefig(path, dpi=150)


def main(argv: list[str] | None = None) -> dict:
    begin = time.time()
    benchmark = Benchmark(parse_args(argv))
    for start, photos in benchmark.lists.items():
        print(f'{start}: {len(photos)} photos')
    results = benchmark.measure()
    print(f'\n{"start":24}{"AP of each seed":>24}{"mean":>8}{"spread":>8}{"AP50":>8}{"PCK":>8}')
    for name, run in results.items():
        each = run['coco/AP']
        print(f'{name:24}{" ".join(f"{ap:.3f}" for ap in each):>24}{statistics.mean(each):8.3f}'
              f'{max(each) - min(each):8.3f}{statistics.mean(run["coco/AP .5"]):8.3f}'
              f'{statistics.mean(run["pck/tPCK"]):8.3f}')
    print(f'this call took {(time.time() - begin) / 60:.0f} min')
    (benchmark.folder / 'result.json').write_text(json.dumps(results, indent=1))
    benchmark.plot(results, benchmark.folder / 'pretraining_helps.png')
    return results


if __name__ == '__main__':
    main()
