"""The machine a run runs on: versions, commit, cores, memory and how it is kept."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    import torch


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide numbers."""
    packages = (
        "noisybench",
        "torch",
        "torchvision",
        "timm",
        "accelerate",
        "datasets",
        "numpy",
        "scikit-learn",
    )
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


def git_commit() -> str | None:
    """The commit of the source tree this package runs from, with ``+changes`` if files differ from it; None for an
    installed wheel."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def peak_memory_bytes(device: torch.device) -> int:
    """Peak memory so far: of the device on a GPU, else the process's resident set."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows has no such module, and counts the same under another name
        return psutil.Process().memory_info().peak_wset
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def device_name(device: torch.device) -> str:
    """What a device is called: a GPU by its model, else by its type."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    return device.type


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# mallopt's parameters, from glibc's malloc.h, and what they are if nobody sets them.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
TRIM_THRESHOLD, MMAP_MAX = 128 * 1024, 65536

SETTINGS = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")

_kept = False


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to keep what is freed, for this process from now on. The most it ever needed stays taken.

    Returns:
        Whether it does: not with another C library, nor where an environment variable of the allocator is set.
    """
    global _kept
    library = _glibc()
    if library is None or any(name in os.environ for name in SETTINGS):
        return False
    _kept = bool(library.mallopt(M_MMAP_MAX, 0) and library.mallopt(M_TRIM_THRESHOLD, -1))
    return _kept


@contextlib.contextmanager
def keeping_freed_memory() -> Iterator[None]:
    """:func:`keep_freed_memory` until the end; then glibc's own values again, and free memory goes back to the system.

    Within another one, or after :func:`keep_freed_memory`, it changes nothing.
    """
    global _kept
    if _kept or not keep_freed_memory():
        yield
        return
    try:
        yield
    finally:
        library = _glibc()
        library.mallopt(M_MMAP_MAX, MMAP_MAX)
        library.mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD)
        library.malloc_trim(0)
        _kept = False


def keeps_freed_memory() -> bool:
    """Whether freed memory is kept in this process now."""
    return _kept


def _glibc() -> Any:
    """The C library of this process; None if it is not glibc."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
