"""SCE, symmetric cross-entropy (also SL): cross-entropy plus reverse cross-entropy.

Wang et al., ICCV 2019.
"""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.methods.base import Method, Settings
from noisybench.methods.losses import reverse_cross_entropy
from noisybench.spec.values import NonNegative


class SCESettings(Settings):
    alpha: NonNegative = Field(default=0.1, description="weight of the cross-entropy")
    beta: NonNegative = Field(default=1.0, description="weight of the reverse cross-entropy")
    label_clip: float = Field(default=1e-4, gt=0.0, lt=1.0, description="least value of a one-hot label's entries")
    double_softmax: bool = Field(
        default=False, description="the MSLG authors' baseline: predictions and clipped labels pass a further softmax"
    )


class SCE(Method):
    """α·CE + β·RCE."""

    Settings = SCESettings
    settings: SCESettings

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        alpha, beta, clip = self.settings.alpha, self.settings.beta, self.settings.label_clip
        if self.settings.double_softmax:
            p = logits.softmax(dim=1)
            clipped = F.one_hot(batch.labels, logits.shape[1]).to(logits.dtype).clamp_min(clip)
            reverse = -(p * clipped.log_softmax(dim=1)).sum(dim=1)
            return alpha * F.cross_entropy(p, batch.labels) + beta * reverse.mean()
        reverse = reverse_cross_entropy(logits, batch.labels, clip)
        return alpha * F.cross_entropy(logits, batch.labels) + beta * reverse.mean()
