"""The look-ahead tangent: the one primitive behind the meta-gradients of MSLG, L2R, Meta-Weight-Net and their kin.

Where the inner loss is linear in its meta variable per sample, the outer gradient needs no second-order graph. With
v = ∇ of the meta loss at the looked-ahead weights θ̂ = θ − α ∇θ L_inner, every such gradient is algebra on the noisy
batch's logits o and their derivative ȯ = J_θ o · v along v: one Jacobian-vector product. Taking the outer gradient this
way was published before by Taraday & Baskin, Enhanced Meta Label Correction, ICCV 2023.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisybench.meta.forward import (
    NoisyForward,
    Weights,
    classifier,
    classifier_inputs,
    copied_buffers,
    functional_logits,
    logits_along,
    replayed,
)

ENGINES = ("jvp", "double-backward", "finite-difference", "head")

# Length of the central difference's step, relative to the weights. Measured in docs/meta-gradient.md.
FINITE_DIFFERENCE_STEP = 1e-3

Average = Callable[[list[Tensor]], list[Tensor]]


def as_they_are(gradients: list[Tensor]) -> list[Tensor]:
    """The :data:`Average` of a single process."""
    return gradients


@dataclass(frozen=True)
class InnerStep:
    """The step ahead: θ̂ = θ − lr · ∇θ loss.

    Attributes:
        loss: scalar made from the noisy forward pass's logits; None looks ahead by a step of length zero (L2R).
        lr: α.
        average: combines each process's gradients of the loss into those of the global noisy batch.
    """

    loss: Tensor | None
    lr: float
    average: Average = as_they_are


@dataclass(frozen=True)
class MetaBatch:
    """The clean batch that judges a step ahead.

    Attributes:
        images: M×C×H×W.
        loss: from M×C logits to a scalar.
        average: combines each process's gradients of the loss, and the loss, into those of the global meta batch.
    """

    images: Tensor
    loss: Callable[[Tensor], Tensor]
    average: Average = as_they_are

    @classmethod
    def labelled(cls, images: Tensor, labels: Tensor, average: Average = as_they_are) -> MetaBatch:
        """Judged by the mean cross-entropy of its labels (M int64)."""
        return cls(images, lambda logits: F.cross_entropy(logits, labels), average)


@dataclass(frozen=True)
class LookAhead:
    """What a look-ahead found.

    Attributes:
        logits_dot: ȯ, N×C, detached: the derivative of the noisy batch's logits along v.
        meta_loss: scalar, detached: the loss on the global meta batch at θ̂.
        buffers: the model's buffers by name, as the meta batch's pass would have left them.
    """

    logits_dot: Tensor
    meta_loss: Tensor
    buffers: dict[str, Tensor]


def look_ahead_tangent(
    model: nn.Module, forward: NoisyForward, inner: InnerStep, meta: MetaBatch, *, engine: str = "jvp"
) -> LookAhead:
    """Step ahead on the inner loss, take the meta loss's gradient v there, and differentiate the noisy logits along v.

    The model's parameters, gradients, buffers and mode are left as they are. The graph of ``forward`` stays usable; if
    its outputs were kept it is used up, and :func:`~noisybench.meta.logits_again` makes it anew.

    Args:
        model: the network, in the mode the passes are to run in.
        forward: the noisy batch's forward pass, with features for engine ``head``. With its outputs kept, engine
            ``jvp`` needs less time and memory.
        inner: the step ahead, its loss made from ``forward.logits``.
        meta: the clean batch and its loss.
        engine: ``jvp`` (exact), ``finite-difference`` (central difference along v) or ``head`` (only the final linear
            layer steps ahead: no backward pass through the network).

    Raises:
        ValueError: an unknown engine, or engine ``head`` without features.
    """
    if engine == "head":
        return _head_tangent(model, forward, inner, meta)
    ways = {"jvp": logits_along, "finite-difference": _logits_difference}
    if engine not in ways:
        raise ValueError(f"unknown engine {engine!r}: choose from {', '.join([*ways, 'head'])}")
    ahead = _step_ahead(forward, inner)
    buffers = copied_buffers(model)
    loss = meta.loss(functional_logits(model, ahead, meta.images, buffers=buffers))
    *gradients, meta_loss = meta.average([*_gradients(loss, ahead), loss.detach()])
    direction = dict(zip(ahead, gradients, strict=True))
    return LookAhead(ways[engine](model, forward, direction), meta_loss, buffers)


def _step_ahead(forward: NoisyForward, inner: InnerStep) -> Weights:
    """θ̂ = θ − α ∇θ L_inner as leaves that require a gradient."""
    names, weights = list(forward.weights), list(forward.weights.values())
    if inner.loss is None:
        ahead = [weight.detach().clone() for weight in weights]
    else:
        # With the outputs kept the graph can be made again: it goes, before the meta batch's is built.
        gradients = inner.average(_gradients(inner.loss, forward.weights, retain_graph=forward.outputs is None))
        ahead = list(torch._foreach_add([weight.detach() for weight in weights], gradients, alpha=-inner.lr))
    return {name: weight.requires_grad_() for name, weight in zip(names, ahead, strict=True)}


def _gradients(loss: Tensor, weights: Weights, *, retain_graph: bool = False) -> list[Tensor]:
    """∂loss/∂weights, detached; zero for weights that the loss does not reach."""
    return list(torch.autograd.grad(loss, list(weights.values()), retain_graph=retain_graph, materialize_grads=True))


@torch.no_grad()
def _logits_difference(model: nn.Module, forward: NoisyForward, direction: Weights) -> Tensor:
    """Central difference of the noisy batch's logits along the direction (N×C)."""
    names, weights = list(forward.weights), [weight.detach() for weight in forward.weights.values()]
    tangents = [direction[name] for name in names]
    length = torch.stack(torch._foreach_norm(tangents)).norm()
    size = torch.stack(torch._foreach_norm(weights)).norm()
    step = FINITE_DIFFERENCE_STEP * size / length.clamp_min(torch.finfo(length.dtype).tiny)
    moved = []
    for sign in (1, -1):
        shifted = torch._foreach_add(weights, torch._foreach_mul(tangents, sign * step))
        with replayed(forward):
            moved.append(functional_logits(model, dict(zip(names, shifted, strict=True)), forward.images))
    return (moved[0] - moved[1]) / (2 * step)


