"""Meta-Weight-Net: a small network maps a sample's loss to its weight, trained so that steps help on clean data.

Shu et al., NeurIPS 2019 (arXiv 1902.07379).
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisybench.data.loader import Batch
from noisybench.meta import InnerStep, MetaBatch, cross_entropy_dot, logits_again, look_ahead_tangent, noisy_forward
from noisybench.methods.base import Method, StepOutput
from noisybench.methods.settings.meta_weight_net import MetaWeightNetSettings


class MetaWeightNet(Method):
    """Look ahead on the weighted loss, move the weight network by the clean loss there, then train on new weights."""

    Settings = MetaWeightNetSettings
    settings: MetaWeightNetSettings
    needs: ClassVar[frozenset[str]] = frozenset({"meta_set"})
    looks_ahead: ClassVar[bool] = True
    forward_equivalents: float = 10.0

    def build(self) -> None:
        super().build()
        self.weight_network: nn.Module = self.context.make_module("weight-network", self._make_weight_network)
        self.weight_optimizer: torch.optim.Optimizer = torch.optim.Adam(
            self.weight_network.parameters(), lr=self.settings.weight_lr, weight_decay=self.settings.weight_decay
        )

    def _make_weight_network(self) -> nn.Module:
        hidden = self.settings.hidden
        return nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, 1), nn.Sigmoid())

    def weights(self, losses: Tensor) -> Tensor:
        """V of each sample's loss (N), in (0, 1)."""
        return self.weight_network(losses.detach()[:, None])[:, 0]

    def training_step(self, batch: Batch) -> StepOutput:
        forward = noisy_forward(self.network, batch.images, keep_outputs=True)
        losses = F.cross_entropy(forward.logits, batch.labels, reduction="none")
        weights = self.weights(losses)
        inner_lr = self.optimizer.param_groups[0]["lr"]
        ahead = look_ahead_tangent(
            self.network,
            forward,
            InnerStep((weights.detach() * losses).mean(), inner_lr, self.context.average),
            MetaBatch.labelled(*batch.meta, self.context.average_meta),
        )
        # dLm/dw_i = −α/N·<p_i − e_yi, ȯ_i>: descending this product's mean takes the chain rule through V.
        slopes = -inner_lr * cross_entropy_dot(forward.logits.detach(), ahead.logits_dot, batch.labels)
        self.context.step((slopes * weights).mean(), self.weight_optimizer)

        logits = logits_again(self.network, forward)
        losses = F.cross_entropy(logits, batch.labels, reduction="none")
        weights = self.weights(losses).detach()
        loss = (weights * losses).mean()
        self.context.step(loss, self.optimizer)
        return StepOutput(loss, logits, {"meta_loss": ahead.meta_loss, "mean_weight": weights.mean()})
