"""The cache folder: what was found out about data before, and need not be found out again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from noisybench.core.files import replace_file

NOWHERE = Path(os.devnull) / "noisybench"  # nothing can be read or written there


def cache_folder() -> Path:
    """Where decoded images are kept: ``$NOISYBENCH_CACHE``, else ``~/.cache/noisybench``; nowhere without a home."""
    if os.environ.get("NOISYBENCH_CACHE"):
        return Path(os.environ["NOISYBENCH_CACHE"])
    try:
        return Path.home() / ".cache" / "noisybench"
    except RuntimeError:  # no HOME and no entry for the user
        return NOWHERE


def write_cached(file: Path, write: Callable[[Path], None]) -> None:
    """Write a file of the cache, if that can be done: else the next run takes some time more, nothing else.

    Args:
        write: writes to the path it is given.
    """
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(file) as temporary:
            write(temporary)
