"""Clean-only: cross-entropy on the meta set alone. What a method with clean data must beat to have used noisy data."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisybench.data.loader import Batch
from noisybench.methods.base import Method, StepOutput
from noisybench.methods.context import Context


class CleanOnly(Method):
    """One step on clean images for each noisy batch, so the number of steps is that of the other methods."""

    needs: ClassVar[frozenset[str]] = frozenset({"meta_set"})

    def training_step(self, batch: Batch) -> StepOutput:
        return StepOutput(clean_step(self.network, self.optimizer, batch, self.context))


def clean_step(network: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, context: Context) -> Tensor:
    """One step on the mean cross-entropy over the global clean batch; the loss."""
    images, labels = batch.meta
    loss = F.cross_entropy(network(images), labels)
    context.step(loss, optimizer, share=context.meta_share)
    return loss
