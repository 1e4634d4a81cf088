"""Who runs what: lease files in a folder that several workers share, on one machine or on many.

The first lease of a run is ``RUN_ID.1.lease``, created exclusively. A stale one is never deleted or overwritten, but
overtaken by creating the next number exclusively: whoever creates it has it, so of several workers that find one
lease stale only one wins. A lease counts only after a second look: its holder keeps it if no other lease of the run is
alive, else takes it back. So two never hold a run; at worst both step back and look again later.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from noisybench.core.errors import UserError

HEARTBEAT_SECONDS = 15.0
STALE_SECONDS = 300.0  # a holder on another machine is dead if it was silent for so long
QUIET_SECONDS = 4 * HEARTBEAT_SECONDS  # one on this machine, if its process seems to be another one


@dataclass(frozen=True)
class Holder:
    """A process that holds a lease. ``machine`` is equal where one process can see the other's id; ``token`` is the
    lease's own."""

    host: str
    machine: str
    pid: int
    started: float
    token: str

    @classmethod
    def me(cls) -> Holder:
        """This process, for a new lease."""
        return cls(platform.node(), machine(), os.getpid(), psutil.Process().create_time(), uuid.uuid4().hex)


def machine() -> str:
    """This machine, this boot, and this container's process numbers, where the system tells them apart."""
    parts = [platform.node(), f"{psutil.boot_time():.0f}"]
    boot, numbers = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if boot.exists():
        parts[1] = boot.read_text(encoding="ascii").strip()
    if numbers.is_symlink():
        parts.append(os.readlink(numbers))
    return " ".join(parts)


class Lease:
    """A lease that this process holds. Its file's time is renewed until it is released."""

    def __init__(self, file: Path, me: Holder):
        self._file, self._me = file, me
        self._released = threading.Event()
        self._beat = threading.Thread(target=self._renew, daemon=True)
        self._beat.start()

    def _renew(self) -> None:
        while not self._released.wait(HEARTBEAT_SECONDS):
            try:
                os.utime(self._file)
            except OSError:  # the folder is out of reach, or the lease was taken over: ``lost`` tells
                continue

    def lost(self) -> bool:
        """Whether another worker took this lease over, having heard nothing from this one for too long."""
        name, number = _parts(self._file)
        later = any(_parts(file)[1] > number for file in _files(self._file.parent, name))
        return later or _read(self._file) != self._me

    def release(self) -> None:
        """Let go. Older leases that this one overtook go first, so that none of them is seen alone."""
        self._released.set()
        self._beat.join()
        name, number = _parts(self._file)
        for file in _files(self._file.parent, name):
            if _parts(file)[1] <= number:
                file.unlink(missing_ok=True)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def acquire(folder: Path, name: str) -> Lease | None:
    """Lease a name; None if a live worker has it.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        known = _files(folder, name)
        if any(alive(file) for file in known):
            return None
        me = Holder.me()
        mine = folder / f"{name}.{_parts(known[-1])[1] + 1 if known else 1}.lease"
        try:
            descriptor = os.open(mine, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return None
        with open(descriptor, "w", encoding="ascii") as stream:
            json.dump(asdict(me), stream)
    except OSError as error:
        raise UserError(f"{folder}: leases cannot be written there ({error.strerror})") from error
    if _read(mine) != me:  # swept away by one that was just letting go
        return None
    if any(alive(file) for file in _files(folder, name) if file != mine):
        mine.unlink(missing_ok=True)
        return None
    return Lease(mine, me)


def holder(folder: Path, name: str) -> str | None:
    """Who holds a name, for people; None if no live worker does."""
    for file in reversed(_files(folder, name)):
        if alive(file):
            found = _read(file)
            return f"{found.host}, process {found.pid}" if found else "another worker"
    return None


def alive(file: Path) -> bool:
    """Whether the holder of a lease file still runs."""
    try:
        silent = time.time() - file.stat().st_mtime
    except FileNotFoundError:  # released meanwhile
        return False
    found = _read(file)
    if found is None or found.machine != machine():  # being written, or out of sight: the heartbeat tells
        return silent < STALE_SECONDS
    try:
        process = psutil.Process(found.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        # Another start time is another process under an old number; or the clock was set, and it still renews.
        return abs(process.create_time() - found.started) < 1 or silent < QUIET_SECONDS
    except psutil.NoSuchProcess:
        return False


def _read(file: Path) -> Holder | None:
    """Whose lease it is; None while its holder is still writing it."""
    try:
        return Holder(**json.loads(file.read_text(encoding="ascii")))
    except (OSError, ValueError, TypeError):
        return None


def _files(folder: Path, name: str) -> list[Path]:
    """The lease files of a name, the first lease first."""
    return sorted(folder.glob(f"{name}.*.lease"), key=lambda file: _parts(file)[1])


def _parts(file: Path) -> tuple[str, int]:
    name, number, _ = file.name.rsplit(".", 2)
    return name, int(number)
