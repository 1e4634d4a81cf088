"""Joint optimization: labels become the mean of the network's recent predictions; a fresh network trains on them.

Tanaka et al., CVPR 2018, after the authors' released code.
"""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.methods.base import LabelEstimate, Method, Settings, StepOutput
from noisybench.methods.estimates import from_soft_labels
from noisybench.methods.losses import prior_penalty, soft_cross_entropy
from noisybench.spec.track import Epochs
from noisybench.spec.values import NonNegative


class JointSettings(Settings):
    first_stage_epochs: Epochs = Field(
        default=200, ge=1, description="then labels are frozen and a fresh network starts"
    )
    label_start: Epochs = Field(default=70, ge=1, description="first epoch on estimated labels")
    window: Epochs = Field(default=10, ge=1, description="epochs whose predictions a label averages")
    prior_weight: NonNegative = Field(default=1.2, description="α, of KL(uniform ‖ batch-mean prediction)")
    entropy_weight: NonNegative = Field(default=0.8, description="β, of the mean entropy of predictions")
    double_softmax_entropy: bool = Field(
        default=False, description="the MSLG authors' baseline: a further softmax inside the entropy's logarithm"
    )


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
