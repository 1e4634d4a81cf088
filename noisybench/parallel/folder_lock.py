"""One process per folder."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import filelock

from noisybench.core.errors import FolderInUse, UserError

LOCK, HOLDER = ".lock", ".lock-holder"


class FolderLock:
    """The sole use of a folder, by a lock of the operating system: it ends with the process, however that ends.

    The lock file stays behind; deleting it could let in two.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._lock = filelock.FileLock(folder / LOCK, timeout=0)

    def acquire(self) -> None:
        """Take the folder, which must exist; again if it is taken already by this object.

        Raises:
            FolderInUse: another process has it; names it.
            UserError: the folder cannot be written.
        """
        if self._lock.is_locked:
            return
        try:
            self._lock.acquire()
            (self._folder / HOLDER).write_text(f"{platform.node()}, process {os.getpid()}", encoding="utf-8")
        except filelock.Timeout as error:
            raise FolderInUse(
                f"--output {self._folder}: in use by {self._holder()}; wait until it ends, or give another --output"
            ) from error
        except OSError as error:
            self._lock.release()
            raise UserError(f"--output {self._folder}: cannot be written ({error.strerror})") from error

    def refuse_if_held(self) -> None:
        """Raise :class:`FolderInUse` if another process has the folder."""
        self.acquire()
        self.release()

    def release(self) -> None:
        """Let go, if it is taken."""
        self._lock.release()

    def _holder(self) -> str:
        try:
            return (self._folder / HOLDER).read_text(encoding="utf-8") or "another process"
        except (OSError, ValueError):  # it has not said yet
            return "another process"
