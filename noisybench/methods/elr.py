"""ELR, early-learning regularization: predictions are held near a running mean of earlier predictions.

Liu et al., NeurIPS 2020, after the authors' released code (ELR, not ELR+).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from noisybench.data.loader import Batch
from noisybench.methods.base import LabelEstimate, Method, StepOutput
from noisybench.methods.estimates import from_soft_labels
from noisybench.methods.losses import clipped_probabilities, early_learning_regularizer
from noisybench.methods.settings.elr import ELRSettings


class ELR(Method):
    """Move the batch's targets, t ← β·t + (1 − β)·p, then descend CE + λ·mean log(1 − ⟨t, p⟩)."""

    Settings = ELRSettings
    settings: ELRSettings

    def build(self) -> None:
        super().build()
        shape = (len(self.context.given_labels), self.context.num_classes)
        self.context.store.add("targets", torch.zeros(shape, dtype=self.context.dtype))

    def training_step(self, batch: Batch) -> StepOutput:
        logits = self.network(batch.images)
        beta, store = self.settings.beta, self.context.store
        p = clipped_probabilities(logits.detach())
        targets = beta * store.read("targets", batch.index) + (1 - beta) * p / p.sum(dim=1, keepdim=True)
        store.write("targets", batch.index, targets)
        regularizer = early_learning_regularizer(logits, targets).mean()
        loss = F.cross_entropy(logits, batch.labels) + self.settings.regularizer_weight * regularizer
        self.context.step(loss, self.optimizer)
        return StepOutput(loss, logits, {"regularizer": regularizer})

    def estimate_labels(self) -> LabelEstimate:
        """Targets scaled to sum 1 (they start at 0); the given label where a sample was never visited."""
        targets, given = self.context.store["targets"], self.context.given_labels
        mass = targets.sum(dim=1, keepdim=True)
        one_hot = F.one_hot(given, self.context.num_classes).to(targets.dtype)
        return from_soft_labels(torch.where(mass > 0, targets / mass, one_hot), given)
