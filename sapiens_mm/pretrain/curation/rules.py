"""Rules that keep or drop a sample by its score columns and person boxes."""
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

#: Prefix of the rules that drop a sample because a value is unknown.
MISSING = 'missing '


@dataclasses.dataclass(frozen=True)
class Rules:
    """Rules that drop samples; the first rule of :attr:`names` that applies is counted.

    A box counts as a person if its score is above ``min_score`` and both its sides are above ``min_side``; an image
    needs one such box. A sample without a number in a score column is dropped.

    Args:
        min_score: 0 to 1, 1 excluded.
        min_side: Pixels of the decoded image.
        max_scores: Column -> largest value that is kept, e.g. ``dict(pwatermark=.8)``.

    Raises:
        ValueError: A limit is out of range.
    """
    min_score: float = .9
    min_side: float = 300.
    max_scores: dict[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if not 0 <= self.min_score < 1:
            raise ValueError(f'min_score: got {self.min_score}, expected 0 to 1, 1 excluded')
        if not self.min_side >= 0:
            raise ValueError(f'min_side: got {self.min_side}, expected 0 pixels or more')
        for column, most in self.max_scores.items():
            if most != most:  # NaN would drop nothing
                raise ValueError(f'max_scores: got {column}={most}, expected the largest value to keep')

    @property
    def names(self) -> list[str]:
        columns = [name for column in self.max_scores for name in (MISSING + column, column)]
        return ['no image', *columns, 'unreadable image', MISSING + 'boxes', 'no person', 'low score', 'small box']

    def judge_scores(self, value_of: Callable[[str], Any]) -> str | None:
        """Returns the rule that drops a sample, or None; ``value_of`` returns its value in a column."""
        for column, most in self.max_scores.items():
            value = value_of(column)
            if not is_number(value):
                return MISSING + column
            if value > most:
                return column
        return None

    def judge_boxes(self, boxes: np.ndarray | None) -> tuple[str | None, int]:
        """Returns the rule that drops an image with (N, 5) boxes, or None, and the number of persons."""
        if boxes is None:
            return MISSING + 'boxes', 0
        if not len(boxes):
            return 'no person', 0
        confident = boxes[:, 4] > self.min_score
        if not confident.any():
            return 'low score', 0
        large = (boxes[:, 2:4] - boxes[:, :2] > self.min_side).all(axis=1)
        persons = int((confident & large).sum())
        return (None if persons else 'small box'), persons


def is_number(value: Any) -> bool:
    """Returns whether a value is a number other than NaN."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
