"""Joint optimization: labels become the mean of the network's recent predictions; a fresh network trains on them.

Tanaka et al., CVPR 2018, after the authors' released code.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.methods.base import LabelEstimate, Method, StepOutput
from noisybench.methods.estimates import from_soft_labels
from noisybench.methods.losses import prior_penalty, soft_cross_entropy
from noisybench.methods.settings.joint import JointSettings


class Joint(Method):
    """Two stages. Labels average the predictions of the last epochs as training made them: augmented, train mode."""

    Settings = JointSettings
    settings: JointSettings

    def build(self) -> None:
        super().build()
        given = self.context.one_hot_labels()
        self.context.store.add("predictions", given[:, None].expand(-1, self.settings.window, -1))

    def start_epoch(self, epoch: int) -> None:
        if epoch == self.settings.first_stage_epochs:
            self.context.restart(self.network, self.optimizer)

    def training_step(self, batch: Batch) -> StepOutput:
        logits = self.network(batch.images)
        predictions = self.context.store.read("predictions", batch.index)
        if batch.epoch < self.settings.label_start:
            loss = F.cross_entropy(logits, batch.labels)
        else:
            # A sample is visited once an epoch, so before this visit the ring holds the epochs before this one.
            loss = soft_cross_entropy(logits, predictions.mean(dim=1)).mean()
        if batch.epoch < self.settings.first_stage_epochs:
            loss = loss + self._penalties(logits)
            predictions[:, batch.epoch % self.settings.window] = logits.detach().softmax(dim=1)
            self.context.store.write("predictions", batch.index, predictions)
        self.context.step(loss, self.optimizer)
        return StepOutput(loss, logits)

    def _penalties(self, logits: Tensor) -> Tensor:
        """α·L_p + β·L_e."""
        p = logits.softmax(dim=1)
        mean_entropy = soft_cross_entropy(p if self.settings.double_softmax_entropy else logits, p).mean()
        prior = prior_penalty(self.context.global_mean(p.mean(dim=0)))
        return self.settings.prior_weight * prior + self.settings.entropy_weight * mean_entropy

    def estimate_labels(self) -> LabelEstimate:
        """The mean over the ring; the given label stands in for epochs not run yet."""
        return from_soft_labels(self.context.store["predictions"].mean(dim=1), self.context.given_labels)
