"""The fingerprints of networks and of a method's other state: sha256 of all that was learned."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


def weights_hash(modules: dict[str, nn.Module]) -> str:
    """sha256 over names, dtypes, shapes and bytes of all parameters and buffers."""
    digest = hashlib.sha256()
    for module_name, module in sorted(modules.items()):
        for name, tensor in sorted(module.state_dict().items()):
            feed(digest, f"{module_name}.{name}", tensor)
    return digest.hexdigest()


def state_hash(state: dict[str, Any], without: Iterable[str]) -> str:
    """sha256 over the names and values of a method's state: store columns, trained rows, optimizers, numbers.

    Args:
        state: as a method's ``state_dict`` gives it.
        without: entries to leave out: the modules, which have a hash of their own.
    """
    digest, left_out = hashlib.sha256(), set(without)
    for name, value in sorted(state.items()):
        if name not in left_out:
            _feed_all(digest, name, value)
    return digest.hexdigest()


def _feed_all(digest: hashlib._Hash, name: str, value: Any) -> None:
    if isinstance(value, Tensor):
        feed(digest, name, value)
    elif isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        digest.update(f"{name} {len(value)}\n".encode())
        for key, item in sorted(((str(key), item) for key, item in items), key=lambda pair: pair[0]):
            _feed_all(digest, f"{name}.{key}", item)
    else:
        digest.update(f"{name} {value!r}\n".encode())


def feed(digest: hashlib._Hash, name: str, tensor: Tensor) -> None:
    """Add a tensor under its name: dtype, shape and bytes."""
    digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    digest.update(flat.view(torch.uint8).numpy().data)
