"""Mirror tables: which keypoint or class each one becomes in a mirror image."""
import re
from collections.abc import Sequence

from ..utils.problems import Problem, report

_SIDES = dict(left='right', right='left', l='r', r='l')
# A word of its own (left_eye, L-hand), or of camel case (leftEye, LEye, eyeLeft).
_WORDS = re.compile(r'((?<![A-Za-z])(LEFT|RIGHT|Left|Right|left|right|L|R|l|r)|(?<=[a-z])(Left|Right|L|R))(?![a-z])')


def mirrored_name(name: str) -> str:
    """A name with its sides exchanged: ``'Left-arm'`` -> ``'Right-arm'``."""

    def exchange(match: re.Match) -> str:
        word = _SIDES[match[0].lower()]
        return word.upper() if match[0].isupper() else word.capitalize() if match[0][0].isupper() else word

    return _WORDS.sub(exchange, name)


def check_mirror(names: Sequence[str], flip_indices: Sequence[int], where: str) -> None:
    """Checks that a mirror table consists of pairs, and that the names agree.

    Args:
        names: K names.
        flip_indices: For each its index in the mirror image; its own if it stays.
        where: What the table belongs to, for the message.

    Raises:
        DataError: The table is not as long as the names, an index is not that of a name, two entries are not each
            other's mirror image, or a left one does not become the right one of its name.
    """
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
    """Whether names agree but for their numbers: points along a line may be counted from either end."""
    return re.sub(r'\d+', '', name) == re.sub(r'\d+', '', other)
