"""A method's state as tensors by name."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from noisybench.methods.base import Method, optimizers_of


def state_tensors(method: Method) -> dict[str, Tensor]:
    """Every tensor of a method's state but the optimizers', by its dotted name."""
    found: dict[str, Tensor] = {}

    def add(place: str, value: Any) -> None:
        if isinstance(value, Tensor):
            found[place] = value
        elif isinstance(value, dict):
            for name, part in value.items():
                add(f"{place}.{name}" if place else str(name), part)

    optimizers = optimizers_of(method)
    add("", {name: part for name, part in method.state_dict().items() if name not in optimizers})
    return found
