"""JoCoR: two networks trained jointly, on the samples where both fit the label and agree with each other.

Wei et al., CVPR 2020, after the released code; the card names each departure.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.methods.base import StepOutput
from noisybench.methods.sample_selection import SampleSelection, kept_fraction
from noisybench.methods.settings.jocor import JoCoRSettings
from noisybench.methods.small_loss import small_loss_weights


class JoCoR(SampleSelection):
    """One loss, one small-loss selection and one optimizer for both networks."""

    Settings = JoCoRSettings
    settings: JoCoRSettings

    def training_step(self, batch: Batch) -> StepOutput:
        logits = [network(batch.images) for network in self.networks]
        losses = joint_losses(logits[0], logits[1], batch.labels, self.settings.co_lambda)
        weights = small_loss_weights(self.context.gather_rows(losses), self.forget_rate(batch.epoch))
        loss = self.context.weighted_mean(losses, self.context.my_rows(weights))
        self.context.step(loss, self.optimizers[0])
        return self.output(batch, loss, logits, {"kept_fraction": kept_fraction(weights)})

    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.context.make_optimizer(*self.networks)]


def joint_losses(logits1: Tensor, logits2: Tensor, labels: Tensor, co_lambda: float) -> Tensor:
    """(1 − λ)(CE1 + CE2) + λ(KL(p1‖p2) + KL(p2‖p1)) per sample (N); gradients flow through both networks everywhere.

    Args:
        logits1, logits2: N×C.
        labels: N int64.
        co_lambda: λ.
    """
    fit = F.cross_entropy(logits1, labels, reduction="none") + F.cross_entropy(logits2, labels, reduction="none")
    log_p1, log_p2 = F.log_softmax(logits1, dim=1), F.log_softmax(logits2, dim=1)
    # KL(p1‖p2) + KL(p2‖p1) = Σ_c (p1 − p2)(log p1 − log p2)
    disagreement = ((log_p1.exp() - log_p2.exp()) * (log_p1 - log_p2)).sum(dim=1)
    return (1 - co_lambda) * fit + co_lambda * disagreement
