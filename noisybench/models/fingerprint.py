"""The fingerprint of networks: sha256 of all that they have learned."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn


def weights_hash(modules: dict[str, nn.Module]) -> str:
    """sha256 over names, dtypes, shapes and bytes of all parameters and buffers."""
    digest = hashlib.sha256()
    for module_name, module in sorted(modules.items()):
        for name, tensor in sorted(module.state_dict().items()):
            feed(digest, f"{module_name}.{name}", tensor)
    return digest.hexdigest()


def feed(digest: hashlib._Hash, name: str, tensor: Tensor) -> None:
    """Add a tensor under its name: dtype, shape and bytes."""
    digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    digest.update(flat.view(torch.uint8).numpy().data)
