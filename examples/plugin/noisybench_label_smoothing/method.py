"""Label smoothing: part of each given label's weight is spread over all classes.

Lukasik, Bhojanapalli, Menon & Kumar, ICML 2020 (arXiv 2003.02819): y ← (1 − α)·y + α/C.
"""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from noisybench.methods import Batch, Method, Settings


class LabelSmoothingSettings(Settings):
    """How much is spread."""

    smoothing: float = Field(default=0.1, ge=0, lt=1, description="α, the weight spread evenly over all C classes")


class LabelSmoothing(Method):
    """Mean cross-entropy against the smoothed labels."""

    Settings = LabelSmoothingSettings
    settings: LabelSmoothingSettings

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(logits, batch.labels, label_smoothing=self.settings.smoothing)
