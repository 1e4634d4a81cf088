"""Several processes that work at the same time: all wait for each other before every piece of work."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

from noisybench.core.errors import UserError, one_line

Piece = Callable[[], Any]  # of work; its result goes to the first process
READY, GO = "ready", "go"
ENDING_SECONDS = 10.0  # for a process that was asked to end


class ProcessFailed(UserError):
    """One of the processes raised or died."""


class _Raised(str):
    """What a process raised, on one line."""


class Crew:
    """Processes of this machine, all with the same work. As a context it ends them, however it is left.

    Args:
        pieces: a function of a module, run in each process. Before each piece that it yields all processes wait for
            each other: what it does between them is not part of the work.
        argument: what ``pieces`` gets; can be pickled, as results can.
        number: of processes.
    """

    def __init__(self, pieces: Callable[[Any], Iterator[Piece]], argument: Any, number: int):
        self._processes: dict[Connection, multiprocessing.Process] = {}
        context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
        for each in range(number):
            mine, theirs = context.Pipe()
            name = f"process {each + 1} of {number}"
            process = context.Process(target=_work, args=(pieces, argument, theirs), name=name, daemon=True)
            self._processes[mine] = process
            process.start()
            theirs.close()  # the process's end closes its pipe now, which is how it is noticed

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.terminate()
        deadline = time.monotonic() + ENDING_SECONDS
        for pipe, process in self._processes.items():
            process.join(max(0.0, deadline - time.monotonic()))
            process.kill()
            process.join()
            pipe.close()

    def wait_until_ready(self) -> None:
        """Until every process has come to its next piece.

        Raises:
            ProcessFailed: one of them raised or died.
        """
        self._gather()

    def work(self) -> list[Any]:
        """Let all processes do the piece they are ready for; their results, when the last one has ended.

        Raises:
            ProcessFailed: one of them raised or died.
        """
        for pipe in self._processes:
            with contextlib.suppress(OSError):  # it died: the next message that misses says so
                pipe.send(GO)
        return self._gather()

    def _gather(self) -> list[Any]:
        """One message of each process, in their order."""
        found: dict[Connection, Any] = {}
        while len(found) < len(self._processes):
            for pipe in wait([pipe for pipe in self._processes if pipe not in found]):
                found[pipe] = self._message(pipe)
        return [found[pipe] for pipe in self._processes]

    def _message(self, pipe: Connection) -> Any:
        process = self._processes[pipe]
        try:
            message = pipe.recv()
        except (EOFError, OSError) as error:
            process.join()
            raise ProcessFailed(f"{process.name} died with exit code {process.exitcode}") from error
        if isinstance(message, _Raised):
            raise ProcessFailed(f"{process.name}: {message}")
        return message


def _work(pieces: Callable[[Any], Iterator[Piece]], argument: Any, pipe: Connection) -> None:
    """The main function of a process."""
    # Ctrl-C reaches every process of a terminal; the first process alone decides, and ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_first_process, daemon=True).start()
    warnings.filterwarnings("ignore", message=".*torch.jit.script.* is deprecated", category=FutureWarning)
    try:
        for piece in pieces(argument):
            pipe.send(READY)
            pipe.recv()
            pipe.send(piece())
    except Exception as error:
        told = one_line(error) if isinstance(error, UserError) else f"{type(error).__name__}: {one_line(error)}"
        with contextlib.suppress(OSError):  # nobody reads any more
            pipe.send(_Raised(told[:300]))


def _end_with_the_first_process() -> None:
    """A process that was killed ends nobody: so each of the others watches it."""
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
