"""A transition matrix from anchor points: the samples that a network is most sure of.

Patrini et al., CVPR 2017, section on estimating T, after the released code.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisybench.methods.base import Method

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


class WithAnchorPoints(Method):
    """T (C×C) is the identity for ``estimation_epochs`` epochs, and then read off the network's anchor points.

    A subclass's settings have ``estimation_epochs`` and ``filter_outliers``.
    """

    settings: Any

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
        self.transition.copy_(anchor_transition_matrix(probabilities, filter_outliers=self.settings.filter_outliers))
