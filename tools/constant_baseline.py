"""Metrics of constant predictions, by the evaluators of a dense config: the baseline that a model must beat.

    python tools/constant_baseline.py CONFIG --out constant.json

The constants are the most frequent class of the training labels, one depth for all pixels, and normals toward the
viewer. Alignment turns any constant depth into the mean depth of the labels.
"""
import argparse
import copy
import json
import math
import os.path as osp

import mmengine
import numpy as np
import torch
from mmengine.registry import init_default_scope
from run_arguments import add_run_arguments, read_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_run_arguments(parser)
    parser.add_argument('--out', required=True, help='JSON file for the metrics')
    return parser.parse_args()


def build_dataset(cfg: dict, **changes):
    """Returns a dataset of a config with labels of full size."""
    from mmseg.registry import DATASETS
    pipeline = [dict(type='SapiensLoadImage'), dict(type='SapiensLoadLabels'), dict(type='SapiensPackDense')]
    return DATASETS.build({**copy.deepcopy(dict(cfg)), 'pipeline': pipeline, **changes})


def most_frequent_class(cfg: dict) -> int:
    """Returns the class of most labeled pixels in a config's dataset."""
    dataset = build_dataset(cfg, tasks=('seg', ))
    counts = np.zeros(256, np.int64)
    for index in range(len(dataset)):
        counts += np.bincount(dataset[index]['data_samples'].gt_sem_seg.data.numpy().ravel(), minlength=256)
    return int(counts[:255].argmax())


def main() -> None:
    args = parse_args()
    cfg = read_config(args)
    init_default_scope(cfg.default_scope)
    from mmseg.registry import METRICS

    import sapiens_mm.dense  # noqa: F401  (registers)
    evaluators = cfg.test_evaluator if isinstance(cfg.test_evaluator, (list, tuple)) else [cfg.test_evaluator]
    metrics = [METRICS.build(evaluator) for evaluator in evaluators]
    dataset = build_dataset(cfg.test_dataloader.dataset)
    for metric in metrics:
        metric.dataset_meta = dataset.metainfo
    constant = most_frequent_class(cfg.train_dataloader.dataset) if 'seg' in dataset.tasks else None
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples'].to_dict()
        if 'gt_sem_seg' in sample:
            label = sample['gt_sem_seg']['data']
            sample['pred_sem_seg'] = dict(data=torch.full_like(label, constant, dtype=torch.uint8))
        if 'gt_depth_map' in sample:
            sample['pred_depth_map'] = dict(data=torch.ones_like(sample['gt_depth_map']['data']))
        if 'gt_normal_map' in sample:
            normals = torch.zeros_like(sample['gt_normal_map']['data'])
            normals[2] = 1
            sample['pred_normal_map'] = dict(data=normals)
        for metric in metrics:
            metric.process([], [sample])
    results = {name: value for metric in metrics for name, value in metric.evaluate(len(dataset)).items()}
    results = {name: float(value) if math.isfinite(value) else None for name, value in results.items()}
    mmengine.mkdir_or_exist(osp.dirname(osp.abspath(args.out)))
    with open(args.out, 'w') as file:
        json.dump(dict(metrics=results, config=args.config), file, indent=2)


if __name__ == '__main__':
    main()
