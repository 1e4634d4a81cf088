"""MSLG, Meta Soft Label Generation: learn every sample's soft label so that training on it helps on clean data.

Algan & Ulusoy, ICPR 2020 (arXiv 2007.05836), after the authors' released code; the card names each departure.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from noisybench.core.errors import UserError
from noisybench.data.loader import Batch
from noisybench.meta import (
    InnerStep,
    MetaBatch,
    classifier,
    label_direction,
    logits_again,
    look_ahead_tangent,
    noisy_forward,
    soft_label_loss,
)
from noisybench.methods.base import LabelEstimate, Method, StepOutput
from noisybench.methods.estimates import odds_against
from noisybench.methods.losses import entropy
from noisybench.methods.settings.mslg import MSLGSettings


class MSLG(Method):
    """Warm up with cross-entropy, then move labels by the meta-gradient and train on the moved labels."""

    Settings = MSLGSettings
    settings: MSLGSettings
    needs: ClassVar[frozenset[str]] = frozenset({"meta_set"})
    looks_ahead: ClassVar[bool] = True
    forward_equivalents: float = 10.0

    def build(self) -> None:
        super().build()
        label_logits = self.context.one_hot_labels().mul_(self.settings.initial_gap)
        self.context.store.add("label_logits", label_logits)
        self.context.store.add("odds_against_given", torch.zeros(len(label_logits), dtype=self.context.dtype))
        meta_step = 4.0 if self.settings.engine == "head" else MSLG.forward_equivalents
        if self.settings.engine == "head":
            self._refuse_other_heads()
        self.forward_equivalents = 3.0 + (meta_step - 3.0) / self.settings.meta_every

    def _refuse_other_heads(self) -> None:
        try:
            classifier(self.network)
        except ValueError as error:
            raise UserError(
                f"method.engine=head steps ahead with the final linear layer alone: {error}; give another --model, or "
                "leave method.engine at jvp"
            ) from error

    def training_step(self, batch: Batch) -> StepOutput:
        if batch.epoch < self.settings.warmup_epochs:
            logits = self.network(batch.images)
            self._remember(batch, logits)
            loss = F.cross_entropy(logits, batch.labels)
            self.context.step(loss, self.optimizer)
            return StepOutput(loss, logits)
        floor, store = self.settings.label_floor, self.context.store
        if batch.step % self.settings.meta_every:
            logits = self.network(batch.images)
            self._remember(batch, logits)
            label_logits = store.read("label_logits", batch.index)
            loss = soft_label_loss(logits, label_logits, floor) + self.settings.entropy_weight * entropy(logits)
            self.context.step(loss, self.optimizer)
            return StepOutput(loss, logits)

        # 1. One forward pass of the noisy batch, for the look-ahead, the tangent and the base step.
        exact = self.settings.engine == "jvp"
        forward = noisy_forward(self.network, batch.images, features=self.settings.engine == "head", keep_outputs=exact)
        self._remember(batch, forward.logits)
        label_logits = store.read("label_logits", batch.index)

        # 2. Look ahead by a plain step on Lc, and differentiate the predictions along the clean loss's gradient there.
        ahead = look_ahead_tangent(
            self.network,
            forward,
            InnerStep(
                soft_label_loss(forward.logits, label_logits, floor), self.settings.inner_lr, self.context.average
            ),
            MetaBatch.labelled(*batch.meta, self.context.average_meta),
            engine=self.settings.engine,
        )

        # 3. Labels: ℓ ← ℓ − β ∂Lm/∂ℓ, which is κ times the direction whatever the batch size.
        direction = label_direction(forward.logits.detach(), ahead.logits_dot, label_logits, floor)
        label_logits = label_logits - self.settings.kappa * direction
        store.write("label_logits", batch.index, label_logits)

        # 4. Base step at the old weights, on the new labels: Lc + γ Le.
        logits = logits_again(self.network, forward) if exact else forward.logits
        loss = soft_label_loss(logits, label_logits, floor) + self.settings.entropy_weight * entropy(logits)
        self.context.step(loss, self.optimizer)
        if self.settings.meta_statistics:  # only now: the base step's backward pass reads the buffers
            for name, buffer in self.network.named_buffers():
                if buffer.is_floating_point():
                    buffer.copy_(ahead.buffers[name])
        gaps = label_logits.amax(1) - label_logits.amin(1)
        return StepOutput(loss, logits, {"meta_loss": ahead.meta_loss, "label_gap": gaps.mean()})

    def _remember(self, batch: Batch, logits: Tensor) -> None:
        """How much the network disagrees with the given labels, as it sees the samples in training."""
        self.context.store.write("odds_against_given", batch.index, odds_against(logits.detach(), batch.labels))

    def epoch_logs(self) -> dict[str, float]:
        """The largest gap within a sample's label logits: past about 18 the floor begins to hold labels still."""
        label_logits = self.context.store["label_logits"]
        return {"largest_label_gap": float((label_logits.amax(1) - label_logits.amin(1)).max())}

    def estimate_labels(self) -> LabelEstimate:
        """softmax(ℓ); suspicion is the network's log-odds against the given label when it last saw the sample.

        The network finds wrong labels far better than ℓ does: labels move only while that still helps on clean data.
        """
        store = self.context.store
        return LabelEstimate(store["label_logits"].softmax(dim=1), store["odds_against_given"])
