"""Copies of a network that no gradient reaches: frozen ones, and exponential moving averages."""

from __future__ import annotations

import copy

import torch
from torch import nn


def frozen_copy(network: nn.Module) -> nn.Module:
    """The network as it is now, with parameters that need no gradient."""
    return copy.deepcopy(network).requires_grad_(False)


@torch.no_grad()
def update_ema(average: nn.Module, network: nn.Module, decay: float) -> None:
    """average ← decay·average + (1 − decay)·network, in place. Parameters only: buffers stay the average's own."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
