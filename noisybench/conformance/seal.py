"""What a method must not see: process numbers, true labels, test images, paths."""

from __future__ import annotations

import sys
import types
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from noisybench.data import Dataset
from noisybench.methods.base import Method
from noisybench.methods.priors import UndeclaredError
from noisybench.parallel.world import World
from noisybench.spec.config import RunConfig
from noisybench.train.prepare import RunData, Streams

PLUMBING = {
    "noisybench.parallel.world",
    "noisybench.methods.context",
    "noisybench.train.session",
    "noisybench.train.evaluate",
    "noisybench.conformance.seal",
}
SINGLE_PROCESS = types.SimpleNamespace(process_index=0, num_processes=1, is_main_process=True)


def _plumbing_only(name: str) -> property:
    def read(self):
        if sys._getframe(1).f_globals["__name__"] not in PLUMBING:
            raise UndeclaredError(f"context.world.{name} is read: a method must not know which process it is")
        return vars(self)[f"_{name}"]

    def write(self, value):
        vars(self)[f"_{name}"] = value

    return property(read, write)


class SealedWorld(World):
    """A single process that does not tell a method which one it is."""

    rank = _plumbing_only("rank")
    is_main = _plumbing_only("is_main")

    def __init__(self):
        super().__init__(SINGLE_PROCESS)


def reachable_secret(method: Method, data: RunData) -> str | None:
    """Where a method holds something it must not see, as a dotted name with a word about it; None if it does not.

    Follows attributes, containers, closures and bound methods from the method object. Data that a method fetches by
    itself, from a file or through an import, is out of its sight.
    """
    secrets = {
        "the true labels of the official train set": data.dataset.train.labels,
        "the test set's labels": data.dataset.test.labels,
    }
    if data.true_labels is not None:
        secrets = {"the true labels": data.true_labels, **secrets}
    test_pixels = data.dataset.test.pixels[:].numpy()
    seen: set[int] = set()
    queue: list[tuple[str, Any]] = [("method", method)]
    while queue:
        place, value = queue.pop()
        if id(value) in seen or value is None or isinstance(value, str | int | float | type | types.ModuleType):
            continue
        seen.add(id(value))
        if isinstance(value, PurePath):
            return f"{place} (a path)"
        if isinstance(value, RunConfig | RunData | Dataset | Streams):
            return f"{place} (a {type(value).__name__} of the benchmark)"
        if isinstance(value, np.ndarray | Tensor):
            array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
            if array.ndim == 4 and array.shape == test_pixels.shape and np.array_equal(array, test_pixels):
                return f"{place} (the test images)"
            for what, secret in secrets.items():
                if array.shape == secret.shape and np.array_equal(array, secret):
                    return f"{place} ({what})"
            continue
        queue += [(f"{place}.{name}", part) for name, part in _parts(value)]
    return None


def _parts(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return list(enumerate(value))
    if isinstance(value, types.FunctionType):
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        return [(name, cell.cell_contents) for name, cell in cells] + [("defaults", value.__defaults__)]
    if isinstance(value, types.MethodType):
        return [("self", value.__self__), ("function", value.__func__)]
    if isinstance(value, World | torch.device | torch.dtype):
        return []
    if isinstance(value, nn.Module):
        return [*vars(value)["_modules"].items(), *value.named_buffers(recurse=False)]
    return list(getattr(value, "__dict__", {}).items())
