"""Fine-tuning: cross-entropy on the noisy labels, then on the meta set alone. The simplest use of clean data."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F

from noisybench.data.loader import Batch
from noisybench.methods.base import Method, StepOutput
from noisybench.methods.clean_only import clean_step
from noisybench.methods.settings.finetune import FineTuneSettings


class FineTune(Method):
    """One step per noisy batch throughout; in the last epochs the step is on clean images."""

    Settings = FineTuneSettings
    settings: FineTuneSettings
    needs: ClassVar[frozenset[str]] = frozenset({"meta_set"})

    def training_step(self, batch: Batch) -> StepOutput:
        if batch.epoch >= self.context.epochs - self.settings.finetune_epochs:
            return StepOutput(clean_step(self.network, self.optimizer, batch, self.context))
        logits = self.network(batch.images)
        loss = F.cross_entropy(logits, batch.labels)
        self.context.step(loss, self.optimizer)
        return StepOutput(loss, logits)
