"""Draws images, masked images and the reconstructions of a masked autoencoder side by side.

    python tools/reconstruct.py CONFIG CHECKPOINT photo.jpg folder/ --mask-ratio .75 .85 .95 --out reconstruction.png

Images are resized to cover the model's input size and center-cropped. Visible patches stay unchanged.
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
from sapiens_mm.pretrain.sources import folder_source
from sapiens_mm.utils.tar_files import SourceError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config with a SapiensMAE')
    parser.add_argument('checkpoint', help='pretraining checkpoint: a path, http(s):// or hf:// address')
    parser.add_argument('images', nargs='+', type=Path, help='images and folders of images')
    parser.add_argument('--mask-ratio', nargs='+', type=float, default=[.75, .85, .95], help='0 to 1')
    parser.add_argument('--size', nargs=2, type=int, metavar=('H', 'W'), help="pixels (default: the model's)")
    parser.add_argument('--num', type=int, default=8, help='largest number of images (%(default)s)')
    parser.add_argument('--out', type=Path, default=Path('reconstruction.png'), help='.png or .jpg (%(default)s)')
    parser.add_argument('--batch', type=int, default=8, help='batch size (%(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='seed of the masks (%(default)s)')
    parser.add_argument('--device', default=get_device())
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='override the config')
    args = parser.parse_args()
    if min(args.num, args.batch) < 1:
        parser.error(f'--num and --batch: got {args.num} and {args.batch}, expected at least 1')
    if not cv2.haveImageWriter(str(args.out)):
        parser.error(f'--out: got {args.out}, expected a .png or .jpg file')
    return args


def find_images(paths: list[Path]) -> list[Path]:
    """Returns image files, and the images in folders."""
    images = []
    for path in paths:
        if not path.exists():
            raise SystemExit(f'{path} does not exist')
        images += [path / name for name in folder_source(path).names] if path.is_dir() else [path]
    return images


def read_image(path: Path, size: tuple[int, int]) -> torch.Tensor:
    """Reads an image as (3, H, W) uint8 RGB, resized to cover the size and center-cropped."""
    try:
        image = decode(path.read_bytes())
    except Exception as error:  # decoders raise nearly any type
        raise SystemExit(f'{path}: got {error}, expected an image') from error
    scale = max(size[0] / image.shape[1], size[1] / image.shape[2])
    sides = [max(side, round(length * scale)) for side, length in zip(size, image.shape[1:])]
    return F.center_crop(F.resize(image, sides, F.InterpolationMode.BICUBIC, antialias=True), list(size))


def main() -> None:
    args = parse_args()
    try:
        reconstruct(args)
    except (CheckpointError, SourceError, ValueError, RuntimeError, OSError) as error:
        sys.exit(f'{type(error).__name__}: {error}')


def reconstruct(args: argparse.Namespace) -> None:
    images = find_images(args.images)
    paths = images[:args.num]
    cfg = load_config(args.config, args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    model = MODELS.build(cfg.model)
    if not isinstance(model, SapiensMAE):
        raise ValueError(f'{args.config}: got a {type(model).__name__}, expected a SapiensMAE')
    refuse_foreign_files()
    checkpoint = load_checkpoint(model, args.checkpoint, map_location='cpu')
    check_complete(model, checkpoint.get('state_dict', checkpoint), args.checkpoint, ignore=('backbone.', ))
    model.to(args.device).eval()
    size = tuple(args.size or model.backbone.img_size)
    sheets = []
    for begin in range(0, len(paths), args.batch):
        batch = torch.stack([read_image(path, size) for path in paths[begin:begin + args.batch]])
        inputs = model.data_preprocessor(dict(inputs=batch), False)['inputs']
        # Another seed for each batch, else all would have the same masks.
        sheets.append(reconstruction_sheet(model, inputs, args.mask_ratio, args.seed + begin))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(args.out), cv2.vconcat(sheets)[..., ::-1]):
        raise SystemExit(f'{args.out} cannot be written; choose a file in a writable folder')
    rest = f' of {len(images)}; raise --num for more' if len(images) > len(paths) else ''
    print(f'{args.out}: {len(paths)} images{rest}')


if __name__ == '__main__':
    main()
