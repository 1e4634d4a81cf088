"""Clean-only: cross-entropy on the meta set alone. What a method with clean data must beat to have used noisy data."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F

from noisybench.data.loader import Batch
from noisybench.methods.base import Method, StepOutput


class CleanOnly(Method):
    """One step on clean images for each noisy batch, so the number of steps is that of the other methods."""

    needs: ClassVar[frozenset[str]] = frozenset({"meta_set"})

    def training_step(self, batch: Batch) -> StepOutput:
        loss = F.cross_entropy(self.network(batch.meta_images), batch.meta_labels)
        self.context.step(loss, self.optimizer)
        return StepOutput(loss)
