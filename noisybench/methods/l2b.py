"""L2B, Learning to Bootstrap: weigh each sample's given label against the network's own prediction, on clean data.

Zhou et al., CVPR 2024 (arXiv 2202.04291).
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from noisybench.data.loader import Batch
from noisybench.meta import cross_entropy_dot, functional_logits, logits_along, noisy_forward
from noisybench.methods.base import Method, StepOutput
from noisybench.methods.l2r import positive_shares
from noisybench.methods.optimizers import weights_after_step
from noisybench.methods.settings.l2b import L2BSettings


class L2B(Method):
    """Two weights per sample, one for its given label and one for the predicted one, made as L2R makes one."""

    Settings = L2BSettings
    settings: L2BSettings
    needs: ClassVar[frozenset[str]] = frozenset({"meta_set"})
    looks_ahead: ClassVar[bool] = True
    forward_equivalents: float = 8.0

    def training_step(self, batch: Batch) -> StepOutput:
        if batch.epoch < self.settings.warmup_epochs:
            logits = self.network(batch.images)
            loss = F.cross_entropy(logits, batch.labels)
            self.context.step(loss, self.optimizer, before_step=self.before_step)
            return StepOutput(loss, logits)
        forward = noisy_forward(self.network, batch.images, keep_outputs=True)
        # Momentum and weight decay still act on a gradient of zero.
        nothing = [torch.zeros_like(weight) for weight in forward.weights.values()]
        ahead = weights_after_step(self.optimizer, forward.weights, nothing)
        meta_images, meta_labels = batch.meta
        meta_loss = F.cross_entropy(functional_logits(self.network, ahead, meta_images), meta_labels)
        gradients = torch.autograd.grad(meta_loss, list(ahead.values()), materialize_grads=True)
        *averaged, meta_loss = self.context.average_meta([*gradients, meta_loss.detach()])
        v = dict(zip(ahead, averaged, strict=True))
        logits, logits_dot = forward.logits.detach(), logits_along(self.network, forward, v)
        candidates = torch.stack([batch.labels, logits.argmax(dim=1)], dim=1)
        helps = torch.stack([cross_entropy_dot(logits, logits_dot, labels) for labels in candidates.T], dim=1)
        weights = positive_shares(helps, self.context)
        losses = torch.stack([F.cross_entropy(forward.logits, y, reduction="none") for y in candidates.T], dim=1)
        loss = self.context.weighted_mean(losses.flatten(), weights.flatten())
        self.context.step(loss, self.optimizer, before_step=self.before_step)
        logs = {"meta_loss": meta_loss, "weight_of_given": self.context.weighted_mean(weights[:, 0], 1.0)}
        return StepOutput(loss, forward.logits, logs)

    def before_step(self, parameters: list[nn.Parameter]) -> None:
        if self.settings.clip_norm:
            nn.utils.clip_grad_norm_(parameters, self.settings.clip_norm)
