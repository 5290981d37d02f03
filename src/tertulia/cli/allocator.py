"""Tells the C library to keep the memory of large buffers."""

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_KEPT: Final = 16_000_000
_LARGE: Final = 4_000_000


def keep_buffers() -> None:
    """Take buffers of up to 4 MB from the heap, and give no less than 16 MB of it back at once.

    A long conversation's prompt is a buffer of some hundred kilobytes, made and freed in every
    turn. By default glibc asks the kernel for each of them anew, which takes longer than filling
    it. Does nothing where the C library has no such setting. Source: mallopt(3).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGE)
    mallopt(_M_TRIM_THRESHOLD, _KEPT)
