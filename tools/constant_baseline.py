"""Figures of predictions that never look at the image, by the evaluators of a dense config: what a model must beat.

    python tools/constant_baseline.py CONFIG --out constant.json

The constants are the most frequent class of the training labels, one depth for all pixels, and normals that point to
the viewer. An alignment of depth turns any constant into the mean of the labels, so it stands for "mean depth".
"""
import argparse
import copy
import json

import numpy as np
import torch
from mmengine.registry import init_default_scope
from run_arguments import add_run_arguments, read_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_run_arguments(parser)
    parser.add_argument('--out', required=True, help='JSON file for the figures')
    return parser.parse_args()


def labels_of(dataset: dict):
    """The samples of a dataset's config, packed, with labels of full size."""
    from mmseg.registry import DATASETS
    pipeline = [dict(type='SapiensLoadImage'), dict(type='SapiensLoadLabels'), dict(type='SapiensPackDense')]
    dataset = DATASETS.build(dict(copy.deepcopy(dict(dataset)), pipeline=pipeline))
    return dataset, (dataset[index]['data_samples'] for index in range(len(dataset)))


def most_frequent_class(dataset: dict) -> int:
    """The class that most labelled pixels of a dataset have."""
    counts = np.zeros(256, np.int64)
    for sample in labels_of(dataset)[1]:
        counts += np.bincount(sample.gt_sem_seg.data.numpy().ravel(), minlength=256)
    return int(counts[:255].argmax())


def main() -> None:
    args = parse_args()
    cfg = read_config(args)
    init_default_scope(cfg.default_scope)
    from mmseg.registry import METRICS

    import sapiens_mm.dense  # noqa: F401  (registers)
    evaluators = cfg.test_evaluator if isinstance(cfg.test_evaluator, (list, tuple)) else [cfg.test_evaluator]
    metrics = [METRICS.build(evaluator) for evaluator in evaluators]
    dataset, samples = labels_of(cfg.test_dataloader.dataset)
    for metric in metrics:
        metric.dataset_meta = dataset.metainfo
    parts = most_frequent_class(cfg.train_dataloader.dataset) if 'parts' in dataset.tasks else None
    for sample in samples:
        sample = sample.to_dict()
        if 'gt_sem_seg' in sample:
            label = sample['gt_sem_seg']['data']
            sample['pred_sem_seg'] = dict(data=torch.full_like(label, parts, dtype=torch.uint8))
        if 'gt_depth_map' in sample:
            sample['pred_depth_map'] = dict(data=torch.ones_like(sample['gt_depth_map']['data']))
        if 'gt_normal_map' in sample:
            normals = torch.zeros_like(sample['gt_normal_map']['data'])
            normals[2] = 1
            sample['pred_normal_map'] = dict(data=normals)
        for metric in metrics:
            metric.process([], [sample])
    figures = {}
    for metric in metrics:
        figures.update(metric.evaluate(len(dataset)))
    with open(args.out, 'w') as file:
        json.dump(dict(metrics={name: float(value) for name, value in figures.items()}, config=args.config), file,
                  indent=2)


if __name__ == '__main__':
    main()
