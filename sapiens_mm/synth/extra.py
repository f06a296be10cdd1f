"""Libraries of the optional extra ``synth``, imported with a clear error if one is missing."""
from collections.abc import Iterator
from contextlib import contextmanager


class MissingExtra(ImportError):
    """The optional extra ``synth`` is not installed."""


@contextmanager
def needs_extra(what: str) -> Iterator[None]:
    """Turns an ImportError in its block into a `MissingExtra` for ``what``, for example ``'rendering'``."""
    try:
        yield
    except ImportError as error:
        raise MissingExtra(
            f"{what} needs the optional extra synth ({error}): pip install 'sapiens_mm[synth]'") from error


def mitsuba():
    """Returns the module ``mitsuba`` with its variant ``scalar_rgb``, or raises `MissingExtra`."""
    with needs_extra('rendering'):
        import mitsuba as mi
    if mi.variant() != 'scalar_rgb':
        mi.set_variant('scalar_rgb')
        mi.set_log_level(mi.LogLevel.Error)
    return mi


def denoiser():
    """Returns the module ``mitsuba_oidn``, Intel's Open Image Denoise, or raises `MissingExtra`."""
    with needs_extra('denoising (--no-denoise leaves it out)'):
        import mitsuba_oidn
    return mitsuba_oidn


def trimesh():
    with needs_extra('reading scans'):
        import trimesh as module
    return module


def set_threads(threads: int) -> None:
    """Sets the number of rendering threads of this process (default: one per core); images do not depend on it."""
    mitsuba()
    import drjit

    if threads < 1:
        raise ValueError(f'threads: got {threads}, expected at least 1')
    drjit.set_thread_count(threads)


def read_hdri(path):
    mi = mitsuba()
    import drjit

    # Mitsuba's .exr reader hangs with a single thread (seen with 3.9.1).
    threads = drjit.thread_count()
    drjit.set_thread_count(max(2, threads))
    try:
        return mi.Bitmap(str(path))
    finally:
        drjit.set_thread_count(threads)
