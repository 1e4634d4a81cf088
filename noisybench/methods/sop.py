"""SOP, sparse over-parameterization: every sample has noise variables of its own, trained beside the network.

Liu, Zhu, Qu & You, ICML 2022 (arXiv 2202.14026), after the released code. SOP+ adds consistency and class balance.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.methods.base import LabelEstimate, Method, StepOutput
from noisybench.methods.estimates import from_soft_labels
from noisybench.methods.settings.sop import SOPPlusSettings, SOPSettings

START = 1e-8  # standard deviation of the variables at the start
LEAST = 1e-4  # of a prediction's entries, as released


def label_noise(u: Tensor, v: Tensor, one_hot: Tensor) -> tuple[Tensor, Tensor]:
    """U and V (N×C): how much the given label is too much, and every other one too little.

    Args:
        u: N×1; its square, within [0, 1], stands on the given label's entry.
        v: N×C; its squares, within [0, 1], stand on all others.
        one_hot: e_y, N×C.
    """
    return u.square().clamp(0, 1) * one_hot, v.square().clamp(0, 1) * (1 - one_hot)


def sop_losses(logits: Tensor, noise: tuple[Tensor, Tensor], one_hot: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """L_ce and L_mse (scalars, means over samples), and the prediction q of the given labels (N×C).

    The network is trained by L_ce alone, u by both, v by L_mse alone.
    """
    too_much, too_little = noise
    q = (logits.softmax(dim=1) + too_much - too_little.detach()).clamp_min(LEAST)
    q = (q / q.sum(dim=1, keepdim=True)).clamp(LEAST, 1)
    predicted = F.one_hot(logits.argmax(dim=1), logits.shape[1])
    squared = (predicted + too_much - too_little - one_hot).square().sum(dim=1)
    return -(q * one_hot).sum(dim=1).log().mean(), squared.mean(), q


class SOP(Method):
    """L_ce + L_mse; the variables descend by plain SGD at rates of their own, which no schedule changes."""

    Settings = SOPSettings
    settings: SOPSettings

    def build(self) -> None:
        super().build()
        context, size = self.context, len(self.context.given_labels)
        for name, width in (("u", 1), ("v", context.num_classes)):
            drawn = context.generator(name).normal(0, START, (size, width))
            context.store.add(name, torch.from_numpy(drawn).to(context.dtype))

    def training_step(self, batch: Batch) -> StepOutput:
        store, views = self.context.store, len(batch.views)
        u, v = store.trainable("u", batch.index), store.trainable("v", batch.index)
        logits = list(self.network(torch.cat(batch.views)).chunk(views))
        loss = self.total_loss(logits, u, v, batch)
        self.context.step(loss, self.optimizer)
        store.descend("u", batch.index, u, self.settings.lr_u)
        store.descend("v", batch.index, v, self.settings.lr_v)
        return StepOutput(loss, logits[0])

    def total_loss(self, logits: list[Tensor], u: Tensor, v: Tensor, batch: Batch) -> Tensor:
        """The loss of the views' logits and the batch's variables."""
        one_hot = F.one_hot(batch.labels, logits[0].shape[1]).to(logits[0].dtype)
        fit, squared, _ = sop_losses(logits[0], label_noise(u, v, one_hot), one_hot)
        return fit + squared

    def estimate_labels(self) -> LabelEstimate:
        """e_y − U + V, scaled to sum 1: the given label without the noise that was found."""
        store, given = self.context.store, self.context.one_hot_labels()
        too_much, too_little = label_noise(store["u"], store["v"], given)
        clean = given - too_much + too_little
        mass = clean.sum(dim=1, keepdim=True)
        return from_soft_labels(torch.where(mass > 0, clean / mass, given), self.context.given_labels)


class SOPPlus(SOP):
    """Plus agreement with a strong view, and a mean prediction that no class is missing from."""

    Settings = SOPPlusSettings
    settings: SOPPlusSettings
    views: ClassVar[tuple[str, ...]] = ("weak", "strong")
    forward_equivalents: float = 6.0

    def total_loss(self, logits: list[Tensor], u: Tensor, v: Tensor, batch: Batch) -> Tensor:
        one_hot = F.one_hot(batch.labels, logits[0].shape[1]).to(logits[0].dtype)
        fit, squared, q = sop_losses(logits[0], label_noise(u, v, one_hot), one_hot)
        seen = logits[0].detach().softmax(dim=1)
        consistency = F.kl_div(F.log_softmax(logits[1], dim=1), seen, reduction="batchmean")
        balance = -self.context.global_mean(q.mean(dim=0)).clamp(LEAST, 1).log().mean()
        settings = self.settings
        return fit + squared + settings.consistency_weight * consistency + settings.balance_weight * balance
