"""Duplicate images of datasets: the same file, or nearly the same content."""
from collections import defaultdict

import cv2
import numpy as np

from ..utils.problems import Problem

#: Largest number of bits, of 64, in which the hashes of near duplicates differ.
_NEAR = 2


class Duplicates:
    def __init__(self):
        self._contents: dict[str, list[tuple[str, str]]] = defaultdict(list)  # hash -> split and path of its images
        self._looks: dict[int, list[tuple[str, str]]] = defaultdict(list)

    def add(self, split: str, path: str, content: str, look: int | None) -> None:
        self._contents[content].append((split, path))
        if look is not None:
            self._looks[look].append((split, path))

    def problems(self) -> list[Problem]:
        exact = [paths for paths in self._contents.values() if _differ(paths)]
        seen = {path for paths in exact for _, path in paths}
        near = [group for group in _near_groups(self._looks)
                if _differ(group) and not {path for _, path in group} <= seen]
        return [problem for kind, groups, got in (('duplicates', exact, 'have the same content'),
                                                  ('near duplicates', near, 'show nearly the same'))
                for across in (True, False) for problem in _problems(kind, groups, got, across)]


def look_of(image: np.ndarray) -> int | None:
    """Returns a 64-bit hash of an image (H, W, 3) that recompression and scaling hardly change; None for a flat image.

    Each bit tells whether brightness increases to the right, on an 8 x 8 grid.
    """
    small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (9, 8), interpolation=cv2.INTER_AREA).astype(int)
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), 'big') if small.std() > 2 else None


def _problems(kind: str, groups: list[list[tuple[str, str]]], got: str, across: bool) -> list[Problem]:
    chosen = [group for group in groups if _in_training_and_test(group) == across]
    names = tuple(' = '.join(list(dict.fromkeys(path for _, path in group))[:3]) for group in chosen)
    expected = 'each image once' + (', and no image of a test set in training' if across else '')
    return [Problem(kind, 'several splits' if across else 'one split', got, expected, names, unit='group',
                    level='warning' if across else 'note')] if names else []


def _differ(paths: list[tuple[str, str]]) -> bool:
    return len({path for _, path in paths}) > 1 or _in_training_and_test(paths)


def _in_training_and_test(paths: list[tuple[str, str]]) -> bool:
    splits = {split for split, _ in paths}
    return 'train' in splits and len(splits) > 1


def _near_groups(paths: dict[int, list[tuple[str, str]]]) -> list[list[tuple[str, str]]]:
    """Returns groups of images whose hashes differ in at most `_NEAR` bits, so that one of three bands is equal."""
    codes = np.array(list(paths), np.uint64)
    parent = list(range(len(codes)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for shift, bits in ((0, 22), (22, 21), (43, 21)):
        band = (codes >> np.uint64(shift)) & np.uint64((1 << bits) - 1)
        order = np.argsort(band, kind='stable')
        for same in np.split(order, np.flatnonzero(np.diff(band[order])) + 1):
            for i, first in enumerate(same[:200]):  # larger groups are of no use
                others = same[i + 1:200]
                distance = np.unpackbits((codes[others] ^ codes[first]).view(np.uint8).reshape(-1, 8), axis=1).sum(1)
                for other in others[distance <= _NEAR]:
                    parent[root(int(other))] = root(int(first))
    groups = defaultdict(list)
    for i, entries in enumerate(paths.values()):
        groups[root(i)] += entries
    return list(groups.values())
