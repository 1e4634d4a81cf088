"""Label estimates from what methods keep per sample."""

from __future__ import annotations

import torch
from torch import Tensor

from noisybench.methods.base import LabelEstimate


def from_label_logits(label_logits: Tensor, given: Tensor) -> LabelEstimate:
    """softmax(ℓ); suspicion is the log-odds that the given label is wrong.

    Args:
        label_logits: ℓ, n×C.
        given: n int64, the given labels.
    """
    label_logits = label_logits.double()
    return LabelEstimate(label_logits.softmax(dim=1).float(), odds_against(label_logits, given))


def odds_against(logits: Tensor, given: Tensor) -> Tensor:
    """The log-odds (n) that softmax(logits) puts against the given label; without saturation, unlike 1 − p.

    Args:
        logits: n×C.
        given: n int64, the given labels.
    """
    given = given[:, None]
    others = logits.scatter(1, given, -torch.inf).logsumexp(dim=1)
    return others - logits.gather(1, given)[:, 0]


def odds_against_given(probabilities: Tensor, given: Tensor) -> Tensor:
    """The same from probabilities, n×C to n float64: in the order of 1 − p(given), and finite where p is 0 or 1."""
    p, column, least = probabilities.double(), given[:, None], torch.finfo(torch.float64).tiny
    others = p.scatter(1, column, 0.0).sum(dim=1)
    return others.clamp_min(least).log() - p.gather(1, column)[:, 0].clamp_min(least).log()


def from_soft_labels(soft_labels: Tensor, given: Tensor) -> LabelEstimate:
    """The soft labels themselves; suspicion is the probability of all labels but the given one.

    Args:
        soft_labels: n×C, rows sum to 1.
        given: n int64, the given labels.
    """
    others = soft_labels.double().scatter(1, given[:, None], 0.0).sum(dim=1)
    return LabelEstimate(soft_labels.float(), others)
