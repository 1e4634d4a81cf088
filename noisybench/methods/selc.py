"""SELC, self-ensemble label correction: labels drift from the given one to the mean of the network's predictions.

Lu & He, IJCAI 2022, after the released code (SELC; SELC+ trains a second network on the result).
"""

from __future__ import annotations

import torch.nn.functional as F

from noisybench.data.loader import Batch
from noisybench.methods.base import LabelEstimate, Method, StepOutput
from noisybench.methods.estimates import from_soft_labels
from noisybench.methods.losses import soft_cross_entropy
from noisybench.methods.settings.selc import SELCSettings


class SELC(Method):
    """Cross-entropy first; then s ← α·s + (1 − α)·p at each visit, and cross-entropy against s."""

    Settings = SELCSettings
    settings: SELCSettings

    def build(self) -> None:
        super().build()
        self.context.store.add("soft_labels", self.context.one_hot_labels())

    def training_step(self, batch: Batch) -> StepOutput:
        logits = self.network(batch.images)
        if batch.epoch < self.settings.warmup_epochs:
            loss = F.cross_entropy(logits, batch.labels)
        else:
            store, alpha = self.context.store, self.settings.momentum
            soft_labels = alpha * store.read("soft_labels", batch.index)
            soft_labels = soft_labels + (1 - alpha) * logits.detach().softmax(dim=1)
            store.write("soft_labels", batch.index, soft_labels)
            loss = soft_cross_entropy(logits, soft_labels).mean()
        self.context.step(loss, self.optimizer)
        return StepOutput(loss, logits)

    def estimate_labels(self) -> LabelEstimate:
        """The soft labels s."""
        return from_soft_labels(self.context.store["soft_labels"], self.context.given_labels)
