"""Weights that make up for classes of which few samples are kept."""

from __future__ import annotations

import torch
from torch import Tensor


def class_weights(counts: Tensor) -> Tensor:
    """The mean of the counts above 0 over each count (C); 0 for a class without samples."""
    mean = counts.sum() / (counts > 0).sum().clamp_min(1)
    return torch.where(counts > 0, mean / counts.clamp_min(1), torch.zeros_like(counts))
