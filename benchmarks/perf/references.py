"""The bilevel methods' steps as their authors compute them, by differentiating through the look-ahead step.

They are what the methods' own steps are compared with: the same mathematics at the authors' price.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisybench.data.loader import Batch
from noisybench.meta import MetaBatch, classifier_inputs, functional_logits, plain_attention, soft_label_loss
from noisybench.methods.ema import update_ema
from noisybench.methods.losses import entropy
from noisybench.methods.mlnt import MLNT, nearest_neighbours, synthetic_labels
from noisybench.methods.mslg import MSLG, MSLGSettings


def double_backward_mslg_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    label_logits: Tensor,
    meta: MetaBatch,
    settings: MSLGSettings,
) -> Tensor:
    """MSLG's step as in the authors' code (gorkemalgan/MSLG_noisy_label): the look-ahead step keeps its graph.

    One forward pass serves the look-ahead and the base step, as there.

    Args:
        images: N×C×H×W.
        label_logits: ℓ, N×C.
        meta: the clean batch and its loss.
        settings: the method's; ``inner_lr``, ``kappa``, ``entropy_weight`` and ``label_floor`` are read.

    Returns:
        The new ℓ. The network is stepped.
    """
    label_logits = label_logits.detach().clone().requires_grad_()
    weights = dict(network.named_parameters())
    with plain_attention():
        logits = network(images)
        loss = soft_label_loss(logits, label_logits, settings.label_floor)
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        ahead = {
            name: weight - settings.inner_lr * gradient
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }
        meta_loss = meta.loss(functional_logits(network, ahead, meta.images))
        label_gradient = torch.autograd.grad(meta_loss, label_logits, retain_graph=True)[0]
        # kappa = αβ/(N·C): the authors' β is κ·N·C/α
        moved = label_logits.detach() - settings.kappa * label_logits.numel() / settings.inner_lr * label_gradient
        loss = soft_label_loss(logits, moved, settings.label_floor) + settings.entropy_weight * entropy(logits)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
    optimizer.step()
    return moved


class AuthorsMSLG:
    """The authors' step on a built MSLG method's network and label logits."""

    def __init__(self, method: MSLG):
        self._method = method

    def training_step(self, batch: Batch) -> None:
        method, store = self._method, self._method.context.store
        moved = double_backward_mslg_step(
            method.network,
            method.optimizer,
            batch.images,
            store.read("label_logits", batch.index),
            MetaBatch.labelled(batch.meta_images, batch.meta_labels),
            method.settings,
        )
        store.write("label_logits", batch.index, moved)


def official_meta_loss(
    network: nn.Module,
    images: Tensor,
    logits: Tensor,
    label_sets: Tensor,
    disagreement: Callable[[Tensor], Tensor],
    *,
    inner_lr: float,
) -> Tensor:
    """MLNT's meta loss, 1/M·Σ_m J(θ_m), with the graph of all M look-ahead steps down to the weights.

    Args:
        images: N×C×H×W.
        logits: N×C, of the images, with their graph.
        label_sets: M×N int64.
        disagreement: J, from logits at θ_m to a scalar.
        inner_lr: a; θ_m = θ − a·∇CE(logits, label_sets[m]).
    """
    weights = dict(network.named_parameters())
    total = logits.new_zeros(())
    for labels in label_sets:
        inner = F.cross_entropy(logits, labels)
        gradients = torch.autograd.grad(inner, list(weights.values()), create_graph=True)
        ahead = {
            name: weight - inner_lr * gradient
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }
        total = total + disagreement(functional_logits(network, ahead, images))
    return total / len(label_sets)


@dataclass(frozen=True)
class Consistency:
    """MLNT's meta loss.

    Attributes:
        label_sets: M×N int64, perturbed ones.
        target: N×C probabilities, the teacher's.
        inner_lr: a.
        weight: A(t). The divergence is a mean over N·C entries, as released.
    """

    label_sets: Tensor
    target: Tensor
    inner_lr: float
    weight: float


def official_mlnt_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    consistency: Consistency,
) -> None:
    """MLNT's step as in the official code (LiJunnan1992/MLNT, main.py): one backward pass through M look-ahead steps.

    Args:
        images: N×C×H×W.
        labels: N int64, the given ones.
    """
    target, inner_lr = consistency.target, consistency.inner_lr

    def disagreement(moved: Tensor) -> Tensor:
        return F.kl_div(F.log_softmax(moved, dim=1), target, reduction="batchmean") / target.shape[1]

    optimizer.zero_grad(set_to_none=True)
    with plain_attention():
        logits = network(images)
        F.cross_entropy(logits, labels).backward(retain_graph=True)
        meta = official_meta_loss(network, images, logits, consistency.label_sets, disagreement, inner_lr=inner_lr)
        (consistency.weight * meta).backward()
    optimizer.step()


class OfficialMLNT:
    """The official step on a built MLNT method's networks.

    Neighbours are ranked once a step, not once for every perturbed label as in the official code: only the way to the
    gradient is compared.
    """

    def __init__(self, method: MLNT):
        self._method = method

    def training_step(self, batch: Batch) -> None:
        method, settings = self._method, self._method.settings
        with torch.no_grad():
            update_ema(method.teacher, method.network, settings.decay)
            target = method.teacher(batch.images).softmax(dim=1)
            with classifier_inputs(method.mentor) as kept:
                method.mentor(batch.images)
            neighbours = nearest_neighbours(kept[0], settings.neighbours)
            drawn = [
                synthetic_labels(
                    batch.labels,
                    neighbours,
                    settings.perturbed,
                    method.context.generator("labels", batch.step, number),
                )
                for number in range(settings.label_sets)
            ]
        official_mlnt_step(
            method.network,
            method.optimizer,
            batch.images,
            batch.labels,
            Consistency(torch.stack(drawn), target, settings.inner_lr, settings.consistency_weight),
        )
