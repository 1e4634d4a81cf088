"""JS and GJS: the Jensen-Shannon divergence of the label and one prediction, or of the label and two views'.

Englesson & Azizpour, NeurIPS 2021 (arXiv 2105.04522), after the released code.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.methods.base import Method, StepOutput
from noisybench.methods.settings.gjs import JSSettings

LEAST = 1e-7  # of the mean's entries, as released


def jensen_shannon(logits: list[Tensor], labels: Tensor, label_weight: float, *, scaled: bool = True) -> Tensor:
    """Σ_k w_k KL(d_k ‖ m) over d = (e_y, p of each view), m = Σ_k w_k d_k (N). Gradients flow through m too.

    Args:
        logits: one N×C for each view; they share the weight 1 − w0 evenly.
        labels: N int64.
        label_weight: w0.
        scaled: divide by −(1 − w0) log(1 − w0), so that w0 → 0 is cross-entropy and w0 → 1 mean absolute error.
    """
    weight = (1 - label_weight) / len(logits)
    log_ps = [F.log_softmax(each, dim=1) for each in logits]
    mean = label_weight * F.one_hot(labels, logits[0].shape[1]) + weight * sum(log_p.exp() for log_p in log_ps)
    log_mean = mean.clamp_min(LEAST).log()
    divergence = -label_weight * log_mean.gather(1, labels[:, None])[:, 0]
    for log_p in log_ps:
        divergence = divergence + weight * (log_p.exp() * (log_p - log_mean)).sum(dim=1)
    return divergence / (-(1 - label_weight) * math.log1p(-label_weight)) if scaled else divergence


class JS(Method):
    """One view."""

    Settings = JSSettings
    settings: JSSettings

    def training_step(self, batch: Batch) -> StepOutput:
        logits = list(self.network(torch.cat(batch.views)).chunk(len(batch.views)))
        settings = self.settings
        loss = jensen_shannon(logits, batch.labels, settings.label_weight, scaled=settings.scaled).mean()
        self.context.step(loss, self.optimizer)
        return StepOutput(loss, logits[0])


class GJS(JS):
    """Two strong views: the divergence also asks them to agree."""

    views: ClassVar[tuple[str, ...]] = ("strong", "strong")
    forward_equivalents: float = 6.0
