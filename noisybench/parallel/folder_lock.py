"""One process per folder."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import filelock

from noisybench.core.errors import FolderInUse, UserError
from noisybench.core.files import read_regular

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
            # Through no link that somebody made before, and not waiting for the reader of a pipe.
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
            with open(os.open(self._folder / HOLDER, flags, 0o666), "w", encoding="utf-8") as stream:
                stream.write(f"{platform.node()}, process {os.getpid()}")
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
            return read_regular(self._folder / HOLDER, 1000, follow=False).decode() or "another process"
        except (OSError, ValueError, UserError):  # it has not said yet
            return "another process"
