"""Endless, resumable stream of augmented images for pretraining."""
import io
import itertools
import os
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_dist_info
from mmengine.registry import DATASETS
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import InterpolationMode, v2

from ..utils.images import ends_in_zeros, header_of, open_image, turn
from ..utils.tar_files import SourceError
from .sources import build_source, permutation

_FINISHED = 2**62  # images taken from a shard that is finished


@DATASETS.register_module()
class SapiensImages(IterableDataset):
    """Endless stream of randomly cropped, resized and flipped images of a folder, a list file or WebDataset shards.

    Each data worker of each rank is a *slot*. Position p in the epoch's permutation of shards belongs to slot
    ``p % num_slots``; a finished slot continues with the next epoch. No image repeats within an epoch, and ranks do not
    wait for each other. The order depends on seed, epoch and number of slots; augmentation depends on seed, epoch and
    the image's name.

    A sample is ``dict(inputs=..., data_samples=dict(key=..., position=..., bad=...))``: (3, H, W) uint8 RGB; its name;
    the int64 tensor (epoch, shard, images taken from it, worker); name and error of each unreadable image before it.

    Args:
        source: ``dict(type='folder', path=..., chunk=64)``, ``dict(type='list', path=..., root=None, chunk=64)`` or
            ``dict(type='shards', urls=..., buffer=1000, retries=3, allow_pipes=False)``; see
            :func:`.sources.folder_source`, :func:`.sources.list_source` and :class:`.sources.TarSource`.
        size: Height and width (H, W) of the output in pixels.
        scale: Smallest and largest share of the image's area in a crop.
        flip: Probability of a horizontal flip.
        seed: Seed of order and augmentation, nonnegative.
        max_bad_share: Share of unreadable images of a rank above which :class:`SapiensStreamHook` stops the run.
        min_images: Number of images after which this is checked; that many unreadable images in a row also stop it.
    """

    def __init__(self,
                 source: dict,
                 size: tuple[int, int],
                 scale: tuple[float, float] = (.2, 1.),
                 flip: float = .5,
                 seed: int = 0,
                 max_bad_share: float = .01,
                 min_images: int = 1000):
        self.source = build_source(source)
        self.seed = seed
        self.max_bad_share, self.min_images = max_bad_share, min_images
        self.transform = v2.Compose([
            v2.RandomResizedCrop(size, scale, interpolation=InterpolationMode.BICUBIC, antialias=True),
            v2.RandomHorizontalFlip(flip)
        ])
        # Stored, since spawned data workers have no process group.
        self.rank, self.num_ranks = get_dist_info()
        self.turn = 0  # data worker of the first batch
        self._epoch, self._taken = 0, {}

    def __len__(self) -> int:
        return 2**62  # endless, but MMEngine's hooks need a length

    def __iter__(self) -> Iterator[dict]:
        info = get_worker_info()
        num_workers = info.num_workers if info else 1
        self.check_workers(num_workers)
        worker = ((info.id if info else 0) + self.turn) % num_workers  # the loader starts with its worker 0
        bad = []
        for epoch in itertools.count(self._epoch):
            for shard in self.deal(epoch, self.rank * num_workers + worker, self.num_ranks * num_workers):
                before = self._taken.get(epoch, {}).get(shard, 0)
                if before == _FINISHED:
                    continue
                images = enumerate(self.source.read(shard, epoch, self.seed), 1)
                for taken, (key, read) in itertools.islice(images, before, None):
                    try:
                        image = decode(read())
                    except Exception as error:  # decoders raise nearly any type
                        reason = str(error).partition(' <')[0]  # without Pillow's <_io.BytesIO ...>
                        # On one line, since each line counts as an image; a name may contain line breaks.
                        bad.append(' '.join(f'{key} ({reason or type(error).__name__})'.split()))
                        if len(bad) >= self.min_images:
                            raise SourceError(f'image source: got {len(bad)} unreadable images in a row, the last is '
                                              f'{bad[-1]}; check the source') from error
                        continue
                    yield dict(
                        inputs=self.augment(image, epoch, key),
                        data_samples=dict(
                            key=key, position=torch.tensor([epoch, shard, taken, worker]), bad='\n'.join(bad)))
                    bad = []

    def deal(self, epoch: int, slot: int, num_slots: int) -> list[int]:
        """Returns the shards of a slot in an epoch, in reading order."""
        return permutation(len(self.source), self.seed, epoch)[slot::num_slots].tolist()

    def check_workers(self, num_workers: int) -> None:
        """Raises a SourceError if there are fewer shards than data workers, ``num_workers`` on each rank."""
        shards, slots = len(self.source), self.num_ranks * num_workers
        if shards >= slots:
            return
        most = shards // self.num_ranks
        remedy = f'set num_workers to at most {most}' if most else f'start at most {shards} ranks'
        raise SourceError(f'image source: got {shards} shards, expected one for each data worker of {self.num_ranks} '
                          f'ranks x {num_workers} workers; {remedy}, or split the images into more shards')

    def augment(self, image: Tensor, epoch: int, key: str) -> Tensor:
        """Crops, resizes and flips an image, (3, h, w) uint8, to (3, H, W) uint8."""
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed would also seed the GPUs.
            torch.default_generator.manual_seed(zlib.crc32(os.fsencode(f'{self.seed} {epoch} {key}')))
            return self.transform(image)

    def position(self, latest: dict[int, tuple[int, int, int]], num_workers: int) -> dict[str, Any]:
        """Returns the position of the stream for a checkpoint, with ``num_workers`` (at least 1) on each rank.

        ``latest`` maps each slot to (epoch, shard, images taken from it) of its last used sample, if any. The position
        consists of integers and strings: ``epoch``, the first unfinished one; ``taken``, epoch -> shard -> images taken
        (a very large number for all); and the settings that :meth:`resume` compares.
        """
        num_slots = self.num_ranks * num_workers
        first = min(latest[slot][0] if slot in latest else self._epoch for slot in range(num_slots))
        taken = {epoch: dict(shards) for epoch, shards in self._taken.items() if epoch >= first}
        for slot, (epoch, shard, count) in latest.items():
            for past in range(first, epoch):
                taken.setdefault(past, {}).update(dict.fromkeys(self.deal(past, slot, num_slots), _FINISHED))
            shards = self.deal(epoch, slot, num_slots)
            taken.setdefault(epoch, {}).update(dict.fromkeys(shards[:shards.index(shard)], _FINISHED))
            taken[epoch][shard] = count
        return dict(source=self.source.fingerprint, seed=self.seed, num_ranks=self.num_ranks, num_workers=num_workers,
                    epoch=first, taken=taken)

    def resume(self, position: dict[str, Any], num_workers: int, turn: int = 0) -> bool:
        """Continues the stream at a :meth:`position`, before data workers start; returns whether the position is valid.

        With the same numbers of ranks and workers, the samples are those of the uninterrupted stream, starting with
        worker ``turn``. With other numbers, each remaining image of the epoch comes once. With other images, seed,
        ``chunk`` or ``buffer`` the position is invalid, and the next epoch begins.
        """
        same = position['source'] == self.source.fingerprint and position['seed'] == self.seed
        if same:
            self._epoch, self._taken = position['epoch'], position['taken']
        else:
            self._epoch, self._taken = max(position['taken'], default=position['epoch']) + 1, {}
        same_slots = (position['num_ranks'], position['num_workers']) == (self.num_ranks, num_workers)
        self.turn = turn if same and same_slots else 0
        return same


