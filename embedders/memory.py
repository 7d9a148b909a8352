"""What is freed after one batch is kept for the next.

A net's activations are tens of megabytes that are freed and asked for again at every batch. By default glibc gives
such blocks back to the system, which then has to map and clear each page anew: half the time of EfficientNet-Lite0 on
two cores. For processes that embed and end; a server, which swaps indexes, had better give back what it freed.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # of mallopt(3)
_KEPT = 1 << 30  # bytes at the end of the heap that are not given back
_AHEAD = 1 << 26  # bytes that the heap grows by
_MAPPED = 0  # blocks that are mapped on their own: those go back at once


def keep_freed_memory() -> None:
    """Tell the allocator of this process, for good; it does nothing where that is not glibc's."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in ((_MMAP_MAX, _MAPPED), (_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, _AHEAD)):
            mallopt(parameter, value)
