"""Quickstart: synthesizes people, fine-tunes the embedded models on them, tests on others and reports.

    make quickstart                                   # or, in an environment of your own:
    python tools/quickstart.py

It trains the model of body parts, depth and normals and the model of keypoints that the package ships.
The same command continues with the interrupted stage. The result is work_dirs/quickstart/report.html.
"""
import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = dict(
    dense='configs/sapiens_multitask/synthetic/sapiens_hybrid-10e_synthetic-256x192.py',
    pose='configs/sapiens_pose/synthetic/sapiens_hybrid-10e_synthetic-256x192.py')
#: Rows of the report's table: title, format, and name of the metric in the JSON files.
METRICS = (
    ('keypoints: AP', '.3f', 'coco/AP'),
    ('keypoints: AP50', '.3f', 'coco/AP .5'),
    ('parts: mIoU (%)', '.1f', 'parts/mIoU'),
    ('depth: RMSE (m)', '.4f', 'depth/scale-shift/per-image/RMSE'),
    ('depth: AbsRel', '.4f', 'depth/scale-shift/per-image/AbsRel'),
    ('depth: delta1', '.3f', 'depth/scale-shift/per-image/delta1'),
    ('normals: mean (degrees)', '.1f', 'normal/pooled/mean'),
    ('normals: median (degrees)', '.1f', 'normal/pooled/median'),
    ('normals: within 11.25 degrees (%)', '.1f', 'normal/pooled/within_11.25'),
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Synthesize, train, test and report')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/quickstart'))
    parser.add_argument('--processes', type=int, default=min(2, os.cpu_count() or 1), help='processes in every stage')
    parser.add_argument('--train-images', type=int, default=700)
    parser.add_argument('--test-images', type=int, default=60)
    parser.add_argument('--epochs', type=int, help='epochs of both models (default: those of the configs)')
    return parser.parse_args()


