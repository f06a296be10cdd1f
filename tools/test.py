"""Test of a checkpoint of any task and host library.

    python tools/test.py CONFIG CHECKPOINT --out metrics.json --show-dir images

Dense models can also write the scores of each image, the worst images, and the predictions:

    python tools/test.py CONFIG CHECKPOINT --per-image scores.csv --worst 20 --dump-dir predictions --dump-format png16
"""
import argparse
import json
import math
import os.path as osp
from typing import Any

import mmengine
import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from run_arguments import add_run_arguments, read_config
from torch.distributed.elastic.multiprocessing.errors import record

import sapiens_mm
from sapiens_mm.engine.launch import build_runner, leave_process_group


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test a checkpoint and write its metrics')
    add_run_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint: a path, http(s):// or hf:// address')
    parser.add_argument('--out', help='JSON file for the metrics (default: metrics.json in the work dir)')
    parser.add_argument('--dump', help='pickle file for the predictions')
    parser.add_argument('--show-dir', help='folder for visualizations of the predictions')
    parser.add_argument('--per-image', help='JSON or CSV file for the scores of each image (dense models)')
    parser.add_argument('--worst', type=int, metavar='N',
                        help='draw the N worst images with truth and error to worst/ in --show-dir, or in the work dir '
                        '(dense models)')
    parser.add_argument('--dump-dir', help='folder for the predicted maps of each image (dense models)')
    parser.add_argument('--dump-format', choices=['npz', 'png16'], default='npz',
                        help='NumPy archives, or PNG with up to 16 bits and its scale in a JSON file')
    parser.add_argument('--amp', action='store_true', help='test in bfloat16 mixed precision')
    args = parser.parse_args()
    if args.dump and not args.dump.endswith(('.pkl', '.pickle')):
        parser.error(f'--dump: got {args.dump}, expected a .pkl file')
    if args.per_image and not args.per_image.endswith(('.json', '.csv')):
        parser.error(f'--per-image: got {args.per_image}, expected a .json or .csv file')
    if args.worst is not None and args.worst < 1:
        parser.error(f'--worst: got {args.worst}, expected at least 1')
    return args


def load_config(args: argparse.Namespace) -> Config:
    """Returns the config with the command line's changes."""
    cfg = read_config(args)
    cfg.load_from = args.checkpoint
    cfg.resume = False
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), dict(type='SapiensCompleteWeightsHook')]
    if args.amp:
        cfg.test_cfg.fp16 = True  # autocast in the precision set for the device
        torch.set_autocast_gpu_dtype(torch.bfloat16)
    extra = []
    if args.dump:
        extra.append(dict(type='mmengine.DumpResults', out_file_path=args.dump))
    if args.show_dir:
        extra += show_predictions(cfg, args.show_dir)
    extra += write_samples(cfg, args)
    if extra:
        cfg.test_evaluator = [*evaluators_of(cfg), *extra]
    return cfg


def evaluators_of(cfg: Config) -> list:
    """Returns the test evaluators of a config as a list."""
    return list(cfg.test_evaluator) if isinstance(cfg.test_evaluator, (list, tuple)) else [cfg.test_evaluator]


def write_samples(cfg: Config, args: argparse.Namespace) -> list:
    """Returns the evaluators that write files for each sample of a dense model."""
    flags = dict(per_image=args.per_image, worst=args.worst, dump_dir=args.dump_dir)
    given = ', '.join('--' + name.replace('_', '-') for name, value in flags.items() if value)
    if not given:
        return []
    if cfg.get('default_scope') != 'mmseg':
        raise SystemExit(f"{given}: got default_scope='{cfg.get('default_scope')}' in {args.config}, expected 'mmseg'; "
                         'for other models use --dump and --show-dir')
    from sapiens_mm.dense.metrics.streaming import ScoringMetric  # a config may import the backbone only
    scoring = [kind.__name__ for kind in ScoringMetric.__subclasses__()]
    metrics = [str(evaluator['type']).removeprefix('mmseg.') for evaluator in evaluators_of(cfg)]
    if (args.per_image or args.worst) and not set(scoring).intersection(metrics):
        raise SystemExit(f"{given}: got {', '.join(metrics)} in test_evaluator, expected one of {', '.join(scoring)}")
    extra = []
    if args.per_image:
        extra.append(dict(type='SapiensSampleScores', out_file=args.per_image))
    if args.worst:
        folder = osp.join(args.show_dir or cfg.work_dir, 'worst')
        extra.append(dict(type='SapiensWorstSamples', out_dir=folder, count=args.worst))
    if args.dump_dir:
        extra.append(dict(type='SapiensDumpPredictions', out_dir=args.dump_dir, format=args.dump_format))
    return extra


def to_json(value: Any) -> Any:
    """Converts a value for JSON; numbers that are not finite become null."""
    if isinstance(value, dict):
        return {str(name): to_json(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def show_predictions(cfg: Config, folder: str) -> list:
    """Configures the host to write visualizations to ``folder``; returns additional evaluators."""
    scope = cfg.get('default_scope')
    if scope == 'mmpose':
        import sapiens_mm.pose  # noqa: F401  (a config may import the backbone only)
        return [dict(type='SapiensSkeletonImages', out_dir=folder)]
    hooks = dict(
        mmseg=dict(type='SegVisualizationHook', draw=True, interval=1),
        mmdet=dict(type='DetVisualizationHook', draw=True, interval=1, test_out_dir=osp.abspath(folder)))
    if scope not in hooks:
        raise SystemExit(f"--show-dir: got default_scope='{scope}', expected one of mmpose, {', '.join(hooks)}")
    cfg.default_hooks.visualization = hooks[scope]
    cfg.visualizer.save_dir = folder
    return []


@record
def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    runner = build_runner(cfg)
    # mmseg's visualization hook reads the training iteration, for which MMEngine would build the training loop and its
    # dataset.
    runner._train_loop = None
    metrics = runner.test()
    if is_main_process():
        out = args.out or osp.join(cfg.work_dir, 'metrics.json')
        mmengine.mkdir_or_exist(osp.dirname(osp.abspath(out)))
        record = dict(
            metrics=to_json({name: float(value) for name, value in metrics.items()}),
            config=args.config,
            checkpoint=args.checkpoint,
            sapiens_mm=sapiens_mm.__version__)
        # Dense models report the protocol, and the scores of each group of samples and of each class.
        evaluators = runner.test_loop.evaluator.metrics
        if reports := [report for metric in evaluators if (report := getattr(metric, 'report', None))]:
            from sapiens_mm.dense.metrics.table import paper_table
            runner.logger.info(f'Metrics of {args.config}\n{paper_table(reports)}')
            record['reports'] = to_json(reports)
        with open(out, 'w') as file:
            json.dump(record, file, indent=2)
        runner.logger.info(f'Metrics written to {out}')
    leave_process_group()


if __name__ == '__main__':
    main()
