"""Importance reweighting by a transition matrix, and T-Revision, which then learns what is wrong with the matrix.

Xia et al., NeurIPS 2019 (T-Revision; reweighting after Liu & Tao 2016), after the released code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisybench.data.loader import Batch
from noisybench.methods.anchor_points import WithAnchorPoints
from noisybench.methods.base import StepOutput
from noisybench.methods.settings.t_revision import ReweightSettings, TRevisionSettings


def importance(logits: Tensor, labels: Tensor, transition: Tensor) -> Tensor:
    """b = p_y/(p T)_y (N): how much likelier the label is if it is clean.

    Args:
        logits: N×C.
        labels: N int64.
        transition: T, C×C for all or N×C×C for each.
    """
    p = logits.softmax(dim=1)
    given = (p[:, None] @ transition)[:, 0].gather(1, labels[:, None])[:, 0]
    return p.gather(1, labels[:, None])[:, 0] / given


class Reweight(WithAnchorPoints):
    """Cross-entropy, T from that network's anchor points, then the same network on b·CE with b without gradient."""

    Settings = ReweightSettings
    settings: ReweightSettings

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        weights = importance(logits, batch.labels, self.transition).detach()
        return (weights * F.cross_entropy(logits, batch.labels, reduction="none")).mean()


class TRevision(Reweight):
    """Reweighting, and at last ΔT: b = p_y/(p (T + ΔT))_y with gradient, T + ΔT neither scaled nor clipped."""

    Settings = TRevisionSettings
    settings: TRevisionSettings

    def build(self) -> None:
        super().build()
        classes = self.context.num_classes
        self.revision: nn.Linear = self.context.make_module("revision", lambda: nn.Linear(classes, classes, bias=False))
        nn.init.zeros_(self.revision.weight)
        self.revision_optimizer: torch.optim.Optimizer = torch.optim.Adam(
            [*self.network.parameters(), *self.revision.parameters()], lr=self.settings.revision_lr
        )

    def training_step(self, batch: Batch) -> StepOutput:
        if batch.epoch < self.settings.revision_epoch:
            return super().training_step(batch)
        logits = self.network(batch.images)
        loss = self.revised_loss(logits, batch)
        self.context.step(loss, self.revision_optimizer)
        return StepOutput(loss, logits)

    def revised_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """mean b·CE, for all of b's gradients."""
        transition = self.transition + self.revision.weight
        if self.settings.add_per_sample:
            numbers = torch.arange(1, batch.global_size + 1, device=logits.device)
            times = self.context.my_rows(numbers)[:, None, None]
            transition = self.transition + times * self.revision.weight
        losses = F.cross_entropy(logits, batch.labels, reduction="none")
        return (importance(logits, batch.labels, transition) * losses).mean()
