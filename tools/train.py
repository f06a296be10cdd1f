"""Trains a model of any task and host from a config.

    python tools/train.py configs/sapiens_pose/coco/sapiens_tiny-210e_coco-256x192.py
"""
import argparse
import sys

from mmengine.config import Config
from run_arguments import add_run_arguments, read_config
from torch.distributed.elastic.multiprocessing.errors import record

from sapiens_mm.engine import CheckpointError, load_checkpoint_file
from sapiens_mm.engine.launch import build_runner, leave_process_group


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a model')
    add_run_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='resume from this checkpoint, or without a value from the latest one in the work dir')
    parser.add_argument('--amp', action='store_true', help='train in bfloat16 mixed precision')
    parser.add_argument('--no-validate', action='store_true', help='skip validation during training')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='multiply the learning rate by samples per optimizer step / auto_scale_lr.base_batch_size')
    return parser.parse_args()


def load_config(args: argparse.Namespace) -> Config:
    """Returns the config with the changes of the command line."""
    cfg = read_config(args)
    if args.resume not in (None, 'auto'):
        cfg.load_from = args.resume
        cfg.resume = 'optimizer' in load_checkpoint_file(args.resume)
        if not cfg.resume:
            print(f'{args.resume} has weights only: training starts from them at epoch 0')
    if args.amp:
        kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
        if kind not in ('OptimWrapper', 'AmpOptimWrapper', 'SapiensBF16OptimWrapper'):
            raise SystemExit(f'--amp: got optim_wrapper.type {kind}, expected OptimWrapper; set its precision instead')
        cfg.optim_wrapper.type = 'SapiensBF16OptimWrapper'
        for key in ('dtype', 'loss_scale'):
            cfg.optim_wrapper.pop(key, None)
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise SystemExit(f'--auto-scale-lr: {args.config} has no auto_scale_lr.base_batch_size; set it')
        cfg.auto_scale_lr.enable = True
    return cfg


@record
def main() -> None:
    args = parse_args()
    try:
        runner = build_runner(load_config(args), resume=args.resume == 'auto')
    except CheckpointError as error:
        sys.exit(str(error))
    runner.train()
    leave_process_group()


if __name__ == '__main__':
    main()
