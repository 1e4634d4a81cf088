"""The machine a run runs on: versions, commit, cores, memory and how it is kept."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

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
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_cores() -> int:
    """Cores this process may use: more workers than that would only wait for each other."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
