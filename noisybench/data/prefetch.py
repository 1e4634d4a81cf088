"""Pixels for a known sequence of requests, decoded ahead by worker processes where they are not resident."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from noisybench.core.errors import UserError, one_line
from noisybench.core.machine import cores
from noisybench.core.time_limit import seconds
from noisybench.data.pixels import PixelSource
from noisybench.parallel.signals import ignore_stop_signals, stop_signals_held

Request = tuple[np.ndarray | None, ...]  # rows of each source; None where nothing is wanted of it
BATCHES_AHEAD = 2  # for each worker


STALLED_SECONDS = 300.0  # without a single request served; NOISYBENCH_STALLED_SECONDS if that is set


class _Decoder(Dataset):
    """Serves one request. A user's error travels back as a value: torch would bury it in a worker's traceback.

    Args:
        sources: where rows are looked up.
        as_arrays: pixels travel through a pipe; tensors travel through shared memory, which is faster.
    """

    def __init__(self, sources: Sequence[PixelSource], as_arrays: bool):
        self._sources, self._as_arrays = sources, as_arrays

    def __getitem__(self, request: Request) -> tuple[Any, ...] | str:
        try:
            found = [
                None if rows is None else source.fetch(rows)
                for source, rows in zip(self._sources, request, strict=True)
            ]
            return tuple(None if part is None else part.numpy() if self._as_arrays else part for part in found)
        except UserError as error:
            return str(error)


def feed(
    sources: Sequence[PixelSource], requests: Sequence[Request], device: torch.device, workers: int
) -> Iterator[tuple[Any, ...]]:
    """The pixels of each request in turn (tensors, None where nothing was asked for), on the device.

    What comes does not depend on the workers: a request is served by one of them, and requests are kept in order.

    Args:
        sources: where rows are looked up.
        requests: rows of each source, request by request.
        workers: processes that decode ahead, at most one for each core; 0 decodes in this one. Not used where all
            sources are resident.

    Raises:
        UserError: an image cannot be decoded, or the workers are gone or stand still.
    """
    if workers == 0 or all(source.resident for source in sources):
        for request in requests:
            found = (
                None if rows is None else source.fetch(rows) for source, rows in zip(sources, request, strict=True)
            )
            yield tuple(None if part is None else part.to(device, non_blocking=True) for part in found)
        return
    for parts in _served(sources, requests, workers):
        if isinstance(parts, str):
            raise UserError(parts)
        tensors = [None if part is None else torch.as_tensor(part) for part in parts]
        if device.type == "cuda":  # from pinned memory the copy runs beside the training
            tensors = [None if part is None else part.pin_memory() for part in tensors]
        yield tuple(None if part is None else part.to(device, non_blocking=True) for part in tensors)


def _served(sources: Sequence[PixelSource], requests: Sequence[Request], workers: int) -> Iterator[Any]:
    """What the workers give for each request in turn."""
    limit = seconds("NOISYBENCH_STALLED_SECONDS", STALLED_SECONDS)
    number = max(1, min(workers, len(requests), cores()))
    in_flight = number * (BATCHES_AHEAD + 1) * max((_bytes(sources, request) for request in requests), default=0)
    try:
        loader = DataLoader(
            _Decoder(sources, as_arrays=_shared_memory() < 2 * in_flight),
            sampler=requests,
            batch_size=None,  # a request is a batch already
            collate_fn=_as_it_is,
            num_workers=number,
            prefetch_factor=BATCHES_AHEAD,
            timeout=limit,
            worker_init_fn=ignore_stop_signals,  # workers end with their iterator
            generator=torch.Generator(),  # its base seed is not drawn from the global generator
        )
        with stop_signals_held():
            served = iter(loader)  # starts the workers
        yield from served
    except RuntimeError as error:  # what torch raises of a worker that was killed, or of none that answers
        if "DataLoader" not in str(error):
            raise
        raise UserError(
            f"decoding images: of {number} worker processes one is gone or none has answered for {limit:g} s "
            f"({one_line(error)[:120]}); try fewer (--workers), 0 decodes in the run's own process"
        ) from error


def _bytes(sources: Sequence[PixelSource], request: Request) -> int:
    """What the pixels of a request take."""
    pairs = zip(sources, request, strict=True)
    return sum(len(rows) * math.prod(source.shape[1:]) for source, rows in pairs if rows is not None)


def _shared_memory() -> float:
    """Free bytes of the system's shared memory, of which a container may have little: a worker that finds it full is
    killed by the system. Infinite where it is no file system."""
    try:
        found = os.statvfs("/dev/shm")
    except (AttributeError, OSError):
        return math.inf
    return found.f_bavail * found.f_frsize


def _as_it_is(value: Any) -> Any:
    return value
