"""Synthetic label noise from a batch's own neighbours (MLNT, arXiv 1812.05214)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def nearest_neighbours(features: Tensor, k: int) -> Tensor:
    """For each row, the k other rows nearest in Euclidean distance, nearest first (N×k int64).

    Args:
        features: N×D.
        k: clamped to N − 1.
    """
    distances = torch.cdist(features, features)
    distances.fill_diagonal_(torch.inf)
    return distances.topk(min(k, len(features) - 1), largest=False).indices


def synthetic_labels(labels: Tensor, neighbours: Tensor, fraction: float, drawn: np.random.Generator) -> Tensor:
    """A perturbed copy of a batch's labels: a random part of the samples take the label of one of their neighbours.

    Args:
        labels: N int64. Labels are copied from here, never from samples perturbed before.
        neighbours: N×k int64, rows of the batch.
        fraction: ρ; floor(ρ·N) samples are perturbed.
        drawn: makes the draws.
    """
    size, k = neighbours.shape
    perturbed = labels.clone()
    if k == 0:  # a batch of one sample has no neighbours
        return perturbed
    chosen = torch.from_numpy(drawn.permutation(size)[: int(fraction * size)]).to(labels.device)
    ranks = torch.from_numpy(drawn.integers(k, size=len(chosen))).to(labels.device)
    perturbed[chosen] = labels[neighbours[chosen, ranks]]
    return perturbed
