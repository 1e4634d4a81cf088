"""Label smoothing, and negative label smoothing, which makes labels sharper than one-hot.

Wei et al., ICML 2022 (arXiv 2106.04149): one loss, (1 − r)·CE + r·mean_c −log p_c, with r of either sign.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.methods.base import Method
from noisybench.methods.losses import mean_over_labels
from noisybench.methods.settings.label_smoothing import NegativeSmoothingSettings, SmoothingSettings


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, rate: float) -> Tensor:
    """(1 − r)·CE + r·mean_c −log p_c (N), for any r ≤ 1; not bounded below for r < 0."""
    return (1 - rate) * F.cross_entropy(logits, labels, reduction="none") + rate * mean_over_labels(logits)


class LabelSmoothing(Method):
    """Smoothed labels throughout."""

    Settings = SmoothingSettings
    settings: SmoothingSettings

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        return smoothed_cross_entropy(logits, batch.labels, self.settings.rate).mean()


class NegativeLabelSmoothing(Method):
    """Cross-entropy first, then a negative rate."""

    Settings = NegativeSmoothingSettings
    settings: NegativeSmoothingSettings

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        rate = 0.0 if batch.epoch < self.settings.warmup_epochs else self.settings.rate
        return smoothed_cross_entropy(logits, batch.labels, rate).mean()
