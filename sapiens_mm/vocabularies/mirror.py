"""Mirror tables: the index of each keypoint or class in a mirrored image."""
import re
from collections.abc import Sequence

from ..utils.problems import Problem, report

_SIDES = dict(left='right', right='left', l='r', r='l')
# A separate word (left_eye, L-hand), or one of camel case (leftEye, LEye, eyeLeft).
_WORDS = re.compile(r'((?<![A-Za-z])(LEFT|RIGHT|Left|Right|left|right|L|R|l|r)|(?<=[a-z])(Left|Right|L|R))(?![a-z])')


def mirrored_name(name: str) -> str:
    """Returns a name with sides swapped: ``'Left-arm'`` -> ``'Right-arm'``."""

    def swap(match: re.Match) -> str:
        word = _SIDES[match[0].lower()]
        return word.upper() if match[0].isupper() else word.capitalize() if match[0][0].isupper() else word

    return _WORDS.sub(swap, name)


def check_mirror(names: Sequence[str], flip_indices: Sequence[int], where: str) -> None:
    """Raises a DataError unless a mirror table of K names consists of pairs, left with right names."""
    table = [int(index) for index in flip_indices]
    if len(table) != len(names) or any(not 0 <= index < len(names) for index in table):
        report(Problem('mirror tables', where, f'flip_indices {table}',
                       f'{len(names)} indices from 0 to {len(names) - 1}, one for each name; correct the metainfo'))
        return
    known, wrong = set(names), []
    for index, other in enumerate(table):
        if table[other] != index:
            wrong.append(f"'{names[index]}' becomes '{names[other]}', which becomes '{names[table[other]]}'")
        elif (mirror := mirrored_name(names[index])) in known and not _same(mirror, names[other]):
            wrong.append(f"'{names[index]}' becomes '{names[other]}' instead of '{mirror}'")
    if wrong:
        report(Problem('mirror tables', where, 'are not swapped in pairs by flip_indices (swap)',
                       'pairs that become each other, such as left_eye and right_eye; correct the metainfo',
                       tuple(wrong), total=len(names), unit='name'))


def _same(name: str, other: str) -> bool:
    """Whether names differ only in numbers: points along a line may be counted from either end."""
    return re.sub(r'\d+', '', name) == re.sub(r'\d+', '', other)
