"""Errors of a missing extra ``synth``, and Mitsuba with one thread."""
import sys

import numpy as np
import pytest

from sapiens_mm.synth.extra import MissingExtra, mitsuba, needs_extra, read_hdri, set_threads


def test_a_missing_library_is_one_line_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mitsuba', None)
    with pytest.raises(MissingExtra, match=r"^rendering .*mitsuba.*pip install 'sapiens_mm\[synth\]'$"):
        mitsuba()


def test_other_errors_are_not_changed():
    with pytest.raises(ValueError, match='else'), needs_extra('rendering'):
        raise ValueError('else')


def test_a_process_of_one_thread_reads_exr(tmp_path):
    """As each worker of a set does; Mitsuba alone would hang."""
    drjit = pytest.importorskip('drjit')
    mitsuba().Bitmap(np.ones((4, 8, 3), np.float32)).write(str(tmp_path / 'a.exr'))
    before = drjit.thread_count()
    try:
        set_threads(1)
        assert tuple(read_hdri(tmp_path / 'a.exr').size()) == (8, 4)
        assert drjit.thread_count() == 1
    finally:
        set_threads(before)
    with pytest.raises(ValueError, match='0'):
        set_threads(0)
