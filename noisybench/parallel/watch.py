"""Noticing that a process of a run is gone, also where its connection does not say so, as with NCCL or a lost network.

Every process counts up a number in the store that the launcher's processes share. The main process watches all numbers,
the others the main process's.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

from torch.distributed import TCPStore

from noisybench.core.errors import ProcessLost, SaidElsewhere, UserError
from noisybench.core.time_limit import seconds
from noisybench.parallel.environment import Launch, launch

BEAT_SECONDS = 2.0
SILENT_SECONDS = 40.0  # without a beat a process counts as gone; NOISYBENCH_SILENT_SECONDS if that is set
TOLD_SECONDS = 3.0  # for another process's word on why it ended
_runs = itertools.count()  # of this process; the same on all processes of the launch


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Watch the processes of a run, from before they connect.

    What ends the run is told once, by the first process that can say it.

    Raises:
        UserError: this process's own error, named where it is not the main process.
        SaidElsewhere: in place of an error that another process tells.
        ProcessLost: another process is gone without a word.
    """
    number = next(_runs)
    launched = launch()
    # Only torch's elastic launcher (torchrun, accelerate launch) has a store before the processes connect.
    if launched.size == 1 or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        yield
        return
    rank, size = launched.rank, launched.size
    watch = _Watch(launched, number)
    watch.start()
    try:
        yield
    except SaidElsewhere:
        raise
    except Exception as error:
        if isinstance(error, ProcessLost):
            watch.wait_for_word()
        if not watch.first_to_tell():
            raise SaidElsewhere from error
        if not isinstance(error, UserError):
            raise
        if rank != 0 and not isinstance(error, ProcessLost):
            told = UserError(f"process {rank} of {size}: {error}")
        else:
            told = error
        told.told_once = True
        raise told from error.__cause__
    finally:
        watch.stop()


class _Watch(threading.Thread):
    """Beats, and listens, beside the training."""

    def __init__(self, launched: Launch, number: int):
        super().__init__(name="noisybench-watch", daemon=True)
        rank, size = self._rank, self._size = launched.rank, launched.size
        self._silent = seconds("NOISYBENCH_SILENT_SECONDS", SILENT_SECONDS)
        self._watched = range(1, size) if rank == 0 else [0]
        self._alive = [f"noisybench/{number}/alive/{r}" for r in range(size)]
        self._ended = f"noisybench/{number}/ended"
        self._stopped = threading.Event()
        self._store = TCPStore(
            launched.address, launched.port, is_master=False, timeout=timedelta(seconds=self._silent)
        )
        self._store.set(self._alive[rank], "begun")  # before the processes connect: so all that work have beaten once

    def stop(self) -> None:
        self._stopped.set()
        self.join(BEAT_SECONDS)

    def first_to_tell(self) -> bool:
        """Whether this process is the one that tells why the run ended; without a store every process is."""
        mine = str(self._rank)
        try:
            return self._store.compare_set(self._ended, "", mine).decode() == mine
        except RuntimeError:
            return True

    def wait_for_word(self) -> None:
        """Give the process that is gone a moment in which to have said why."""
        deadline = time.monotonic() + TOLD_SECONDS
        with contextlib.suppress(RuntimeError):
            while not self._store.check([self._ended]) and time.monotonic() < deadline:
                time.sleep(0.1)

    def run(self) -> None:
        seen: dict[int, tuple[bytes, float]] = {}
        for beat in itertools.count():
            if self._stopped.wait(BEAT_SECONDS):
                return
            try:
                self._store.set(self._alive[self._rank], str(beat))
                now = time.monotonic()
                for rank in self._watched:
                    key = self._alive[rank]
                    if not self._store.check([key]):
                        continue  # it is not there yet: connecting waits for it
                    value = self._store.get(key)
                    if rank not in seen or seen[rank][0] != value:
                        seen[rank] = value, now
                    elif now - seen[rank][1] > self._silent:
                        self._end(f"process {rank} of {self._size}")
                ended = self._store.check([self._ended])
            except RuntimeError:  # the store is gone, and with it the machine or the launcher that held it
                if not self._stopped.wait(self._silent / 2):  # a collective may notice, and say it in order
                    self._end("the main process's launcher")
                return
            if ended and not self._stopped.wait(self._silent / 2):
                os._exit(1)  # told elsewhere, and this process hangs in a collective

    def _end(self, which: str) -> None:
        """End this process, which may hang in a collective for good."""
        if self._stopped.is_set():
            return
        if self.first_to_tell():
            print(f"noisybench: {ProcessLost(which)}", file=sys.stderr, flush=True)
        os._exit(1)
