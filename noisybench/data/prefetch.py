"""Pixels for a known sequence of requests, decoded ahead by worker processes where they are not resident."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from noisybench.core.errors import UserError
from noisybench.core.machine import cores
from noisybench.data.pixels import PixelSource
from noisybench.parallel.signals import ignore_stop_signals, stop_signals_held

Request = tuple[np.ndarray | None, ...]  # rows of each source; None where nothing is wanted of it
BATCHES_AHEAD = 2  # for each worker


class _Decoder(Dataset):
    """Serves one request. A user's error travels back as a value: torch would bury it in a worker's traceback."""

    def __init__(self, sources: Sequence[PixelSource]):
        self._sources = sources

    def __getitem__(self, request: Request) -> tuple[Tensor | None, ...] | str:
        try:
            return tuple(
                None if rows is None else source.fetch(rows)
                for source, rows in zip(self._sources, request, strict=True)
            )
        except UserError as error:
            return str(error)


def feed(
    sources: Sequence[PixelSource], requests: Sequence[Request], device: torch.device, workers: int
) -> Iterator[tuple[Tensor | None, ...]]:
    """The pixels of each request in turn, on the device.

    What comes does not depend on the workers: a request is served by one of them, and requests are kept in order.

    Args:
        sources: where rows are looked up.
        requests: rows of each source, request by request.
        workers: processes that decode ahead, at most one for each core; 0 decodes in this one. Not used where all
            sources are resident.

    Raises:
        UserError: an image cannot be decoded.
    """
    decoder = _Decoder(sources)
    if workers == 0 or all(source.resident for source in sources):
        served = map(decoder.__getitem__, requests)
    else:
        loader = DataLoader(
            decoder,
            sampler=requests,
            batch_size=None,  # a request is a batch already
            num_workers=max(1, min(workers, len(requests), cores())),
            prefetch_factor=BATCHES_AHEAD,
            pin_memory=device.type == "cuda",
            worker_init_fn=ignore_stop_signals,  # workers end with their iterator
            generator=torch.Generator(),  # its base seed is not drawn from the global generator
        )
        with stop_signals_held():
            served = iter(loader)  # starts the workers
    for pixels in served:
        if isinstance(pixels, str):
            raise UserError(pixels)
        yield tuple(None if part is None else part.to(device, non_blocking=True) for part in pixels)
