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
        loss = clean_loss(self.network, batch, self.context)
        self.context.step(loss, self.optimizer)
        return StepOutput(loss)


def clean_loss(network: nn.Module, batch: Batch, context: Context) -> Tensor:
    """Mean cross-entropy over the global clean batch, as a loss of this process.

    The context weighs processes by their noisy rows, and a last, smaller batch may share those out in other
    proportions than the clean rows: so each clean row is given its weight here.
    """
    losses = F.cross_entropy(network(batch.meta_images), batch.meta_labels, reduction="none")
    global_rows = len(context.gather_rows(batch.meta_labels))
    return context.weighted_mean(losses, torch.full_like(losses, 1 / global_rows))
