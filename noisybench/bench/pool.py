"""Several workers at once, each a process of its own."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from noisybench.bench.plan import Suite
from noisybench.bench.worker import Event, Listener, work
from noisybench.core.errors import RunStopped, UserError
from noisybench.core.machine import cores
from noisybench.parallel.signals import StopSignals

ENDING_SECONDS = 30.0  # for a worker that was asked to stop: it saves its run first


def run_workers(suite: Suite, jobs: int, tell: Listener) -> list[str]:
    """Run a suite with ``jobs`` workers; one works in this process.

    Returns:
        What went wrong with workers as such: one line for each that died.

    Raises:
        UserError: a worker found that the suite's folder cannot be written.
        RunStopped: the user or the system asked this process to stop; the workers have stopped too.
    """
    if jobs == 1:
        work(suite, tell)
        return []
    # Pipes, not a queue: a worker killed while it holds a queue's lock would stop all others.
    context = multiprocessing.get_context("spawn")
    workers: dict[Any, BaseProcess] = {}
    died: list[str] = []
    try:
        for number in range(jobs):
            reader, writer = context.Pipe(duplex=False)
            worker: BaseProcess = context.Process(
                target=_worker, args=(suite, writer), name=f"worker {number + 1}", daemon=True
            )
            with _environment(number, jobs):
                worker.start()
            writer.close()
            workers[reader] = worker
        open_pipes = set(workers)
        while open_pipes:
            pipe: Any
            for pipe in wait(list(open_pipes)):
                try:
                    message = pipe.recv()
                except (EOFError, OSError):  # it ended, or was killed in the middle of a message
                    open_pipes.discard(pipe)
                    continue
                if isinstance(message, str):
                    raise UserError(message)
                tell(message)
        for worker in workers.values():
            worker.join()
            if worker.exitcode:
                died.append(f"{worker.name} (process {worker.pid}) died with exit code {worker.exitcode}")
    finally:
        for worker in workers.values():
            worker.terminate()
        deadline = time.monotonic() + ENDING_SECONDS
        for worker in workers.values():
            worker.join(max(0.0, deadline - time.monotonic()))
            worker.kill()
    return died


def _worker(suite: Suite, writer: Connection) -> None:
    """The main function of a worker process."""
    # Ctrl-C reaches every process of a terminal; the first process alone decides, and stops the workers by SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def tell(event: Event) -> None:
        try:
            writer.send(event)
        except OSError as error:  # nobody reads any more: the first process was killed
            raise SystemExit("the suite's first process is gone") from error

    try:
        with StopSignals():
            work(suite, tell)
    except UserError as error:
        writer.send(str(error))
    except RunStopped as stop:
        sys.exit(128 + (stop.signal or signal.SIGTERM))


@contextlib.contextmanager
def _environment(number: int, jobs: int) -> Iterator[None]:
    """What a worker process starts with: its part of the cores, and one GPU of those there are.

    Set before it starts, because the thread pools and CUDA read it once, when they are loaded. Numbers of threads the
    user gave stay as they are.
    """
    added = {}
    if "OMP_NUM_THREADS" not in os.environ:
        added["OMP_NUM_THREADS"] = str(max(1, cores() // jobs))
    gpus = visible_gpus()
    if gpus:
        added["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:count] if named else [str(number) for number in range(count)]


CORES_PER_JOB = 4  # small networks gain little from more


def default_jobs(runs: int) -> int:
    """One job a GPU; without a GPU one for every four cores; never more than runs."""
    return max(1, min(runs, len(visible_gpus()) or cores() // CORES_PER_JOB))
