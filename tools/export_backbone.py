"""Exports the backbone of a checkpoint to a file that `init_cfg` of any config loads.

    python tools/export_backbone.py work_dirs/pretraining/iter_10000.pth checkpoints/backbone.safetensors
"""
import argparse
import sys

from sapiens_mm.backbones.checkpoint import export_backbone
from sapiens_mm.engine import CheckpointError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint', help='checkpoint of pretraining or of a task: file, folder of a sharded '
                        'run, http(s):// or hf:// address')
    parser.add_argument('out', help='output file, .pth or .safetensors')
    args = parser.parse_args()
    try:
        shapes = export_backbone(args.checkpoint, args.out)
    except (CheckpointError, ValueError, OSError) as error:
        sys.exit(f'{type(error).__name__}: {error}')
    if 'pos_embed' not in shapes:
        print(f'{args.out}: {len(shapes)} tensors of a Sapiens2 backbone')
        return
    width, positions = shapes['patch_embed.projection.weight'][0], shapes['pos_embed'][1]
    layers = len({key.split('.')[1] for key in shapes if key.startswith('layers.')})
    print(f'{args.out}: {len(shapes)} tensors, {width} wide, {layers} layers, {positions} positions'
          f'{" with cls token" if "cls_token" in shapes else ""}')


if __name__ == '__main__':
    main()
