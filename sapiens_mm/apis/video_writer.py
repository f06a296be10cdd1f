"""Writing of H.264 videos."""
import errno
import os
import os.path as osp
import sys
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction

import numpy as np

from ..utils.files import replacing

_TICK = Fraction(1, 90000)  # time base in seconds


def import_av():
    try:
        import av
    except ImportError as error:
        raise ValueError(f'videos need PyAV ({error}): pip install av') from error
    return av


class VideoWriter:
    """Writes images to an ``.mp4`` file at an average rate in frames per second; the file exists once it is closed."""

    def __init__(self, path: str, rate: float):
        self.path, self.rate = path, Fraction(rate).limit_denominator(1001)
        self.container = self.stream = None
        self.failed, self.count, self.ticks = False, 0, -1
        self._file = ExitStack()

    def append(self, image: np.ndarray, time: float | None = None) -> None:
        """Adds an image (H, W, 3) uint8 RGB at a time in seconds (by default from the rate); ignored after an error.

        H.264 needs even sides: an odd last row or column is dropped, a single one is doubled. If writing fails, an
        OSError is raised and no file is left.
        """
        if self.failed:
            return
        image = np.pad(image, [(0, int(side == 1)) for side in image.shape[:2]] + [(0, 0)], 'edge')
        height, width = (side // 2 * 2 for side in image.shape[:2])
        with self._removed_on_error():
            if self.stream is None:
                os.makedirs(osp.dirname(osp.abspath(self.path)), exist_ok=True)
                part = self._file.enter_context(replacing(self.path))
                self.container = import_av().open(part, 'w', format='mp4')
                self.stream = self.container.add_stream('libx264', rate=self.rate)
                self.stream.width, self.stream.height, self.stream.pix_fmt = width, height, 'yuv420p'
                self.stream.codec_context.time_base = _TICK
            frame = import_av().VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), format='rgb24')
            # Times must increase: frames with an equal or earlier time follow one tick later.
            self.ticks = max(round((self.count / self.rate if time is None else time) / _TICK), self.ticks + 1)
            self.count += 1
            frame.pts, frame.time_base, frame.duration = self.ticks, _TICK, round(1 / self.rate / _TICK)
            self.container.mux(self.stream.encode(frame))

    def close(self) -> None:
        """Completes the file; without images or after an error no file is left."""
        if self.stream is None or self.failed:
            return
        with self._removed_on_error():
            self.container.mux(self.stream.encode())
            self.container.close()
            self._file.close()

    @contextmanager
    def _removed_on_error(self):
        av = import_av()
        try:
            yield
        except (OSError, ValueError, av.FFmpegError) as error:
            self.failed = True
            with suppress(AttributeError, OSError, ValueError, av.FFmpegError):
                self.container.close()
            self._file.__exit__(*sys.exc_info())
            if isinstance(error, OSError):
                raise
            raise OSError(errno.EINVAL, f'video cannot be encoded: {error}') from error
