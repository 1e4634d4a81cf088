"""Forward loss correction: predictions pass through the transition matrix before they meet the noisy labels.

Patrini et al., CVPR 2017. Two methods: the matrix estimated from anchor points, or given.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.methods.base import Method
from noisybench.methods.losses import forward_corrected
from noisybench.methods.settings.forward import ForwardSettings

OUTLIER_PERCENTILE = 97


def anchor_transition_matrix(probabilities: Tensor, *, filter_outliers: bool = True) -> Tensor:
    """T from anchor points (C×C, rows sum to 1): row i is the prediction for the sample that is most surely of class i.

    Patrini et al. 2017, section on estimating T, with the released code's filter: for class i, samples whose p_i is at
    or above its 97th percentile (the next higher order statistic) are set aside first.

    Args:
        probabilities: n×C, a trained network's predictions of noisy labels.
        filter_outliers: off in the released code for CIFAR-100.
    """
    candidates = probabilities
    if filter_outliers:
        highest = np.percentile(probabilities.cpu().numpy(), OUTLIER_PERCENTILE, axis=0, method="higher")
        highest = torch.from_numpy(highest).to(probabilities)
        candidates = torch.where(probabilities >= highest, 0.0, probabilities)
    rows = probabilities[candidates.argmax(dim=0)]
    return rows / rows.sum(dim=1, keepdim=True)


class ForwardOracle(Method):
    """−log (p T)_y with the train set's true transition matrix."""

    needs: ClassVar[frozenset[str]] = frozenset({"transition_matrix"})

    def build(self) -> None:
        super().build()
        self.transition: Tensor = self.context.transition_matrix

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        return forward_corrected(logits, batch.labels, self.transition).mean()


class Forward(Method):
    """Cross-entropy first (T = I), then T from that network's anchor points, then a fresh network on −log (p T)_y."""

    Settings = ForwardSettings
    settings: ForwardSettings

    def build(self) -> None:
        super().build()
        context = self.context
        self.transition: Tensor = torch.eye(context.num_classes, dtype=context.dtype, device=context.device)

    def start_epoch(self, epoch: int) -> None:
        if epoch != self.settings.estimation_epochs:
            return
        self.set_mode(training=False)
        probabilities = self.context.full_pass(lambda images, index: self.network(images).softmax(dim=1))
        self.set_mode(training=True)
        estimate = anchor_transition_matrix(probabilities, filter_outliers=self.settings.filter_outliers)
        self.transition.copy_(estimate)
        self.context.restart(self.network, self.optimizer)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        return forward_corrected(logits, batch.labels, self.transition).mean()
