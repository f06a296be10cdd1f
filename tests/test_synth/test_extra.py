"""What is said where the extra ``synth`` is missing."""
import sys

import pytest

from sapiens_mm.synth.extra import MissingExtra, needs_extra


def test_a_missing_library_is_one_line_that_tells_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mitsuba', None)
    message = r"^rendering needs .*mitsuba.*pip install 'sapiens_mm\[synth\]'$"
    with pytest.raises(MissingExtra, match=message) as caught, needs_extra('rendering'):
        import mitsuba  # noqa: F401
    assert '\n' not in str(caught.value)


def test_other_errors_stay_what_they_are():
    with pytest.raises(ValueError, match='else'), needs_extra('rendering'):
        raise ValueError('else')
