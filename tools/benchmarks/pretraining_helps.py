"""Benchmark of pretraining on people: the paper's table 7 at small scale, on synthetic people.

    python tools/benchmarks/pretraining_helps.py        # the same command continues an interrupted run

A tiny pose model is fine-tuned with the same small budget from three initializations: random weights, the encoder of a
masked autoencoder trained on images without people, and one trained on people. Both autoencoders use the same number of
images and iterations and the same seed. People for pretraining, training and test differ. Each initialization is
fine-tuned with three seeds (data order, augmentation, new weights), but each encoder is pretrained once, so the spread
is that of the fine-tuning.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STARTS = ('random', 'places', 'people')
#: Backbone of both trainings, that of the quickstart.
ARCH = 'dict(_delete_=True, embed_dims=160, num_layers=6, num_heads=5, feedforward_channels=320)'
PRETRAIN = """_base_ = '{root}/configs/sapiens_pretrain/synthetic/sapiens_tiny-2000it_synthetic-384x288.py'
data_root = '{images}'
model = dict(backbone=dict(arch={arch}, img_size=(192, 144)), neck=dict(embed_dims=96), norm_target=True)
train_dataloader = dict(
    batch_size=32, dataset=dict(source=dict(path=data_root), size=(192, 144), scale=(0.3, 1.)))
train_cfg = dict(max_iters={iterations})
param_scheduler = [
    dict(type='LinearLR', begin=0, end={warm_up}, start_factor=0.01, by_epoch=False),
    dict(type='CosineAnnealingLR', begin={warm_up}, end={iterations}, eta_min=0, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval={iterations}))
randomness = dict(seed=0)
"""
FINETUNE = """_base_ = '{root}/configs/sapiens_pose/synthetic/sapiens_tiny-quickstart_synthetic-192x144.py'
data_root = '{data}/'
model = dict(backbone=dict(init_cfg={init}))
train_dataloader = dict(batch_size=8, dataset=dict(data_root=data_root + 'train/'))
test_dataloader = dict(dataset=dict(data_root=data_root + 'test/'))
test_evaluator = dict(ann_file=data_root + 'test/annotations/person_keypoints.json')
train_cfg = dict(max_epochs={epochs}, val_interval={epochs})
param_scheduler = [
    dict(type='LinearLR', begin=0, end={warm_up}, start_factor=0.01, by_epoch=False),
    dict(type='CosineAnnealingLR', begin=0, end={epochs}, eta_min=0, by_epoch=True, convert_to_iter_based=True),
]
default_hooks = dict(checkpoint=dict(interval={epochs}))
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/pretraining_helps'))
    parser.add_argument('--jobs', type=int, default=min(2, os.cpu_count() or 1), help='processes at a time')
    parser.add_argument('--pretrain-images', type=int, default=600, help='of people, and of places')
    parser.add_argument('--pretrain-iterations', type=int, default=1200, help='of 32 images')
    parser.add_argument('--train-images', type=int, default=200, help='that have labels')
    parser.add_argument('--test-images', type=int, default=100)
    parser.add_argument('--epochs', type=int, default=30, help='epochs of the fine-tuning')
    parser.add_argument('--seeds', type=int, default=3)
    return parser.parse_args(argv)