def _head_tangent(model: nn.Module, forward: NoisyForward, inner: InnerStep, meta: MetaBatch) -> LookAhead:
    """As :func:`look_ahead_tangent` with every layer but the last held fixed: closed forms on the features."""
    if forward.features is None:
        raise ValueError("engine 'head' needs a forward pass with features=True")
    layer, features = classifier(model), forward.features
    buffers = copied_buffers(model)
    with torch.no_grad(), classifier_inputs(model) as kept:
        functional_logits(model, forward.weights, meta.images, buffers=buffers)
    weight, bias = layer.weight.detach(), layer.bias.detach() if layer.bias is not None else 0.0
    if inner.loss is not None:
        residual = torch.autograd.grad(inner.loss, forward.logits, retain_graph=True)[0].to(weight.dtype)
        step_weight, step_bias = inner.average([residual.T @ features.to(weight.dtype), residual.sum(0)])
        weight = weight - inner.lr * step_weight
        bias = bias - inner.lr * step_bias if layer.bias is not None else 0.0
    meta_features = kept[0].to(weight.dtype)
    meta_logits = (meta_features @ weight.T + bias).requires_grad_()
    loss = meta.loss(meta_logits)
    residual = torch.autograd.grad(loss, meta_logits)[0]
    slopes = [residual.T @ meta_features, residual.sum(0)]
    direction_weight, direction_bias, meta_loss = meta.average([*slopes, loss.detach()])
    logits_dot = features.to(weight.dtype) @ direction_weight.T
    if layer.bias is not None:
        logits_dot = logits_dot + direction_bias
    return LookAhead(logits_dot, meta_loss, buffers)
