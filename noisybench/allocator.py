"""Keep freed memory in the process, where a CPU trains: taking it anew costs more than many operators.

glibc maps every block above 32 MiB by itself and unmaps it when it is freed. The next one comes page by page, each
cleared by the system: for an activation of a training step that takes longer than to compute it.
"""

from __future__ import annotations

import ctypes
import os

# mallopt's parameters, from glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
SETTINGS = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
_kept = False


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to keep what is freed, for this process from now on. The most it ever needed stays taken.

    Returns:
        Whether it does: not with another C library, nor where an environment variable of the allocator is set.
    """
    global _kept
    if any(name in os.environ for name in SETTINGS):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    _kept = bool(library.mallopt(M_MMAP_MAX, 0) and library.mallopt(M_TRIM_THRESHOLD, -1))
    return _kept


def keeps_freed_memory() -> bool:
    """Whether :func:`keep_freed_memory` is in force in this process."""
    return _kept
