"""PENCIL: label distributions are parameters, trained by back-propagation beside the network.

Yi & Wu, CVPR 2019, after the authors' released code; the card names each departure.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.meta import soft_label_loss
from noisybench.methods.base import LabelEstimate, Method, Settings, StepOutput
from noisybench.methods.estimates import from_label_logits
from noisybench.methods.losses import entropy
from noisybench.spec.track import Epochs
from noisybench.spec.values import NonNegative, Positive


class PencilSettings(Settings):
    warmup_epochs: Epochs = Field(default=70, ge=0, description="phase 1: cross-entropy, labels as given")
    freeze_epoch: Epochs = Field(default=200, ge=0, description="first epoch of phase 3: labels are frozen")
    compatibility_weight: NonNegative = Field(default=0.4, description="α")
    entropy_weight: NonNegative = Field(default=0.1, description="β")
    label_lr: NonNegative = Field(default=600.0, description="λ, the labels' step")
    initial_gap: Positive = Field(default=10.0, description="K: label logits start at K times the one-hot label")
    compatibility: Literal["released", "published"] = Field(
        default="released", description="released: cross-entropy takes the label distribution itself for logits"
    )


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
        label_logits = self.context.store.read("label_logits", batch.index)
        if batch.epoch >= self.settings.freeze_epoch:
            loss = soft_label_loss(logits, label_logits)
            self.context.step(loss, self.optimizer)
            return StepOutput(loss, logits)
        label_logits.requires_grad_()
        loss = soft_label_loss(logits, label_logits)
        loss = loss + self.settings.compatibility_weight * self._compatibility(label_logits, batch.labels)
        loss = loss + self.settings.entropy_weight * entropy(logits)
        self.context.step(loss, self.optimizer)
        # The loss is a mean over this process's rows; λ is meant for the mean over the whole batch.
        label_step = self.settings.label_lr * len(batch.index) / batch.global_size
        assert label_logits.grad is not None  # the loss depends on them
        self.context.store.write("label_logits", batch.index, label_logits - label_step * label_logits.grad)
        return StepOutput(loss, logits)

    def _compatibility(self, label_logits: Tensor, labels: Tensor) -> Tensor:
        """Lo, which keeps label distributions near the given labels."""
        released = self.settings.compatibility == "released"
        return F.cross_entropy(label_logits.softmax(dim=1) if released else label_logits, labels)

    def estimate_labels(self) -> LabelEstimate:
        """softmax of the label logits."""
        return from_label_logits(self.context.store["label_logits"], self.context.given_labels)