def decode(data: bytes) -> Tensor:
    """Decodes an image file, or the first frame of an animation, to (3, h, w) uint8 RGB.

    EXIF orientation is applied and transparency dropped. Reads JPEG, PNG, WebP and the other formats of torchvision and
    Pillow; damaged files raise errors of almost any type.
    """
    if ends_in_zeros(data):
        raise ValueError('the file is truncated: it ends in zeros')
    header = header_of(data)  # refuses images that would take too much memory
    try:
        if data.startswith(b'GIF8'):
            raise ValueError('torchvision would decode all images of the animation')
        image = decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)
        if header.orientation > 1:  # torchvision applies it since 0.20 only
            image = torch.from_numpy(turn(image.permute(1, 2, 0).numpy(), header.orientation))
            image = image.permute(2, 0, 1).contiguous()
    except (RuntimeError, ValueError):
        # Pillow is half as fast, but reads more formats and has clearer errors.
        image = ImageOps.exif_transpose(open_image(io.BytesIO(data)))
        if image.mode.startswith('I;16'):  # 16-bit gray, which `convert` would clip
            image = Image.fromarray((np.array(image) // 257).astype(np.uint8))
        image = torch.from_numpy(np.array(image.convert('RGB'))).permute(2, 0, 1)
    if image.dtype == getattr(torch, 'uint16', None):  # 16-bit PNG; torch has the type since 2.3
        image = (image.to(torch.int32) // 257).to(torch.uint8)
    return image[0] if image.ndim == 4 else image
