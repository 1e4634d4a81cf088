"""Ending what takes too long in this process, and time limits that a variable of the environment may change."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
from collections.abc import Iterator

from noisybench.core.errors import UserError


class TookTooLong(BaseException):
    """What was to be done within a time was not. No Exception, so that nothing in it takes it for a failure of its own.

    Attributes:
        seconds: the limit.
    """

    def __init__(self, seconds: float):
        super().__init__(f"it took longer than {seconds:g} seconds")
        self.seconds = seconds


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """End the block by :class:`TookTooLong` after so many seconds.

    Only Python's main thread can be ended so, and only where the system has SIGALRM; elsewhere the block may take as
    long as it likes. Not to be nested.
    """
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise TookTooLong(seconds)

    before = signal.signal(signal.SIGALRM, end)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def seconds(name: str, default: float) -> float:
    """A time limit that a variable of the environment may change.

    Raises:
        UserError: it is no positive number.
    """
    text = os.environ.get(name, "").strip()
    try:
        value = float(text) if text else default
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UserError(f"environment: {name}={text[:20]}: give a number of seconds")
    return value
