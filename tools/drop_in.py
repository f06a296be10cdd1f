"""Puts a Sapiens backbone into a config of mmdet, mmseg, mmpose or mmpretrain.

    python tools/drop_in.py mmdet::mask-rcnn_r50_fpn_1x_coco mask-rcnn_sapiens.py --arch sapiens_0.3b --check
"""
import argparse
import os
import os.path as osp
import sys

from mmengine.registry import MODELS

from sapiens_mm.apis.drop_in import drop_in
from sapiens_mm.apis.drop_in.check import check
from sapiens_mm.utils.files import replacing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='a path, or HOST::FILE of an installed host, with or without folders and suffix')
    parser.add_argument('out', help='file of the new config, which inherits from CONFIG')
    parser.add_argument('--arch', default='sapiens_0.3b', help='architecture of SapiensViT, or of Sapiens2ViT: '
                        'sapiens2_0.4b (default: %(default)s)')
    parser.add_argument('--checkpoint', help='weights of the backbone: a path, http(s):// or hf:// address (default: '
                        'the public pretrained ones of the size)')
    parser.add_argument('--check', action='store_true', help='train three steps and predict with a tiny backbone, on '
                        'noise in two processes, and compare the strides with those of the head')
    args = parser.parse_args()
    if osp.exists(args.out):
        sys.exit(f"OUT: got '{args.out}', which exists, expected a new file; change it, or remove the file")
    try:
        plan = drop_in(args.config, args.arch, args.checkpoint)
        if args.check:
            print('Checking: three steps and a prediction in two processes ...', flush=True)
            result, = check([args.config], vit=MODELS.get(plan.backbone.type))
            if not result.passed:
                sys.exit(f'check failed, nothing is written: {result.refused or result.error}')
            print(f'Check passed: strides {result.strides}, losses {[round(loss, 3) for loss in result.losses]}, '
                  f'{result.predictions} predictions, every parameter has a gradient, {result.groups} parameter groups')
        os.makedirs(osp.dirname(osp.abspath(args.out)), exist_ok=True)
        with replacing(args.out) as part, open(part, 'w', encoding='utf-8') as file:
            file.write(plan.text(osp.dirname(osp.abspath(args.out))))
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    print(f'{args.out}: {plan.base} with {args.arch}')
    for note in plan.report.changed:
        print(f'* {note}')


if __name__ == '__main__':
    main()
