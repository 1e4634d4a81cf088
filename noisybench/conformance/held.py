"""All that a method holds, as a digest by name: where two of one method differ, state was not brought back."""

from __future__ import annotations

import collections
import hashlib
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisybench.conformance.reach import PLAIN, reachable


def held_by(method: Any) -> dict[str, str]:
    """A digest of every value that can be reached from a method, by its dotted name without the word ``method``."""
    found: dict[str, str] = {}
    not_its_own = ["method.context._"]  # the benchmark's, and torch's bookkeeping
    for place, value, _ in reachable(method):
        if isinstance(value, torch.optim.Optimizer):
            not_its_own.append(f"{place}._")
        digest = _digest(value)
        if digest is not None and not place.startswith(tuple(not_its_own)):
            found.setdefault(place.removeprefix("method."), digest)
    return found


def differing(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """The names of what is not the same in both, in the order in which they were found."""
    return [name for name in dict.fromkeys([*before, *after]) if before.get(name) != after.get(name)]


def _digest(value: Any) -> str | None:
    """What a value is, without what it leads to; None if that is nothing but its parts."""
    if isinstance(value, Tensor):
        return _of_array(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy(), str(value.shape))
    if isinstance(value, np.ndarray):
        return _of_array(value, str(value.shape)) if value.dtype.kind != "O" else repr(value.tolist())
    if isinstance(value, np.random.Generator | np.random.RandomState):
        return repr(value.__reduce__()[1:] if isinstance(value, np.random.RandomState) else value.bit_generator.state)
    if isinstance(value, torch.Generator):
        return _of_array(value.get_state().numpy(), "")
    if isinstance(value, random.Random):
        return repr(value.getstate())
    if isinstance(value, PLAIN):
        return f"{type(value).__name__} {value!r}"
    if isinstance(value, list | tuple | collections.deque) and all(isinstance(item, PLAIN) for item in value):
        return f"{type(value).__name__} {list(value)!r}"
    if isinstance(value, set | frozenset) and all(isinstance(item, PLAIN) for item in value):
        return repr(sorted(map(repr, value)))
    if type(value).__module__ == "itertools":
        return repr(value) if type(value).__name__ in ("count", "repeat") else None
    return None


def _of_array(values: np.ndarray, shape: str) -> str:
    return shape + hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()
