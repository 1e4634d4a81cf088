"""What processes of a crew do in tests; light to import. The argument is a folder that they share."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def first_to_come(folder: Path, name: str = "first") -> bool:
    """Whether this process is the first one here."""
    try:
        (folder / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def come_at_different_times(folder: Path):
    """Twice: one of the processes needs longer to get ready. Each piece tells when it began to wait and to work."""
    for number in range(2):
        if first_to_come(folder, str(number)):
            time.sleep(0.3)
        ready = time.time()
        yield lambda ready=ready: (os.getpid(), ready, time.time())


def raise_in_one(folder: Path):
    first = first_to_come(folder)

    def piece():
        if first:
            raise RuntimeError("out of\nideas")
        time.sleep(600)

    yield piece


def die_in_one(folder: Path):
    first = first_to_come(folder)

    def piece():
        if first:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(600)

    yield piece


def die_before_the_piece(folder: Path):
    if first_to_come(folder):
        os.kill(os.getpid(), signal.SIGKILL)
    yield os.getpid


def sleep_long(folder: Path):
    def piece():
        (folder / str(os.getpid())).touch()
        time.sleep(600)

    yield piece


def free_among_plain_steps(asked):
    """The first piece of the process beside; then how much of 64 MiB it still holds after it has freed them."""
    import numpy as np
    import psutil

    from benchmarks.perf.plain_allocator import plain_steps

    pieces = plain_steps(asked)
    yield next(pieces)

    def piece():
        next(pieces)()
        taken = psutil.Process().memory_info().rss
        block = np.ones(64 * 2**20, dtype=np.uint8)
        del block
        return (psutil.Process().memory_info().rss - taken) // 2**20

    yield piece
