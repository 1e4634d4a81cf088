"""GCE, generalized cross-entropy, plain or truncated: from cross-entropy (q → 0) to mean absolute error (q = 1).

Zhang & Sabuncu, NeurIPS 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.methods.base import Method
from noisybench.methods.losses import generalized_cross_entropy
from noisybench.methods.settings.gce import GCESettings


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
