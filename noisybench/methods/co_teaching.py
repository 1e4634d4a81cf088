"""Co-teaching: each network trains on the samples that the other finds easy.

Han et al., NeurIPS 2018 (arXiv 1804.06872), after the released code; the card names each departure.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.methods.base import StepOutput
from noisybench.methods.sample_selection import SampleSelection
from noisybench.methods.settings.co_teaching import CoTeachingSettings
from noisybench.methods.small_loss import forget_rate_exponent_on_tau


class CoTeaching(SampleSelection):
    """Two networks, one batch: each ranks it by its own loss and hands the smallest part to the other."""

    Settings = CoTeachingSettings
    settings: CoTeachingSettings

    def training_step(self, batch: Batch) -> StepOutput:
        logits, losses = self.forward(batch)
        ranking = losses if self.settings.variant == "published" else self._baseline_ranking(batch)
        loss, kept = self.exchange(losses, ranking, self.forget_rate(batch.epoch))
        return self.output(batch, loss, logits, {"kept_fraction": kept})

    def forget_rate(self, epoch: int) -> float:
        if self.settings.variant == "published":
            return super().forget_rate(epoch)
        return forget_rate_exponent_on_tau(epoch, self.tau, self.settings.ramp_epochs, self.settings.ramp_exponent)

    @torch.no_grad()
    def _baseline_ranking(self, batch: Batch) -> list[Tensor]:
        """Cross-entropy of softmax(logits), taken for logits, in eval mode: how the MSLG authors' baseline ranks."""
        self.set_mode(training=False)
        probabilities = [network(batch.images).softmax(dim=1) for network in self.networks]
        self.set_mode(training=True)
        return [F.cross_entropy(each, batch.labels, reduction="none") for each in probabilities]
