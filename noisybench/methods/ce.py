"""Cross-entropy on the noisy labels: what every robust method is compared with."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.methods.base import Method


class CrossEntropy(Method):
    """Mean cross-entropy against the given labels."""

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(logits, batch.labels)
