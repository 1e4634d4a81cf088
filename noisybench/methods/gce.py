"""GCE, generalized cross-entropy, plain or truncated: from cross-entropy (q → 0) to mean absolute error (q = 1).

Zhang & Sabuncu, NeurIPS 2018.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.methods.base import Method, Settings
from noisybench.methods.losses import generalized_cross_entropy
from noisybench.spec.track import Counts, Epochs


class GCESettings(Settings):
    q: float = Field(default=0.7, gt=0.0, le=1.0, description="0 would be cross-entropy, 1 is mean absolute error")
    prune_from: Annotated[int | None, Counts("epochs")] = Field(
        default=None, ge=1, description="truncated loss: epoch of the first pruning"
    )
    prune_every: Epochs = Field(default=10, ge=1, description="truncated loss: epochs between two prunings")
    threshold: float = Field(default=0.5, gt=0.0, lt=1.0, description="k: samples with p_y at or below it are pruned")


class GCE(Method):
    """L_q of the given label; truncated, pruned samples take the constant L_q(k) instead and so have no gradient."""

    Settings = GCESettings
    settings: GCESettings

    def build(self) -> None:
        super().build()
        self.context.store.add("kept", torch.ones(len(self.context.given_labels), dtype=self.context.dtype))

    def start_epoch(self, epoch: int) -> None:
        first = self.settings.prune_from
        if first is None or epoch < first or (epoch - first) % self.settings.prune_every:
            return
        given = self.context.given_labels
        self.set_mode(training=False)
        p_given = self.context.full_pass(lambda images, index: self._probabilities(images, given[index]))
        self.set_mode(training=True)
        everyone = torch.arange(len(given), device=given.device)
        self.context.store.write("kept", everyone, p_given > self.settings.threshold)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        q, k = self.settings.q, self.settings.threshold
        kept = self.context.store.read("kept", batch.index)
        losses = generalized_cross_entropy(logits, batch.labels, q)
        return (kept * losses + (1 - kept) * (1 - k**q) / q).mean()

    def _probabilities(self, images: Tensor, labels: Tensor) -> Tensor:
        """p_y (N)."""
        return self.network(images).softmax(dim=1).gather(1, labels[:, None])[:, 0]

    def epoch_logs(self) -> dict[str, float]:
        return {"kept_fraction": float(self.context.store["kept"].mean())}
