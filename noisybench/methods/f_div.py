"""Robust f-divergence: maximise the divergence between pairs of image and given label and pairs of independent ones.

Wei & Liu, ICLR 2021 (arXiv 2011.03687), after the released code.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.methods.base import StepOutput
from noisybench.methods.peer import WithPeers
from noisybench.methods.settings.f_div import FDivSettings

# g of the joint pairs and f* of the independent ones; p itself is the variational function, as released.
PARTS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "total-variation": (lambda x: x.tanh() / 2, lambda z: z.tanh() / 2),
    "jensen-shannon": (lambda x: math.log(2) - F.softplus(-x), lambda z: z + F.softplus(-z) - math.log(2)),
    "pearson": (lambda x: x, lambda z: z.square() / 4 + z),
    "kl": (lambda x: x, lambda z: (z - 1).exp()),
}


def given_probability(logits: Tensor, labels: Tensor) -> Tensor:
    """p_y (N)."""
    return logits.softmax(dim=1).gather(1, labels[:, None])[:, 0]


class FDiv(WithPeers):
    """Cross-entropy first; then −mean g(p_y) + mean f*(p_y of the peers)."""

    Settings = FDivSettings
    settings: FDivSettings

    def start_epoch(self, epoch: int) -> None:
        if self.settings.forget_momentum and epoch >= self.settings.warmup_epochs:
            self.optimizer.state.clear()

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Of the first epochs."""
        return F.cross_entropy(logits, batch.labels)

    def training_step(self, batch: Batch) -> StepOutput:
        if batch.epoch < self.settings.warmup_epochs:
            return super().training_step(batch)
        logits, peers, labels = self.with_peers(batch)
        joint, independent = PARTS[self.settings.divergence]
        gain = self.mean_of(joint(given_probability(logits, batch.labels)), batch, batch)
        loss = self.mean_of(independent(given_probability(peers, labels)), batch.paired, batch) - gain
        self.context.step(loss, self.optimizer, self.share_of(batch))
        return StepOutput(loss, logits)
