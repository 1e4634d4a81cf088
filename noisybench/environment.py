"""What a run ran on: versions, commit, memory."""

from __future__ import annotations

import importlib.metadata
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
    root = Path(__file__).parent.parent
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
