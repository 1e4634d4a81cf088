"""ANL-CE: normalised cross-entropy with a passive loss made from its negative, and ANL-CE-ER with a batch entropy.

Ye et al., NeurIPS 2023, after the released code.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisybench.data.loader import Batch
from noisybench.methods.base import Method
from noisybench.methods.losses import normalized_cross_entropy
from noisybench.methods.settings.anl import ANLERSettings, ANLSettings

LEAST = 1e-7  # of a probability, as released


def normalized_negative_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """NNCE = 1 − z_y/Σ_c z_c with z = log p − log 1e-7 (N): how little of the upside-down loss the label has."""
    z = F.softmax(logits, dim=1).clamp(LEAST, 1 - LEAST).log() - math.log(LEAST)
    return 1 - z.gather(1, labels[:, None])[:, 0] / z.sum(dim=1)


def entropy_deficit(mean_probabilities: Tensor) -> Tensor:
    """log C + Σ_c m_c log m_c: 0 for a uniform mean prediction m (C), log C for a certain one (a scalar)."""
    m = mean_probabilities
    return math.log(len(m)) + torch.special.xlogy(m, m).sum()


class ANLCE(Method):
    """α·NCE + β·NNCE + δ·‖θ‖₁."""

    Settings = ANLSettings
    settings: ANLSettings

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        settings = self.settings
        active = normalized_cross_entropy(logits, batch.labels).mean()
        passive = normalized_negative_cross_entropy(logits, batch.labels).mean()
        size = sum(parameter.abs().sum() for parameter in self.network.parameters())
        return settings.alpha * active + settings.beta * passive + settings.l1 * size

    def before_step(self, parameters: list[nn.Parameter]) -> None:
        if self.settings.clip_norm:
            nn.utils.clip_grad_norm_(parameters, self.settings.clip_norm)


class ANLCEER(ANLCE):
    """The same plus λ times the entropy that the batch's mean prediction lacks."""

    Settings = ANLERSettings
    settings: ANLERSettings

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        mean = self.context.global_mean(logits.softmax(dim=1).mean(dim=0))
        return super().loss(logits, batch) + self.settings.entropy_weight * entropy_deficit(mean)
