"""PENCIL: label distributions are parameters, trained by back-propagation beside the network.

Yi & Wu, CVPR 2019, after the authors' released code; the card names each departure.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.meta import soft_label_loss
from noisybench.methods.base import LabelEstimate, Method, StepOutput
from noisybench.methods.estimates import from_label_logits
from noisybench.methods.losses import entropy
from noisybench.methods.settings.pencil import PencilSettings


class Pencil(Method):
    """Phase 1 cross-entropy; phase 2 Lc + α·Lo + β·Le, moving network and labels; phase 3 Lc on frozen labels."""

    Settings = PencilSettings
    settings: PencilSettings

    def build(self) -> None:
        super().build()
        self.context.store.add("label_logits", self.context.one_hot_labels().mul_(self.settings.initial_gap))

    def training_step(self, batch: Batch) -> StepOutput:
        logits = self.network(batch.images)
        if batch.epoch < self.settings.warmup_epochs:
            loss = F.cross_entropy(logits, batch.labels)
            self.context.step(loss, self.optimizer)
            return StepOutput(loss, logits)
        label_logits = self.context.store.trainable("label_logits", batch.index)
        if batch.epoch >= self.settings.freeze_epoch:
            loss = soft_label_loss(logits, label_logits.detach())
            self.context.step(loss, self.optimizer)
            return StepOutput(loss, logits)
        loss = soft_label_loss(logits, label_logits)
        loss = loss + self.settings.compatibility_weight * self._compatibility(label_logits, batch.labels)
        loss = loss + self.settings.entropy_weight * entropy(logits)
        self.context.step(loss, self.optimizer)
        self.context.store.descend("label_logits", batch.index, label_logits, self.settings.label_lr)
        return StepOutput(loss, logits)

    def _compatibility(self, label_logits: Tensor, labels: Tensor) -> Tensor:
        """Lo, which keeps label distributions near the given labels."""
        released = self.settings.compatibility == "released"
        return F.cross_entropy(label_logits.softmax(dim=1) if released else label_logits, labels)

    def estimate_labels(self) -> LabelEstimate:
        """softmax of the label logits."""
        return from_label_logits(self.context.store["label_logits"], self.context.given_labels)
