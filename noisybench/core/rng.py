"""Keyed randomness: every draw is a function of (seed, purpose, ...), never of how many draws came before.

So resuming, the number of workers and the number of processes cannot change a run, and nothing touches the
global generators of Python, NumPy or torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def key(seed: int, purpose: str, *parts: int | str) -> int:
    """A 64-bit key for one purpose of one run, e.g. ``key(0, "order", epoch)``."""
    text = json.dumps([seed, purpose, *parts])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def generator(seed: int, purpose: str, *parts: int | str) -> np.random.Generator:
    """A NumPy generator (Philox, counter based) at the start of the stream of this key."""
    return np.random.Generator(np.random.Philox(key=key(seed, purpose, *parts)))


def permutation(n: int, seed: int, purpose: str, *parts: int | str) -> np.ndarray:
    """A permutation of 0..n-1 (int64) for this key."""
    return generator(seed, purpose, *parts).permutation(n)


def uniforms(shape: tuple[int, ...], seed: int, purpose: str, *parts: int | str) -> np.ndarray:
    """Uniform draws in [0, 1) (float32) for this key.

    A table with one row per sample makes a draw a function of the sample's index: look the row up.
    """
    return generator(seed, purpose, *parts).random(shape, dtype=np.float32)


def seed_torch(value: int, device: torch.device) -> None:
    """Put torch's global generators of the CPU and of a device at the start of the stream of this 64-bit key.

    As ``torch.manual_seed``, which besides notes the call, with its whole stack, for devices that are not in use.
    """
    import torch

    torch.default_generator.manual_seed(value)
    if device.type != "cpu":
        getattr(torch, device.type).manual_seed(value)


@contextlib.contextmanager
def torch_seeded(seed: int, purpose: str, *parts: int | str) -> Iterator[None]:
    """Run code that draws from torch's global CPU generator (weight initialisation) under this key.

    The state of the global generator is put back afterwards.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, purpose, *parts))
        yield
