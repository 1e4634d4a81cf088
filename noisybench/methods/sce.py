"""SCE, symmetric cross-entropy (also SL): cross-entropy plus reverse cross-entropy.

Wang et al., ICCV 2019.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.methods.base import Method
from noisybench.methods.losses import reverse_cross_entropy
from noisybench.methods.settings.sce import SCESettings


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
