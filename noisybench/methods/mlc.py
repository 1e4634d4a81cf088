"""MLC, meta label correction: a network of features and given label makes soft labels, trained on clean data.

Zheng, Awadallah & Dumais, AAAI 2021, after the released code.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisybench.data.loader import Batch
from noisybench.meta import NoisyForward, classifier, functional_logits, logits_along, noisy_forward
from noisybench.methods.base import LabelEstimate, Method, StepOutput
from noisybench.methods.estimates import from_soft_labels
from noisybench.methods.losses import soft_cross_entropy
from noisybench.methods.optimizers import weights_after_step
from noisybench.methods.settings.mlc import MLCSettings


class LabelNetwork(nn.Module):
    """Features (N×D) and given labels (N) to soft labels (N×C)."""

    def __init__(self, features: int, num_classes: int, embedding: int, hidden: int):
        super().__init__()
        self.embedding = nn.Embedding(num_classes, embedding)
        widths = (features + embedding, hidden, hidden)
        layers = [layer for pair in zip(widths, widths[1:], strict=False) for layer in (nn.Linear(*pair), nn.Tanh())]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden, num_classes))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        return self.layers(torch.cat([features, self.embedding(labels)], dim=1)).softmax(dim=1)


class MLC(Method):
    """Look ahead by the optimizer's own step on soft and clean labels, then move the label network, then step."""

    Settings = MLCSettings
    settings: MLCSettings
    needs: ClassVar[frozenset[str]] = frozenset({"meta_set"})
    forward_equivalents: float = 10.0
    looks_ahead: ClassVar[bool] = True

    def build(self) -> None:
        super().build()
        context, settings = self.context, self.settings
        sizes = classifier(self.network).in_features, context.num_classes, settings.embedding, settings.hidden
        self.label_network: LabelNetwork = context.make_module("label-network", lambda: LabelNetwork(*sizes))
        weights = list(self.label_network.parameters())
        self.label_optimizer: torch.optim.Optimizer = torch.optim.Adam(weights, lr=settings.label_lr, amsgrad=True)
        self.carried: list[Tensor] = [torch.zeros_like(weight, requires_grad=False) for weight in weights]
        context.store.add("soft_labels", context.one_hot_labels())

    def training_step(self, batch: Batch) -> StepOutput:
        context = self.context
        (judge, judge_labels), (clean, clean_labels) = self._halves(*batch.meta)
        total = batch.global_size + len(context.gather_rows(clean_labels))
        share = (len(batch.index) + len(clean_labels)) / total

        # 1. The gradient of L_s, the mean over soft-labelled noisy and clean rows, from one forward pass.
        size = len(batch.index)
        forward = noisy_forward(self.network, torch.cat([batch.images, clean]), features=True, keep_outputs=True)
        assert forward.features is not None  # asked for
        soft_labels = self.label_network(forward.features[:size].to(context.dtype), batch.labels)
        logits = forward.logits.detach()[:size]
        noisy = soft_cross_entropy(forward.logits[:size], soft_labels.detach())
        clean_losses = F.cross_entropy(forward.logits[size:], clean_labels, reduction="none")
        loss = torch.cat([noisy, clean_losses]).mean()
        weights = list(forward.weights.values())
        gradients = context.average(list(torch.autograd.grad(loss, weights, materialize_grads=True)), share)

        # 2. v, the clean loss's gradient where that step leads, and g, its gradient where we are.
        ahead = weights_after_step(self.optimizer, forward.weights, gradients)
        v, meta_loss = self._judged(ahead, judge, judge_labels)
        here = {name: weight.detach().requires_grad_() for name, weight in forward.weights.items()}
        g = self._judged(here, judge, judge_labels)[0] if self.settings.carry else None

        # 3. The label network descends the clean loss after the step; then the step is made.
        lr = self.optimizer.param_groups[0]["lr"]
        slopes = lr * self._label_slopes(logits, forward, v)
        meta = context.weighted_mean((slopes * soft_labels).sum(dim=1), 1 / total)
        self._move_label_network(meta, v, g, batch.step)
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        context.apply_gradients(self.optimizer)
        context.store.write("soft_labels", batch.index, soft_labels)
        return StepOutput(loss.detach(), logits, {"meta_loss": meta_loss})

    def _halves(self, images: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The meta batch's rows of even and of odd number: those that judge, and those that train."""
        first = self.context.my_rows(range(len(self.context.gather_rows(labels)))).start
        halves = [(images[number::2], labels[number::2]) for number in (first % 2, 1 - first % 2)]
        return halves if len(labels) > 1 else [(images, labels)] * 2

    def _judged(self, weights: dict[str, Tensor], images: Tensor, labels: Tensor) -> tuple[list[Tensor], Tensor]:
        """The gradient of the judging half's cross-entropy at these weights, and its value, over all processes."""
        losses = F.cross_entropy(functional_logits(self.network, weights, images), labels, reduction="none")
        total = len(self.context.gather_rows(labels))
        gradients = torch.autograd.grad(losses.mean(), list(weights.values()), materialize_grads=True)
        *averaged, loss = self.context.average([*gradients, losses.detach().mean()], len(labels) / total)
        return averaged, loss

    def _label_slopes(self, logits: Tensor, forward: NoisyForward, v: list[Tensor]) -> Tensor:
        """How log p of each class changes along v (N×C): a step raises it by lr/rows times the soft label there."""
        logits_dot = logits_along(self.network, forward, dict(zip(forward.weights, v, strict=True)))
        logits_dot = logits_dot[: len(logits)]
        return logits_dot - (logits.softmax(dim=1) * logits_dot).sum(dim=1, keepdim=True)

    def _move_label_network(self, meta: Tensor, v: list[Tensor], g: list[Tensor] | None, step: int) -> None:
        """Adam on the meta-gradient, plus γ times the step's before; γ = (1 − lr)·<v, g>/|g|², within [−1, 1]."""
        weights = list(self.label_network.parameters())
        own = self.context.average(list(torch.autograd.grad(meta, weights)))
        if g is not None:
            along = sum((a * b).sum() for a, b in zip(v, g, strict=True))
            size = sum(part.square().sum() for part in g)
            factor = ((1 - self.optimizer.param_groups[0]["lr"]) * along / (size + 1e-30)).clamp(-1, 1)
            own = [gradient + factor * before for gradient, before in zip(own, self.carried, strict=True)]
        for weight, gradient, carried in zip(weights, own, self.carried, strict=True):
            carried.copy_(gradient)
            weight.grad = gradient
        if step % self.settings.meta_every == 0:
            self.label_optimizer.step()
        self.label_optimizer.zero_grad(set_to_none=True)

    def estimate_labels(self) -> LabelEstimate:
        """The soft label each sample was last trained on."""
        return from_soft_labels(self.context.store["soft_labels"], self.context.given_labels)