class Quickstart:
    """Runs the stages in order. Each leaves a file when it is done, and a stage with that file is skipped."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.folder = args.work_dir.resolve()
        self.data = self.folder / 'data'
        self.seconds_file = self.folder / 'seconds.json'
        self.folder.mkdir(parents=True, exist_ok=True)
        self.seconds = json.loads(self.seconds_file.read_text()) if self.seconds_file.exists() else {}
        import torch
        # Each process of training and testing has its own GPU; synthesis uses the CPU.
        self.gpus = torch.cuda.device_count()
        self.ranks = min(args.processes, self.gpus) if self.gpus else args.processes
        self.env = dict(os.environ, PYTHON=sys.executable, SYNTHETIC_ROOT=str(self.data), PYTHONWARNINGS='ignore')
        self.options = [f'train_cfg.max_epochs={args.epochs}', f'train_cfg.val_interval={args.epochs}',
                        f'param_scheduler.1.end={args.epochs}'] if args.epochs else []

    def stage(self, name: str, done: Path, *commands: list) -> None:
        """Runs commands with their output in a log, and adds the time to that of an earlier attempt."""
        if done.exists():
            print(f'quickstart: {name} ... already done ({self.seconds.get(name, 0):.0f} s)', flush=True)
            return
        print(f'quickstart: {name} ... ', end='', flush=True)
        start = time.time()
        log = self.folder / f'{name.replace(" ", "_")}.log'
        try:
            for command in commands:
                with open(log, 'a') as file:
                    status = subprocess.run([str(part) for part in command], cwd=ROOT, env=self.env, stdout=file,
                                            stderr=subprocess.STDOUT).returncode
                if status:
                    print('failed')
                    print(''.join(log.read_text(errors='replace').splitlines(keepends=True)[-15:]))
                    sys.exit(f"quickstart: stage '{name}' failed (output: {log}); fix the error and run the "
                             'same command again')
        finally:
            self.seconds[name] = self.seconds.get(name, 0) + time.time() - start
            self.seconds_file.write_text(json.dumps(self.seconds, indent=1))
        print(f'{self.seconds[name]:.0f} s', flush=True)

    def synthesize(self, name: str, split: str, num: int, seed: int) -> None:
        out = self.data / split
        marker = out / 'annotations' / 'person_keypoints.json'
        if marker.exists() and len(list((out / 'samples').glob('*.json'))) < num:
            marker.unlink()
        self.stage(name, marker, [
            sys.executable, 'tools/synthesize.py', out, '--num', num, '--seed', seed, '--size', 256, 192,
            '--samples', 6, '--no-denoise', '--workers', self.args.processes, '--framing', 'full_body',
            '--max-persons', 1, '--preview', 0])

    def train(self, model: str) -> Path:
        run_dir = self.folder / f'run_{model}'
        finished = run_dir / 'finished'
        amp = ['--amp'] if self.gpus else []  # not faster for such small models on a CPU
        self.stage(f'train {model}', finished, [
            'bash', 'tools/dist_train.sh', CONFIGS[model], self.ranks, '--work-dir', run_dir, '--resume',
            '--no-validate', *amp, '--cfg-options', 'randomness.seed=0', *self.options], ['touch', finished])
        from sapiens_mm.engine.last_checkpoint import latest_checkpoint
        return Path(latest_checkpoint(str(run_dir))[0])

    def test(self, model: str, state: str, checkpoint: Path) -> None:
        name = f'test {state} {model}'
        out = self.folder / f'{name.replace(" ", "_")}.json'
        if out.exists() and out.stat().st_mtime < checkpoint.stat().st_mtime:
            out.unlink()
        show = ['--show-dir', self.folder / f'images_{model}'] if state == 'trained' else []
        options = ['--cfg-options', *self.options] if self.options else []
        self.stage(name, out, [
            'bash', 'tools/dist_test.sh', CONFIGS[model], checkpoint, self.ranks, '--out', out, '--work-dir',
            self.folder / 'test', *show, *options])

    def run(self) -> Path:
        args = self.args
        self.check_settings(dict(
            configs=CONFIGS, epochs=args.epochs, train_images=args.train_images,
            test_images=args.test_images))
        self.synthesize('synthesize training people', 'train', args.train_images, 1)
        self.synthesize('synthesize test people', 'test', args.test_images, 2)
        for model in CONFIGS:
            self.test(model, 'embedded', ROOT / f'sapiens_mm/weights/sapiens_hybrid-{model}.safetensors')
        self.stage('measure constants', self.folder / 'test_constant_dense.json', [
            sys.executable, 'tools/constant_baseline.py', CONFIGS['dense'], '--out',
            self.folder / 'test_constant_dense.json'])
        for model in CONFIGS:
            self.test(model, 'trained', self.train(model))
        return self.report()

    def check_settings(self, settings: dict) -> None:
        """Ends the program if the folder belongs to a run with other settings."""
        file = self.folder / 'settings.json'
        before = json.loads(file.read_text()) if file.exists() else settings
        from sapiens_mm.utils.text import differences
        if differ := differences(before, settings):
            sys.exit(f'quickstart: {self.folder} has {differ}; delete it or choose another --work-dir')
        file.write_text(json.dumps(settings))

    def report(self) -> Path:
        from quickstart_report import write_report
        columns = {}
        for name in ('constant', 'embedded', 'trained'):
            metrics = {}
            for file in sorted(self.folder.glob(f'test_{name}_*.json')):
                metrics.update(json.loads(file.read_text())['metrics'])
            columns[name] = [format(metrics[key], form) if metrics.get(key) is not None else ''
                             for _, form, key in METRICS]
        rows = [[name, *cells] for (name, _, _), *cells in zip(METRICS, *columns.values())]
        width = max(len(row[0]) for row in rows) + 2
        for name, *cells in [['', *columns], *rows]:
            print(f'{name:{width}}' + ''.join(f'{cell:>12}' for cell in cells))
        path = self.folder / 'report.html'
        write_report(path, ['', *columns], rows, self.seconds, self.folder)
        return path


def main() -> None:
    args = parse_args()
    try:
        report = Quickstart(args).run()
    except KeyboardInterrupt:
        sys.exit('\nquickstart: interrupted; run the same command again to continue')
    print(f'quickstart: report in {report}')


if __name__ == '__main__':
    main()
