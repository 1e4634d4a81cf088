"""The signals that ask a run to stop: Ctrl-C, SIGTERM, SIGHUP of a closed terminal, and SIGUSR1, which SLURM sends some
time before the end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from noisybench.core.errors import RunStopped
from noisybench.core.time_limit import seconds

STOP_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP")
    if hasattr(signal, name)  # Windows has two
)

STOP_SECONDS = 40.0  # for a run to reach a place where it can save itself; NOISYBENCH_STOP_SECONDS if that is set
ENDING_SECONDS = 10.0  # and then to end


class StopSignals:
    """Takes the stop signals over while it is entered.

    A signal raises :class:`RunStopped` on the spot, or, after :meth:`defer`, is only noted for the loop, which stops at
    the next place it can go on from. A second Ctrl-C raises KeyboardInterrupt in either case. Signals that are ignored
    (as under nohup) stay ignored. Outside the main thread, where Python handles no signals, nothing is taken over.
    A signal that was noted and came too late to stop anything is passed on to whoever handled it before.

    A loop that does not come to such a place, as where something hangs, is ended after :data:`STOP_SECONDS` all the
    same: :class:`RunStopped` is raised where it is, and if that has no effect either, the process is ended.

    Attributes:
        received: the first stop signal that came.
    """

    def __init__(self):
        self.received: signal.Signals | None = None
        self._limit = seconds("NOISYBENCH_STOP_SECONDS", STOP_SECONDS)
        self._ended = threading.Event()
        self._deferred = self._noted = self._late = False
        self._before: dict[signal.Signals, Any] = {}

    def defer(self) -> None:
        """Only take note of signals from now on."""
        self._deferred = True

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                before = signal.getsignal(number)
                if before not in (signal.SIG_IGN, None):  # None: a handler of another language, not ours to replace
                    self._before[number] = before
                    signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended.set()
        for number, before in self._before.items():
            signal.signal(number, before)
        # An error is told first, unless there is a handler: the default one would end the process on the spot.
        if self.received is None or not self._noted:
            return
        if kind is None or (issubclass(kind, Exception) and callable(self._before[self.received])):
            signal.raise_signal(self.received)

    def _handle(self, number: int, frame: object) -> None:
        first, self.received = self.received, self.received or signal.Signals(number)
        if self._late:
            self._noted = False
            name = self.received.name
            raise RunStopped(f"stopped by {name} where it was; what was saved before is intact", self.received)
        if first == number == signal.SIGINT:
            self._noted = False
            raise KeyboardInterrupt
        if self._deferred:
            if not self._noted:
                threading.Thread(target=self._insist, name="noisybench-stop", daemon=True).start()
            self._noted = True
        elif first is None:
            raise RunStopped(f"stopped by {self.received.name}", self.received)

    def _insist(self) -> None:
        """End what does not end by itself."""
        main = threading.main_thread().ident
        if self._ended.wait(self._limit) or self.received is None or main is None:
            return
        self._late = True
        signal.pthread_kill(main, self.received)
        if self._ended.wait(ENDING_SECONDS):
            return
        told = f"stopped by {self.received.name} where it hung; what was saved before is intact: --resume goes on"
        print(f"noisybench: {told}", file=sys.stderr, flush=True)
        os._exit(128 + signal.SIGTERM)


def ignore_stop_signals(*_: object) -> None:
    """Leave the stop signals to another process. A cluster sends them to every process of a job; helpers that end on
    their own would fail the process they help.

    In a process that was started within :func:`stop_signals_held` a signal that came earlier is dropped.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


@contextlib.contextmanager
def stop_signals_held() -> Iterator[None]:
    """Hold the stop signals back from this thread until the end, and from the processes it starts meanwhile until they
    ignore them: a signal would end a process that has not come so far. (Windows has nothing of the kind.)"""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
