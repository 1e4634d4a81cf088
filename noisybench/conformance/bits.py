"""Comparing two states of a method to the last bit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def snapshot(value: Any) -> Any:
    """A copy of nested dicts and lists in which tensors no longer change."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: snapshot(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [snapshot(item) for item in value]
    return value


def first_difference(left: Any, right: Any, place: str = "") -> str | None:
    """The dotted name of the first entry in which two snapshots differ; None if they are equal."""
    if isinstance(left, dict) and isinstance(right, dict):
        if left.keys() != right.keys():
            return f"{place}{min(map(str, left.keys() ^ right.keys()))}"
        pairs = [(key, left[key], right[key]) for key in left]
    elif isinstance(left, list) and isinstance(right, list):
        if len(left) != len(right):
            return place.rstrip(".")
        pairs = [(position, *pair) for position, pair in enumerate(zip(left, right, strict=True))]
    else:
        return None if _equal(left, right) else place.rstrip(".")
    differences = (first_difference(a, b, f"{place}{key}.") for key, a, b in pairs)
    return next((name for name in differences if name is not None), None)


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        if left.shape != right.shape or left.dtype != right.dtype:
            return False
        return torch.allclose(left, right, rtol=0, atol=0, equal_nan=True)
    return type(left) is type(right) and left == right


def unsavable(value: Any, place: str = "") -> str | None:
    """The dotted name and type of the first entry that is neither tensor nor JSON value; None if there is none."""
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list | tuple):
        items = list(enumerate(value))
    elif value is None or isinstance(value, Tensor | bool | int | float | str):
        return None
    else:
        return f"{place.rstrip('.')} ({type(value).__name__})"
    found = (unsavable(item, f"{place}{key}.") for key, item in items)
    return next((name for name in found if name is not None), None)
