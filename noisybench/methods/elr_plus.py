"""ELR+: two networks with mixup, each held near targets that come from the other's exponential moving average.

Liu et al., NeurIPS 2020 (arXiv 2007.00151), after the authors' released code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisybench.data.loader import Batch, Pass
from noisybench.methods.base import LabelEstimate, StepOutput
from noisybench.methods.ema import frozen_copy, update_ema
from noisybench.methods.estimates import from_soft_labels
from noisybench.methods.losses import early_learning_regularizer, soft_cross_entropy
from noisybench.methods.mixmatch import gaussian_ramp, mixup
from noisybench.methods.settings.elr_plus import ELRPlusSettings
from noisybench.methods.two_networks import TwoNetworks


class ELRPlus(TwoNetworks):
    """An epoch trains the first network, then the second one."""

    Settings = ELRPlusSettings
    settings: ELRPlusSettings
    forward_equivalents: float = 8.0

    def build(self) -> None:
        super().build()
        self.averages: list[nn.Module] = [frozen_copy(network) for network in self.networks]
        self.steps: list[int] = [0, 0]
        shape = (len(self.context.given_labels), 2, self.context.num_classes)
        self.context.store.add("targets", torch.zeros(shape, dtype=self.context.dtype))

    def epoch_plan(self, epoch: int) -> list[Pass]:
        return [Pass(tag=0), Pass(tag=1)]

    def training_step(self, batch: Batch) -> StepOutput:
        number, context = batch.tag, self.context
        with torch.no_grad():  # in train mode, on the batch's own statistics, as released
            seen = self.averages[1 - number](batch.images).softmax(dim=1)
        targets = self._move_targets(batch, seen)
        # The given labels and the targets are blended alike: they go through mixup side by side.
        both = torch.cat([F.one_hot(batch.labels, context.num_classes).to(targets.dtype), targets], dim=1)
        images, mixed = mixup(context, [batch.images], [both], self.settings.mixup_alpha, batch.epoch, batch.step)
        labels, targets = mixed[0].chunk(2, dim=1)
        logits = self.networks[number](images[0])
        loss = self.mixed_loss(logits, labels, targets, self.steps[number])
        context.step(loss, self.optimizers[number])
        self.steps[number] += 1
        update_ema(self.averages[number], self.networks[number], self.decay(self.steps[number]))
        return StepOutput(loss)

    def _move_targets(self, batch: Batch, seen: Tensor) -> Tensor:
        """t ← β·t + (1 − β)·p of the other network's average, for the batch's rows (N×C)."""
        targets = self.context.store.read("targets", batch.index)
        moved = self.settings.beta * targets[:, batch.tag] + (1 - self.settings.beta) * seen
        targets[:, batch.tag] = moved
        self.context.store.write("targets", batch.index, targets)
        return moved

    def mixed_loss(self, logits: Tensor, labels: Tensor, targets: Tensor, step: int) -> Tensor:
        """Cross-entropy against the mixed labels, and the regulariser with the mixed targets (a scalar).

        Args:
            logits: N×C, of mixed images.
            labels, targets: N×C, mixed alike.
            step: of this network, counted from 0: the regulariser's ramp.
        """
        if self.settings.fit_to_targets:
            labels = labels * targets
            labels = labels / labels.sum(dim=1, keepdim=True)
        weight = self.settings.regularizer_weight * gaussian_ramp(step, self.settings.regularizer_ramp)
        regularizer = early_learning_regularizer(logits, targets).mean()
        return soft_cross_entropy(logits, labels).mean() + weight * regularizer

    def decay(self, step: int) -> float:
        """The averages' decay after so many steps of a network: it follows the network at first."""
        return self.settings.ema_decay * gaussian_ramp(step, self.settings.ema_ramp)

    def estimate_labels(self) -> LabelEstimate:
        """The mean of both networks' targets, scaled to sum 1; the given label where a sample was never visited."""
        targets = self.context.store["targets"].mean(dim=1)
        mass = targets.sum(dim=1, keepdim=True)
        soft_labels = torch.where(mass > 0, targets / mass, self.context.one_hot_labels())
        return from_soft_labels(soft_labels, self.context.given_labels)
