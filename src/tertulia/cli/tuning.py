"""Tunes a process that will serve for a long time: memory, and when garbage is looked for."""

import ctypes
import gc
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_KEPT: Final = 16_000_000
_LARGE: Final = 4_000_000
_COLLECT: Final = (20_000, 20, 50)


def keep_buffers() -> None:
    """Take buffers of up to 4 MB from one heap, and give no less than 16 MB of it back at once.

    A long conversation's prompt is a buffer of some hundred kilobytes, made and freed in every
    turn. By default glibc asks the kernel for each of them anew, which takes longer than filling
    it, and keeps a heap for each of our few threads. Does nothing where the C library has no such
    settings. Source: mallopt(3).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_ARENA_MAX, 1)
    mallopt(_M_MMAP_THRESHOLD, _LARGE)
    mallopt(_M_TRIM_THRESHOLD, _KEPT)


def settle() -> None:
    """Look for garbage less often, and not at all among what is there now: it is there to stay.

    To be called once everything is imported and started.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT)
