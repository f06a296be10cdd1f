"""An endless stream of augmented images for pretraining, whose position can be told and taken up again."""
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

from ..utils.images import ends_in_zeros, header_of, open_image
from .sources import SourceError, build_source, permutation

_FINISHED = 2**62  # taken from a shard: all


@DATASETS.register_module()
class SapiensImages(IterableDataset):
    """Images of a folder, a list file or WebDataset shards, cropped, resized and flipped at random, without end.

    Every data worker of every rank is a *slot*. Position p of an epoch's permutation of shards belongs to slot
    ``p % num_slots``; a slot that is through with its shards goes on with the next epoch. So no image comes twice in
    an epoch, ranks never wait for each other, and the order depends on the seed, the epoch and the number of slots.
    Augmentation depends on the seed, the epoch and the image's name.

    A sample is ``dict(inputs=..., data_samples=dict(key=..., position=..., bad=...))``: the image, (3, H, W) uint8 RGB;
    its name; the int64 tensor (epoch, shard, images taken from the shard so far, worker); and the names and faults of
    images that were skipped before it, one a line.

    Args:
        source: ``dict(type='folder', path=..., chunk=64)``, ``dict(type='list', path=..., root=None, chunk=64)`` or
            ``dict(type='shards', urls=..., buffer=1000, retries=3, allow_pipes=False)``; see
            :func:`.sources.folder_source`, :func:`.sources.list_source` and :class:`.sources.TarSource`.
        size: Height and width (H, W) of the output in pixels.
        scale: Smallest and largest share of the image's area that a crop covers.
        flip: Probability of mirroring.
        seed: Of order and augmentation; not negative.
        max_bad_share: The share of unreadable images, of those that a rank has met since it started, above which
            :class:`SapiensStreamHook` stops the run.
        min_images: That share is looked at from this many images on. As many unreadable ones in a row stop the run too.
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
        # Asked here: in data workers that are spawned there is no process group.
        self.rank, self.num_ranks = get_dist_info()
        self.turn = 0  # the data worker that the first batch comes from
        self._epoch, self._taken = 0, {}

    def __len__(self) -> int:
        return 2**62  # hooks of MMEngine ask whether an epoch of the loader ends; it does not

    def __iter__(self) -> Iterator[dict]:
        info = get_worker_info()
        num_workers = info.num_workers if info else 1
        self.check_workers(num_workers)
        worker = ((info.id if info else 0) + self.turn) % num_workers  # the loader begins with its worker 0
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
                    except Exception as error:  # decoders raise nearly anything
                        reason = str(error).partition(' <')[0]  # Pillow's ends with <_io.BytesIO ...>
                        # In one line, since each line is counted as an image: a name may have several.
                        bad.append(' '.join(f'{key} ({reason or type(error).__name__})'.split()))
                        if len(bad) >= self.min_images:
                            raise SourceError(f'{len(bad)} images in a row cannot be read, the last is {bad[-1]}; '
                                              'check the image source') from error
                        continue
                    yield dict(
                        inputs=self.augment(image, epoch, key),
                        data_samples=dict(
                            key=key, position=torch.tensor([epoch, shard, taken, worker]), bad='\n'.join(bad)))
                    bad = []

    def deal(self, epoch: int, slot: int, num_slots: int) -> list[int]:
        """The shards of a slot in an epoch, in their order."""
        return permutation(len(self.source), self.seed, epoch)[slot::num_slots].tolist()

    def check_workers(self, num_workers: int) -> None:
        """Checks that every slot gets a shard.

        Args:
            num_workers: Data workers of each rank, at least 1.

        Raises:
            SourceError: There are fewer shards than slots.
        """
        shards, slots = len(self.source), self.num_ranks * num_workers
        if shards >= slots:
            return
        most = shards // self.num_ranks
        remedy = f'set num_workers to {most} at most' if most else f'start {shards} ranks at most'
        raise SourceError(f'{shards} shards of images for {self.num_ranks} ranks x {num_workers} data workers, but '
                          f'each worker needs one; {remedy}, or cut the images into more shards')

    def augment(self, image: Tensor, epoch: int, key: str) -> Tensor:
        """Crops, resizes and flips an image, (3, h, w) uint8, to (3, H, W) uint8."""
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed, which would seed the GPUs too.
            torch.default_generator.manual_seed(zlib.crc32(os.fsencode(f'{self.seed} {epoch} {key}')))
            return self.transform(image)

    def position(self, latest: dict[int, tuple[int, int, int]], num_workers: int) -> dict[str, Any]:
        """Where the stream is, for a checkpoint.

        Args:
            latest: Slot -> (epoch, shard, images taken from it) of the last sample of it that was used; slots of which
                none was used yet are left out.
            num_workers: Data workers of each rank, at least 1.

        Returns:
            ``epoch``: all before are complete. ``taken``: epoch -> shard -> images taken (a very large number: all).
            Further what :meth:`resume` needs to know whether it goes with the dataset at hand. Plain integers and text.
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
        """Makes the stream go on at a position, before data workers start.

        With as many ranks and workers as then, it goes on exactly as it would have; with other numbers every image
        that the epoch has left comes once. If images, seed, ``chunk`` or ``buffer`` are others, the position means
        nothing, and the next epoch begins.

        Args:
            position: What :meth:`position` returned.
            num_workers: Data workers of each rank, at least 1.
            turn: The worker that the next batch was to come from.

        Returns:
            Whether the position goes with this dataset.
        """
        same = position['source'] == self.source.fingerprint and position['seed'] == self.seed
        if same:
            self._epoch, self._taken = position['epoch'], position['taken']
        else:
            self._epoch, self._taken = max(position['taken'], default=position['epoch']) + 1, {}
        as_then = (position['num_ranks'], position['num_workers']) == (self.num_ranks, num_workers)
        self.turn = turn if same and as_then else 0
        return same


