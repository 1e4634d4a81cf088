"""VolMinNet: a transition matrix is trained with the network, held to the least volume that still explains the labels.

Li, Liu, Han, Niu & Sugiyama, ICML 2021 (arXiv 2102.02400), after the released code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from noisybench.data.loader import Batch
from noisybench.methods.base import Method, StepOutput
from noisybench.methods.losses import forward_corrected
from noisybench.methods.settings.volminnet import VolMinNetSettings


class TransitionMatrix(nn.Module):
    """T: 1 on the diagonal and sigmoid(w) off it, each row scaled to sum 1. No anchor points are needed."""

    def __init__(self, num_classes: int, start: float):
        super().__init__()
        self.w = nn.Parameter(torch.full((num_classes, num_classes), start))

    def forward(self) -> Tensor:
        """T, C×C."""
        identity = torch.eye(len(self.w), dtype=self.w.dtype, device=self.w.device)
        scores = identity + (1 - identity) * self.w.sigmoid()
        return scores / scores.sum(dim=1, keepdim=True)


class VolMinNet(Method):
    """−log (p T)_y + λ·log |det T|: one backward pass, two optimizers."""

    Settings = VolMinNetSettings
    settings: VolMinNetSettings

    def build(self) -> None:
        super().build()
        classes, start = self.context.num_classes, self.settings.start
        self.matrix: nn.Module = self.context.make_module("transition", lambda: TransitionMatrix(classes, start))
        weights, lr = self.matrix.parameters(), self.settings.matrix_lr
        adam = self.settings.matrix_optimizer == "adam"
        self.matrix_optimizer: torch.optim.Optimizer = (
            torch.optim.Adam(weights, lr=lr) if adam else torch.optim.SGD(weights, lr=lr, momentum=0.9)
        )
        self.context.follow_schedule(self.matrix_optimizer)

    def training_step(self, batch: Batch) -> StepOutput:
        logits = self.network(batch.images)
        loss = self.loss(logits, batch)
        loss.backward()
        self.context.apply_gradients(self.optimizer)
        self.context.apply_gradients(self.matrix_optimizer)
        return StepOutput(loss, logits)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        transition = self.matrix()
        volume = torch.linalg.slogdet(transition).logabsdet
        return forward_corrected(logits, batch.labels, transition).mean() + self.settings.volume_weight * volume

    def epoch_logs(self) -> dict[str, float]:
        """The mean of T's diagonal: how much of the labels it holds for right."""
        with torch.no_grad():
            return {"mean_diagonal": float(self.matrix().diagonal().mean())}
