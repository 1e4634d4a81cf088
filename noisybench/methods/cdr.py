"""CDR: only the weights that matter most for the loss follow their gradient; the others do nothing but decay.

Xia et al., ICLR 2021, after the released code.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisybench.data.loader import Batch
from noisybench.methods.base import Method
from noisybench.methods.mixmatch import linear_ramp
from noisybench.methods.settings.cdr import CDRSettings


def critical_gradients(weights: list[Tensor], gradients: list[Tensor], kept: float) -> list[Tensor]:
    """The gradients of the ⌊kept·n⌋ weights with the largest |w·g| among all n, those at the threshold too; else 0."""
    scores = torch.cat([(w * g).abs().reshape(-1) for w, g in zip(weights, gradients, strict=True)])
    # The small term undoes rounding: (1 - 0.9)·10 is 0.9999999999999998 in binary.
    count = min(max(math.floor(kept * len(scores) + 1e-9), 1), len(scores))
    threshold = scores.kthvalue(len(scores) - count + 1).values
    return [g * ((w * g).abs() >= threshold) for w, g in zip(weights, gradients, strict=True)]


class CDR(Method):
    """Cross-entropy; between the backward pass and the step, gradients of matrices and kernels are masked."""

    Settings = CDRSettings
    settings: CDRSettings
    needs: ClassVar[frozenset[str]] = frozenset({"noise_rate"})

    def build(self) -> None:
        super().build()
        self.tau: float = self.context.noise_rate if self.settings.rate is None else self.settings.rate
        self.held_back: float = 0.0

    def start_epoch(self, epoch: int) -> None:
        self.held_back = self.tau * linear_ramp(epoch, self.settings.ramp_epochs)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(logits, batch.labels)

    def before_step(self, parameters: list[nn.Parameter]) -> None:
        chosen = [parameter for parameter in parameters if parameter.ndim in (2, 4)]
        gradients = [parameter.grad for parameter in chosen if parameter.grad is not None]
        kept = 1 - self.held_back
        masked = critical_gradients([parameter.detach() for parameter in chosen], gradients, kept)
        for parameter, gradient in zip(chosen, masked, strict=True):
            parameter.grad = gradient * kept if self.settings.scale_kept else gradient
