"""L2R, Learning to Reweight Examples: weight each sample by how much a step on it helps on a small clean set.

Ren, Zeng, Yang & Urtasun, ICML 2018 (arXiv 1803.09050).
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.meta import InnerStep, MetaBatch, cross_entropy_dot, look_ahead_tangent, noisy_forward
from noisybench.methods.base import Method, StepOutput
from noisybench.methods.context import Context


class L2R(Method):
    """Weights are the clamped, normalised descent direction of the clean loss from weights of zero."""

    needs: ClassVar[frozenset[str]] = frozenset({"meta_set"})
    looks_ahead: ClassVar[bool] = True
    forward_equivalents: float = 8.0  # forward, meta forward and backward, the tangent (2), backward

    def training_step(self, batch: Batch) -> StepOutput:
        forward = noisy_forward(self.network, batch.images, keep_outputs=True)
        ahead = look_ahead_tangent(
            self.network,
            forward,
            InnerStep(None, lr=1.0),  # at weights of zero the look-ahead step has length zero
            MetaBatch.labelled(*batch.meta, self.context.average_meta),
        )
        helps = cross_entropy_dot(forward.logits.detach(), ahead.logits_dot, batch.labels)
        weights = positive_shares(helps, self.context)
        losses = F.cross_entropy(forward.logits, batch.labels, reduction="none")
        loss = self.context.weighted_mean(losses, weights)
        self.context.step(loss, self.optimizer)
        zero = (weights == 0).to(losses.dtype).mean()
        return StepOutput(loss, forward.logits, {"meta_loss": ahead.meta_loss, "zero_weights": zero})


def positive_shares(values: Tensor, context: Context) -> Tensor:
    """max(value, 0), divided by the sum over the global batch; all zero where none is positive.

    Args:
        values: one row per sample of this process, N×…
    """
    positive = values.clamp_min(0)
    total = context.gather_rows(positive).sum()
    return torch.where(total > 0, positive / total, torch.zeros_like(positive))
