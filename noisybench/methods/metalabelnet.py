"""MetaLabelNet: a linear layer on frozen features makes soft labels, trained so that steps on them help on clean data.

Algan & Ulusoy, 2021 (arXiv 2103.10869), the follow-up of MSLG: labels are a function of the image, not a table.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from noisybench.data.loader import Batch
from noisybench.meta import (
    InnerStep,
    MetaBatch,
    label_direction,
    logits_again,
    look_ahead_tangent,
    noisy_forward,
    soft_label_loss,
)
from noisybench.methods.base import LabelEstimate, Method, StepOutput
from noisybench.methods.ema import frozen_copy
from noisybench.methods.mslg import entropy
from noisybench.methods.settings.metalabelnet import MetaLabelNetSettings


class MetaLabelNet(Method):
    """Warm up with cross-entropy, then move the label layer by the meta-gradient and train on the labels it gives."""

    Settings = MetaLabelNetSettings
    settings: MetaLabelNetSettings
    needs: ClassVar[frozenset[str]] = frozenset({"meta_set"})
    looks_ahead: ClassVar[bool] = True
    forward_equivalents: float = 11.0  # MSLG's 10 and the encoder

    def build(self) -> None:
        super().build()
        self.encoder: nn.Module = frozen_copy(self.network)
        features = self.context.num_features(self.network)
        self.label_layer: nn.Linear = self.context.make_module(
            "label-layer", lambda: nn.Linear(features, self.context.num_classes)
        )
        self.label_optimizer: torch.optim.Optimizer = torch.optim.Adam(
            self.label_layer.parameters(), lr=self.settings.label_lr, weight_decay=self.settings.label_decay
        )
        self.context.store.add("soft_labels", self.context.one_hot_labels())

    def start_epoch(self, epoch: int) -> None:
        if epoch == self.settings.warmup_epochs:
            self.encoder.load_state_dict(self.network.state_dict())

    def set_mode(self, *, training: bool) -> None:
        super().set_mode(training=training)
        self.encoder.eval()

    def training_step(self, batch: Batch) -> StepOutput:
        if batch.epoch < self.settings.warmup_epochs:
            logits = self.network(batch.images)
            loss = F.cross_entropy(logits, batch.labels)
            self.context.step(loss, self.optimizer)
            return StepOutput(loss, logits)
        floor = self.settings.label_floor
        forward = noisy_forward(self.network, batch.images, keep_outputs=True)
        with torch.no_grad():
            features = self.context.features(self.encoder, batch.images)
        label_logits = self.label_layer(features)
        ahead = look_ahead_tangent(
            self.network,
            forward,
            InnerStep(
                soft_label_loss(forward.logits, label_logits.detach(), floor),
                self.settings.inner_lr,
                self.context.average,
            ),
            MetaBatch.labelled(*batch.meta, self.context.average_meta),
        )
        # ∂Lm/∂ℓ = α/(N·C)·direction: descending this product's mean takes the chain rule through the label layer.
        direction = label_direction(forward.logits.detach(), ahead.logits_dot, label_logits.detach(), floor)
        self.context.step(self.settings.inner_lr * (direction * label_logits).mean(), self.label_optimizer)

        label_logits = self.label_layer(features).detach()
        self.context.store.write("soft_labels", batch.index, label_logits.softmax(dim=1))
        logits = logits_again(self.network, forward)
        loss = soft_label_loss(logits, label_logits, floor) + self.settings.entropy_weight * entropy(logits)
        self.context.step(loss, self.optimizer)
        return StepOutput(loss, logits, {"meta_loss": ahead.meta_loss})

    def estimate_labels(self) -> LabelEstimate:
        """The label each sample was last trained on; suspicion is the probability that the given one is wrong."""
        soft_labels = self.context.store["soft_labels"]
        given = self.context.given_labels[:, None]
        return LabelEstimate(soft_labels.float(), 1 - soft_labels.gather(1, given)[:, 0])
