"""Tests a checkpoint of any task and host, and writes the figures.

    python tools/test.py CONFIG CHECKPOINT --out metrics.json --show-dir pictures
"""
import argparse
import json
import os.path as osp

import mmengine
import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from run_arguments import add_run_arguments, read_config
from torch.distributed.elastic.multiprocessing.errors import record

import sapiens_mm
from sapiens_mm.engine.launch import build_runner, leave_process_group


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test a checkpoint')
    add_run_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint: a path, http(s):// or hf:// address')
    parser.add_argument('--out', help='JSON file for the figures (default: metrics.json in the work dir)')
    parser.add_argument('--dump', help='pickle file for the predictions')
    parser.add_argument('--show-dir', help='folder for pictures of the predictions')
    parser.add_argument('--amp', action='store_true', help='test in bfloat16 mixed precision')
    args = parser.parse_args()
    if args.dump and not args.dump.endswith(('.pkl', '.pickle')):
        parser.error(f'--dump is {args.dump}, but predictions are written as a .pkl file')
    return args


def load_config(args: argparse.Namespace) -> Config:
    """The config with the command line's changes."""
    cfg = read_config(args)
    cfg.load_from = args.checkpoint
    cfg.resume = False
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), dict(type='SapiensCompleteWeightsHook')]
    if args.amp:
        cfg.test_cfg.fp16 = True  # autocast in whatever precision is set for the device
        torch.set_autocast_gpu_dtype(torch.bfloat16)
    extra = []
    if args.dump:
        extra.append(dict(type='mmengine.DumpResults', out_file_path=args.dump))
    if args.show_dir:
        extra += show_predictions(cfg, args.show_dir)
    if extra:
        evaluators = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
        cfg.test_evaluator = [*evaluators, *extra]
    return cfg


def show_predictions(cfg: Config, folder: str) -> list:
    """Has the host's pictures written to ``folder``; returns what is to be added to the evaluators."""
    scope = cfg.get('default_scope')
    if scope == 'mmpose':
        import sapiens_mm.pose  # noqa: F401  (a config may have imported the backbone only)
        return [dict(type='SapiensSkeletonPictures', out_dir=folder)]
    hooks = dict(
        mmseg=dict(type='SegVisualizationHook', draw=True, interval=1),
        mmdet=dict(type='DetVisualizationHook', draw=True, interval=1, test_out_dir=osp.abspath(folder)))
    if scope not in hooks:
        raise SystemExit(f"--show-dir draws for mmpose, {', '.join(hooks)}, but default_scope is '{scope}'")
    cfg.default_hooks.visualization = hooks[scope]
    cfg.visualizer.save_dir = folder
    return []


@record
def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    runner = build_runner(cfg)
    metrics = runner.test()
    if is_main_process():
        out = args.out or osp.join(cfg.work_dir, 'metrics.json')
        mmengine.mkdir_or_exist(osp.dirname(osp.abspath(out)))
        record = dict(
            metrics={name: float(value) for name, value in metrics.items()},
            config=args.config,
            checkpoint=args.checkpoint,
            sapiens_mm=sapiens_mm.__version__)
        with open(out, 'w') as file:
            json.dump(record, file, indent=2)
        runner.logger.info(f'Figures written to {out}')
    leave_process_group()


if __name__ == '__main__':
    main()
