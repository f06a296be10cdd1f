"""Images that occur twice in data sets, as the same file or looking nearly the same."""
from collections import defaultdict

import cv2
import numpy as np

from ..utils.problems import Problem

#: Bits in which the hashes of near-duplicates differ at most, of 64.
_NEAR = 2


class Duplicates:
    """Images by what they hold and what they show."""

    def __init__(self):
        self._contents: dict[str, list[tuple[str, str]]] = defaultdict(list)  # hash -> split and path of its images
        self._looks: dict[int, list[tuple[str, str]]] = defaultdict(list)

    def add(self, split: str, path: str, content: str, look: int | None) -> None:
        """Remembers an image: the hash of its file, and that of what it shows, if that is anything."""
        self._contents[content].append((split, path))
        if look is not None:
            self._looks[look].append((split, path))

    def problems(self) -> list[Problem]:
        """Images of the same content, and images that show nearly the same. Across splits that is a warning."""
        exact = [paths for paths in self._contents.values() if _differ(paths)]
        seen = {path for paths in exact for _, path in paths}
        near = [group for group in _near_groups(self._looks)
                if _differ(group) and not {path for _, path in group} <= seen]
        return [problem for kind, groups, got in (('duplicates', exact, 'have the same content'),
                                                  ('near duplicates', near, 'show nearly the same'))
                for across in (True, False) for problem in _problems(kind, groups, got, across)]


def look_of(image: np.ndarray) -> int | None:
    """A 64-bit hash of what an image (H, W, 3) shows, which stays when it is saved again or scaled; None if it is flat.

    Each bit says whether it is brighter to the right, at 8 x 8 places.
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
    """Groups of images whose hashes differ in at most `_NEAR` bits: these agree in one of three bands at least."""
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
            for i, first in enumerate(same[:200]):  # a band that so many share says nothing
                others = same[i + 1:200]
                distance = np.unpackbits((codes[others] ^ codes[first]).view(np.uint8).reshape(-1, 8), axis=1).sum(1)
                for other in others[distance <= _NEAR]:
                    parent[root(int(other))] = root(int(first))
    groups = defaultdict(list)
    for i, entries in enumerate(paths.values()):
        groups[root(i)] += entries
    return list(groups.values())