class Benchmark:
    """Runs the stages; skips commands whose result exists."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.folder = args.work_dir.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {name: value for name, value in vars(args).items() if name not in ('work_dir', 'jobs')}
        file = self.folder / 'settings.json'
        before = json.loads(file.read_text()) if file.exists() else settings
        if before != settings:
            sys.exit(f'{self.folder} has settings {before}, expected {settings}; choose another --work-dir')
        file.write_text(json.dumps(settings))
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

    def synthesize(self, name: str, num: int, seed: int, max_persons: int) -> Path:
        out = self.folder / 'data' / name
        whole = out / 'annotations' / 'person_keypoints.json'
        self.run(f'synthesize-{name}', whole, [
            'tools/synthesize.py', out, '--num', num, '--seed', seed, '--size', 256, 192, '--samples', 4,
            '--no-denoise', '--workers', self.args.jobs, '--tasks', 'pose', '--framing', 'full_body', '--max-persons',
            max_persons, '--preview', 0])
        return out

    def pretrain(self, start: str) -> None:
        iterations = self.args.pretrain_iterations
        config = self.folder / f'pretrain-{start}.py'
        config.write_text(PRETRAIN.format(root=ROOT, images=self.folder / 'data' / start / 'images', arch=ARCH,
                                          iterations=iterations, warm_up=max(1, iterations // 20)))
        work_dir = self.folder / f'pretrain-{start}'
        checkpoint = work_dir / f'iter_{iterations}.pth'
        self.run(f'pretrain-{start}', checkpoint, ['tools/train.py', config, '--work-dir', work_dir, '--resume'])
        self.run(f'export-{start}', self.encoder(start), ['tools/export_backbone.py', checkpoint, self.encoder(start)])

    def encoder(self, start: str) -> Path:
        return self.folder / f'{start}.safetensors'

    def finetune(self, start: str, seed: int) -> None:
        epochs = self.args.epochs
        name = f'finetune-{start}-{seed}'
        config = self.folder / f'finetune-{start}.py'
        init = None if start == 'random' else dict(type='Pretrained', checkpoint=str(self.encoder(start)))
        steps = epochs * (self.args.train_images // 8)
        config.write_text(FINETUNE.format(root=ROOT, data=self.folder / 'data', init=init, epochs=epochs,
                                          warm_up=max(1, steps // 20)))
        work_dir = self.folder / name
        checkpoint = work_dir / f'epoch_{epochs}.pth'
        self.run(name, checkpoint, ['tools/train.py', config, '--work-dir', work_dir, '--resume', '--no-validate',
                                    '--cfg-options', f'randomness.seed={seed}'])
        self.run(f'test-{start}-{seed}', self.metrics(start, seed), [
            'tools/test.py', config, checkpoint, '--work-dir', work_dir, '--out', self.metrics(start, seed)])

    def metrics(self, start: str, seed: int) -> Path:
        return self.folder / f'finetune-{start}-{seed}' / 'metrics.json'

    def measure(self) -> dict:
        args = self.args
        self.synthesize('people', args.pretrain_images, seed=1, max_persons=1)
        self.synthesize('places', args.pretrain_images, seed=1, max_persons=0)
        self.synthesize('train', args.train_images, seed=3, max_persons=1)
        self.synthesize('test', args.test_images, seed=2, max_persons=1)
        self.together(self.pretrain, *[(start,) for start in STARTS[1:]])
        # Seeds in the outer loop, so that an interrupted run has results of every start.
        self.together(self.finetune, *[(start, seed) for seed in range(args.seeds) for start in STARTS])
        return {start: [json.loads(self.metrics(start, seed).read_text())['metrics'] for seed in range(args.seeds)]
                for start in STARTS}


def main(argv: list[str] | None = None) -> dict:
    begin = time.time()
    benchmark = Benchmark(parse_args(argv))
    results = benchmark.measure()
    print(f'\n{"start":10}{"AP of each seed":>24}{"mean":>8}{"spread":>8}{"AP50":>8}')
    for start, runs in results.items():
        each = [run['coco/AP'] for run in runs]
        half = statistics.mean(run['coco/AP .5'] for run in runs)
        print(f'{start:10}{" ".join(f"{ap:.3f}" for ap in each):>24}{statistics.mean(each):8.3f}'
              f'{max(each) - min(each):8.3f}{half:8.3f}')
    print(f'this call took {(time.time() - begin) / 60:.0f} min')
    (benchmark.folder / 'result.json').write_text(json.dumps(results, indent=1))
    return results


if __name__ == '__main__':
    main()
