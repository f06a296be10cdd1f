"""From nothing to a tested model: makes synthetic people, trains a small pose model on them, tests it on others.

    make quickstart                                   # or, in an environment of your own:
    python tools/quickstart.py

Run again, it continues with the stage that was interrupted. The result is work_dirs/quickstart/report.html.
"""
import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIG = 'configs/sapiens_pose/synthetic/sapiens_tiny-quickstart_synthetic-192x144.py'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Synthesize, train, test and report')
    parser.add_argument('--work-dir', type=Path, default=ROOT / 'work_dirs/quickstart')
    parser.add_argument('--processes', type=int, default=min(2, os.cpu_count() or 1), help='for every stage')
    parser.add_argument('--train-images', type=int, default=600)
    parser.add_argument('--test-images', type=int, default=60)
    parser.add_argument('--epochs', type=int, help="instead of the config's")
    parser.add_argument('--config', default=CONFIG)
    return parser.parse_args()


class Quickstart:
    """The stages in their order. Each leaves a file that says that it is done; what is done is not done again."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.folder = args.work_dir.resolve()
        self.data = self.folder / 'data'
        self.run_dir = self.folder / 'run'
        self.seconds_file = self.folder / 'seconds.json'
        self.folder.mkdir(parents=True, exist_ok=True)
        self.seconds = json.loads(self.seconds_file.read_text()) if self.seconds_file.exists() else {}
        import torch
        # A GPU for each process of training and testing; drawing people is the processor's.
        self.ranks = min(args.processes, torch.cuda.device_count()) if torch.cuda.is_available() else args.processes
        self.env = dict(os.environ, PYTHON=sys.executable, SYNTHETIC_ROOT=str(self.data), PYTHONWARNINGS='ignore')
        # Only the length of a run that the user asks for differs from the config.
        self.options = [f'train_cfg.max_epochs={args.epochs}', f'train_cfg.val_interval={args.epochs}',
                        f'param_scheduler.1.end={args.epochs}'] if args.epochs else []

    def stage(self, name: str, done: Path, *commands: list) -> None:
        """Runs commands, their output kept in a log; tells the time, and adds it to that of an earlier attempt."""
        if done.exists():
            print(f'quickstart: {name} ... done before ({self.seconds.get(name, 0):.0f} s)', flush=True)
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
                    sys.exit(f"quickstart: stage '{name}' failed (whole output: {log}); mend what it says and run the "
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
            '--samples', 4, '--workers', self.args.processes, '--tasks', 'pose', '--framing', 'full_body',
            '--max-persons', 1, '--preview', 0])

    def test(self, name: str, checkpoint: Path) -> None:
        out = self.folder / f'{name.replace(" ", "_")}.json'
        if out.exists() and out.stat().st_mtime < checkpoint.stat().st_mtime:
            out.unlink()
        options = ['--cfg-options', *self.options] if self.options else []
        self.stage(name, out, [
            'bash', 'tools/dist_test.sh', self.args.config, checkpoint, self.ranks, '--out', out, '--work-dir',
            self.folder / 'test', '--show-dir', self.folder / name.replace(' ', '_'), *options])

    def run(self) -> Path:
        args = self.args
        self.check_settings(dict(config=args.config, epochs=args.epochs, train_images=args.train_images))
        self.synthesize('synthesize training people', 'train', args.train_images, 1)
        self.synthesize('synthesize test people', 'test', args.test_images, 2)
        # One iteration at a learning rate of 0: its checkpoint has the weights that training begins with.
        start = self.folder / 'start'
        self.stage('prepare', start / 'epoch_1.pth', [
            sys.executable, 'tools/train.py', args.config, '--work-dir', start, '--no-validate', '--cfg-options',
            'randomness.seed=0', 'train_cfg.max_epochs=1', 'optim_wrapper.optimizer.lr=0.',
            'train_dataloader.dataset.indices=1'])
        self.test('test untrained', start / 'epoch_1.pth')
        options = ['--cfg-options', 'randomness.seed=0', *self.options]
        # bfloat16 takes half the time where the processor has instructions for it, and more where it has not.
        amp = ['--amp'] if self.fast_bfloat16() else []
        finished = self.run_dir / 'finished'
        self.stage('train', finished, [
            'bash', 'tools/dist_train.sh', args.config, self.ranks, '--work-dir', self.run_dir, '--resume',
            '--no-validate', *amp, *options], ['touch', finished])
        checkpoint = Path((self.run_dir / 'last_checkpoint').read_text().strip())
        self.test('test trained', checkpoint)
        return self.report()

    def check_settings(self, settings: dict) -> None:
        """Refuses to go on with, or to report, a run of other settings."""
        file = self.folder / 'settings.json'
        before = json.loads(file.read_text()) if file.exists() else settings
        if before != settings:
            sys.exit(f'quickstart: {self.folder} was begun with {before}, not with {settings}; delete it, or '
                     'give another --work-dir')
        file.write_text(json.dumps(settings))

    @staticmethod
    def fast_bfloat16() -> bool:
        import torch
        supported = getattr(torch.cpu, '_is_avx512_bf16_supported', lambda: False)  # in no public function yet
        return torch.cuda.is_available() or supported()

    def report(self) -> Path:
        from sapiens_mm.synth.report import write_report
        metrics = {}
        for name in ('untrained', 'trained'):
            found = json.loads((self.folder / f'test_{name}.json').read_text())['metrics']
            metrics[name] = {key.removeprefix('coco/'): value for key, value in found.items()}
        print(f'\n{"":12}{"untrained":>12}{"trained":>12}')
        for key in ('AP', 'AP .5', 'AP .75', 'AR'):
            print(f'{key:12}{metrics["untrained"][key]:12.3f}{metrics["trained"][key]:12.3f}')
        path = self.folder / 'report.html'
        write_report(path, metrics, self.seconds, self.run_dir, self.data / 'test', self.folder / 'test_trained')
        return path


def main() -> None:
    args = parse_args()
    try:
        report = Quickstart(args).run()
    except KeyboardInterrupt:
        sys.exit('\nquickstart: interrupted; nothing is lost, the same command continues')
    print(f'quickstart: report in {report}')


if __name__ == '__main__':
    main()
