"""Memory of the processor that goes back to the system as soon as tensors are freed."""
import ctypes
import functools
import os
import platform

_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h


@functools.cache
def return_freed_memory(threshold: int = 1 << 20) -> bool:
    """Makes glibc's malloc map blocks from ``threshold`` bytes on one by one, for the rest of this process.

    By itself it raises that limit to 32 MB with the first tensors that are freed, and from then on takes activations,
    gradients and optimizer state from one heap, which fills with holes (see also
    https://sourceware.org/bugzilla/show_bug.cgi?id=14581 on aligned blocks, which torch asks for). Measured with glibc
    2.36, a checkpointed training step of the 0.3b model at 1024x768 peaks at 8.7 GB with those holes.

    Does nothing where there is another libc, or where the environment already sets the limit.

    Returns:
        Whether the limit was set.
    """
    chosen = 'MALLOC_MMAP_THRESHOLD_' in os.environ or 'mmap_threshold' in os.environ.get('GLIBC_TUNABLES', '')
    if chosen or platform.libc_ver()[0] != 'glibc':
        return False
    return bool(ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, threshold))