def _upright(image: Tensor, orientation: int) -> Tensor:
    """Turns and mirrors an image (..., h, w) as EXIF's orientation, 1 to 8, tells."""
    if orientation >= 5:
        image = image.transpose(-1, -2)
    flipped = {2: [-1], 3: [-1, -2], 4: [-2], 6: [-1], 7: [-1, -2], 8: [-2]}.get(orientation)
    return image.flip(flipped) if flipped else image


def decode(data: bytes) -> Tensor:
    """Decodes an image file: EXIF's orientation is applied, transparency dropped, an animation's first picture taken.

    Args:
        data: JPEG, PNG, WebP, or whatever else torchvision or Pillow know by its first bytes.

    Returns:
        (3, h, w) uint8 RGB.

    Raises:
        Exception: Of nearly any type: the file is damaged, or no image.
    """
    if ends_in_zeros(data):
        raise ValueError('the file is cut off: it ends in zeros')
    header = header_of(data)  # which refuses what would take too much memory
    try:
        if data.startswith(b'GIF8'):
            raise ValueError('torchvision would decode all images of the animation')
        image = decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)
        image = _upright(image, header.orientation)  # torchvision does that by itself since 0.20 only
    except (RuntimeError, ValueError):
        # Half as fast, but it knows more formats, and its words for what is wrong are plain.
        image = ImageOps.exif_transpose(open_image(io.BytesIO(data)))
        if image.mode.startswith('I;16'):  # grey of 16 bits, which `convert` would clip
            image = Image.fromarray((np.array(image) // 257).astype(np.uint8))
        image = torch.from_numpy(np.array(image.convert('RGB'))).permute(2, 0, 1)
    if image.dtype == getattr(torch, 'uint16', None):  # a PNG of 16 bits; torch has the type since 2.3
        image = (image.to(torch.int32) // 257).to(torch.uint8)
    return image[0] if image.ndim == 4 else image
