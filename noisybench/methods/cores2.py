"""CORES2: a regulariser makes predictions confident, and a sieve drops the samples whose loss is above their mean.

Cheng et al., ICLR 2021 (arXiv 2010.02347), after the released code (its first phase; CORES2* goes on from there).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.methods.base import LabelEstimate, Method, StepOutput
from noisybench.methods.settings.cores2 import CORES2Settings

FLOOR = 1e-8  # added to p in the regulariser and the sieve, not in the cross-entropy


def confidence_losses(logits: Tensor, labels: Tensor, prior: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """The regularised loss of each sample, CE − β·Σ_c π_c ℓ_c, and its sieve score, CE − 1/C·Σ_c ℓ_c (N each).

    Args:
        logits: N×C; ℓ_c = −log(p_c + 1e-8).
        labels: N int64.
        prior: π (C), how often each label is given; the score takes the uniform mean instead, as released.
        beta: β.
    """
    fit = F.cross_entropy(logits, labels, reduction="none")
    of_classes = -(logits.softmax(dim=1) + FLOOR).log()
    return fit - beta * (of_classes * prior).sum(dim=1), (fit - of_classes.mean(dim=1)).detach()


class CORES2(Method):
    """The mean regularised loss over the kept samples: all at first, then those with a score of at most 0."""

    Settings = CORES2Settings
    settings: CORES2Settings

    def build(self) -> None:
        super().build()
        context, given = self.context, self.context.given_labels
        context.store.add("kept", torch.ones(len(given), dtype=context.dtype))
        context.store.add("score", torch.zeros(len(given), dtype=context.dtype))
        self.prior: Tensor = torch.zeros(context.num_classes, dtype=context.dtype, device=context.device)

    def start_epoch(self, epoch: int) -> None:
        counts = torch.zeros_like(self.prior).index_add_(0, self.context.given_labels, self.context.store["kept"])
        # Where an epoch kept nothing the prior stays as it was.
        self.prior.copy_(torch.where(counts.sum() > 0, counts / counts.sum().clamp_min(1), self.prior))
        if self.settings.scale_lr:
            for group in self.optimizer.param_groups:
                group["lr"] /= 1 + self.beta(epoch)

    def beta(self, epoch: int) -> float:
        """β of an epoch: 0, a line over the ramp's epochs, then the full weight."""
        settings = self.settings
        past, length = epoch - settings.beta_start_epoch, settings.ramp_epochs
        if past < 0:
            return 0.0
        return settings.beta * min(1.0, past / (length - 1)) if length > 1 else settings.beta

    def training_step(self, batch: Batch) -> StepOutput:
        logits = self.network(batch.images)
        losses, scores = confidence_losses(logits, batch.labels, self.prior, self.beta(batch.epoch))
        kept = torch.ones_like(scores) if batch.epoch < self.settings.sieve_epoch else (scores <= 0).to(scores.dtype)
        self.context.store.write("kept", batch.index, kept)
        self.context.store.write("score", batch.index, scores)
        # A batch without a kept sample has loss 0: the released code fails there.
        num_kept = self.context.gather_rows(kept).sum().clamp_min(1)
        loss = self.context.weighted_mean(losses, kept / num_kept)
        self.context.step(loss, self.optimizer)
        return StepOutput(loss, logits)

    def epoch_logs(self) -> dict[str, float]:
        return {"kept_fraction": float(self.context.store["kept"].mean())}

    def estimate_labels(self) -> LabelEstimate:
        """The given labels; suspicion is the sieve's score when each sample was last seen."""
        return LabelEstimate(self.context.one_hot_labels().float(), self.context.store["score"])
