"""Small-loss selection: early in training, samples with a small loss are probably labelled right.

Han et al., NeurIPS 2018 (arXiv 1804.06872): the forget rate R(e) is the share of a batch that is left out in epoch e.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def forget_rate(epoch: int, tau: float, ramp_epochs: int, exponent: float = 1.0) -> float:
    """R(e) = τ·min((e/(T_k − 1))^c, 1), with e counted from 0.

    Args:
        epoch: e.
        tau: τ, the final forget rate.
        ramp_epochs: T_k; the ramp ends in its last epoch.
        exponent: c; on the epoch as in the paper (the released code puts it on τ, which is the same for c = 1).
    """
    if epoch >= ramp_epochs - 1:
        return tau
    return tau * (epoch / (ramp_epochs - 1)) ** exponent


def forget_rate_exponent_on_tau(epoch: int, tau: float, ramp_epochs: int, exponent: float) -> float:
    """The released code's schedule for c ≠ 1: a line from 0 to τ^c over T_k epochs, then a jump to τ."""
    if epoch >= ramp_epochs:
        return tau
    return tau**exponent * epoch / max(1, ramp_epochs - 1)


def num_kept(rate: float, size: int) -> int:
    """K = ⌊(1 − R)·size⌋; the whole batch where that is 0, as the released code of co-teaching+ does."""
    # The small term undoes rounding: (1 - 0.9)·10 is 0.9999999999999998 in binary.
    return math.floor((1 - rate) * size + 1e-9) or size


def small_loss_weights(losses: Tensor, rate: float, candidates: Tensor | None = None) -> Tensor:
    """1/K on the K candidates with the smallest losses, 0 elsewhere; all 0 if there is no candidate.

    Args:
        losses: G, one per sample of the *global* batch. Ties keep the batch's order; NaN counts as largest.
        rate: R, the share of the candidates to leave out.
        candidates: G bool, which samples may be chosen; None for all.

    Returns:
        G weights in the losses' dtype; no gradient flows.
    """
    losses = losses.detach()
    pool = torch.arange(len(losses), device=losses.device) if candidates is None else candidates.nonzero()[:, 0]
    weights = torch.zeros_like(losses)
    if len(pool):
        kept = num_kept(rate, len(pool))
        chosen = pool[losses[pool].argsort(stable=True)[:kept]]
        weights[chosen] = 1.0 / kept
    return weights
