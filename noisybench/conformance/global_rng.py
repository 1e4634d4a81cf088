"""The global generators of Python, NumPy and torch: a method may use torch's within a training step, nothing else."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch

from noisybench.conformance.finding import Finding


@contextlib.contextmanager
def surroundings(seed: int) -> Iterator[None]:
    """Give code global generators that were left in some state by others; put their own back afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


@contextlib.contextmanager
def untouched(where: str, *, torch_too: bool, step: int | None = None) -> Iterator[None]:
    """Raise a :class:`Finding` if the code within draws from a global generator."""
    before = _states(torch_too)
    yield
    for name, state in _states(torch_too).items():
        if state != before[name]:
            way = "context.generator(purpose), or context.make_module(purpose, make) for layers"
            raise Finding("global generators", f"{where} draws from {name}; use {way}", step)


def _states(torch_too: bool) -> dict[str, object]:
    state = np.random.get_state()
    states: dict[str, object] = {
        "Python's global generator": random.getstate(),
        "NumPy's global generator": [part.tobytes() if isinstance(part, np.ndarray) else part for part in state],
    }
    if torch_too:
        states["torch's global generator"] = torch.random.get_rng_state().numpy().tobytes()
    return states
