"""Draws what a masked autoencoder makes of hidden patches: image, masked image and reconstruction side by side.

    python tools/reconstruct.py CONFIG CHECKPOINT photo.jpg folder/ --mask-ratio .75 .85 .95 --out reconstruction.png

Images are scaled to cover the model's size and cropped around their middle. Visible patches are shown as they are.
"""
import argparse
import sys
from pathlib import Path

import cv2
import torch
from mmengine.config import DictAction
from mmengine.device import get_device
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import load_checkpoint
from torchvision.transforms.v2 import functional as F

from sapiens_mm.engine import CheckpointError, load_config
from sapiens_mm.engine.checkpoint import refuse_foreign_files
from sapiens_mm.engine.weights import check_complete
from sapiens_mm.pretrain import SapiensMAE
from sapiens_mm.pretrain.images import decode
from sapiens_mm.pretrain.reconstruction import reconstruction_sheet
from sapiens_mm.pretrain.sources import SourceError, folder_source


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config with a SapiensMAE')
    parser.add_argument('checkpoint', help='of pretraining, with its decoder: a path, http(s):// or hf:// address')
    parser.add_argument('images', nargs='+', type=Path, help='images and folders of images')
    parser.add_argument('--mask-ratio', nargs='+', type=float, default=[.75, .85, .95], help='between 0 and 1')
    parser.add_argument('--size', nargs=2, type=int, metavar=('H', 'W'), help="pixels (default: the model's)")
    parser.add_argument('--num', type=int, default=8, help='images at most')
    parser.add_argument('--out', type=Path, default=Path('reconstruction.png'))
    parser.add_argument('--batch', type=int, default=8, help='images at a time')
    parser.add_argument('--seed', type=int, default=0, help='of the masks')
    parser.add_argument('--device', default=get_device())
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='override the config')
    args = parser.parse_args()
    if min(args.num, args.batch) < 1:
        parser.error(f'--num and --batch are at least 1, got {args.num} and {args.batch}')
    if not cv2.haveImageWriter(str(args.out)):
        parser.error(f'--out is {args.out}, but pictures are written as .png or .jpg')
    return args


def find_images(paths: list[Path]) -> list[Path]:
    """The images that paths name, those of folders in order."""
    found = []
    for path in paths:
        if not path.exists():
            raise SystemExit(f'{path} does not exist')
        found += [path / name for name in folder_source(path).names] if path.is_dir() else [path]
    return found


def read_image(path: Path, size: tuple[int, int]) -> torch.Tensor:
    """(3, H, W) uint8 RGB, scaled to cover the size and cropped around its middle."""
    try:
        image = decode(path.read_bytes())
    except Exception as error:  # decoders raise nearly anything
        raise SystemExit(f'{path} cannot be decoded as an image: {error}') from error
    scale = max(size[0] / image.shape[1], size[1] / image.shape[2])
    sides = [max(side, round(found * scale)) for side, found in zip(size, image.shape[1:])]
    return F.center_crop(F.resize(image, sides, F.InterpolationMode.BICUBIC, antialias=True), list(size))


def main() -> None:
    args = parse_args()
    try:
        reconstruct(args)
    except (CheckpointError, SourceError, ValueError, RuntimeError, OSError) as error:
        sys.exit(f'{type(error).__name__}: {error}')


def reconstruct(args: argparse.Namespace) -> None:
    found = find_images(args.images)
    paths = found[:args.num]
    cfg = load_config(args.config, args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    model = MODELS.build(cfg.model)
    if not isinstance(model, SapiensMAE):
        raise ValueError(f'{args.config} builds a {type(model).__name__}; give a config of pretraining, whose model is '
                         'a SapiensMAE')
    refuse_foreign_files()
    checkpoint = load_checkpoint(model, args.checkpoint, map_location='cpu')
    check_complete(model, checkpoint.get('state_dict', checkpoint), args.checkpoint, ignore=('backbone.', ))
    model.to(args.device).eval()
    size = tuple(args.size or model.backbone.img_size)
    sheets = []
    for begin in range(0, len(paths), args.batch):
        images = torch.stack([read_image(path, size) for path in paths[begin:begin + args.batch]])
        inputs = model.data_preprocessor(dict(inputs=images), False)['inputs']
        # A seed of its own for each batch, so that not all have the same masks.
        sheets.append(reconstruction_sheet(model, inputs, args.mask_ratio, args.seed + begin))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(args.out), cv2.vconcat(sheets)[..., ::-1]):
        raise SystemExit(f'{args.out} cannot be written; give a file in a folder that you may write to')
    rest = f' of {len(found)}; --num takes more' if len(found) > len(paths) else ''
    print(f'{args.out}: {len(paths)} images{rest}')


if __name__ == '__main__':
    main()
