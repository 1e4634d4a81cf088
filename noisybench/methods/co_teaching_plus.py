"""Co-teaching+: co-teaching among the samples on which the two networks disagree.

Yu et al., ICML 2019, after the released code; the card names each departure.
"""

from __future__ import annotations

import torch
from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.methods.base import StepOutput
from noisybench.methods.sample_selection import SampleSelection
from noisybench.methods.settings.co_teaching_plus import CoTeachingPlusSettings


class CoTeachingPlus(SampleSelection):
    """Small-loss exchange among the samples whose predicted classes differ."""

    Settings = CoTeachingPlusSettings
    settings: CoTeachingPlusSettings

    def training_step(self, batch: Batch) -> StepOutput:
        logits, losses = self.forward(batch)
        differ = self.context.gather_rows(disagreement(*logits))
        candidates, rate = self._candidates(differ, batch.epoch, batch.step)
        loss, kept = self.exchange(losses, losses, rate, candidates)
        logs = {"kept_fraction": kept, "disagreement": differ.to(loss.dtype).mean()}
        return self.output(batch, loss, logits, logs)

    def _candidates(self, differ: Tensor, epoch: int, step: int) -> tuple[Tensor | None, float]:
        """Who may be chosen of the global batch (None: everybody), and the forget rate among them."""
        rate = self.forget_rate(epoch)
        if epoch < self.settings.init_epochs:
            return None, rate
        if not differ.any() and step < self.settings.agreement_steps:
            return None, 0.0
        return differ, rate


def disagreement(logits1: Tensor, logits2: Tensor) -> Tensor:
    """Where two networks' predicted classes differ (N bool)."""
    return torch.ne(logits1.argmax(dim=1), logits2.argmax(dim=1))
