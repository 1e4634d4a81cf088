"""Backward correction: the losses of all labels, weighed by the inverse of the transition matrix.

Patrini et al., CVPR 2017, after the released code.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.methods.forward import Forward

LEAST = 1e-7  # of a probability, as released: the loss has no lower bound


def backward_corrected(logits: Tensor, labels: Tensor, inverse: Tensor) -> Tensor:
    """Σ_c (T⁻¹)_yc · −log p_c (N): its mean over the noise is the loss of the clean label.

    Args:
        logits: o, N×C.
        labels: N int64.
        inverse: T⁻¹, C×C.
    """
    losses = -F.log_softmax(logits, dim=1).clamp_min(math.log(LEAST))
    return (inverse.to(losses.dtype)[labels] * losses).sum(dim=1)


class Backward(Forward):
    """As forward correction: cross-entropy, T from anchor points, then a fresh network, on the corrected loss."""

    def build(self) -> None:
        super().build()
        self.inverse: Tensor = self.transition.clone()

    def start_epoch(self, epoch: int) -> None:
        super().start_epoch(epoch)
        if epoch == self.settings.estimation_epochs:
            self.inverse.copy_(torch.linalg.pinv(self.transition))  # the inverse, where there is one

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        return backward_corrected(logits, batch.labels, self.inverse).mean()
