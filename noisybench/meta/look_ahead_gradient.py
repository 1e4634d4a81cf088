"""How a loss after a look-ahead step changes with the weights before it: the meta-gradient of MLNT (and of MAML).

    L(θ) = 1/M · Σ_m J(θ_m),   θ_m = θ − α ∇θ CE(o, y_m),   o = f(x; θ)
    ∇L   = 1/M · Σ_m (I − α H_m) v_m,   v_m = ∇J at θ_m,   H_m the Hessian of CE(o, y_m) at θ

Every label set has a Hessian of its own, so the look-ahead tangent does not serve here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

from noisybench.meta.forward import NoisyForward, Weights, functional_logits, plain_attention, replayed
from noisybench.meta.look_ahead import Average, as_they_are

Order = Literal["second", "first", "mean-label"]
HessianEngine = Literal["shared-graph", "forward-over-reverse"]


@dataclass(frozen=True)
class LabelSteps:
    """Steps ahead from one θ on several label sets of one batch: θ_m = θ − lr · ∇θ CE(o, y_m).

    Attributes:
        label_sets: M×N×C, rows sum to 1; the losses are mean cross-entropies against them.
        lr: α.
        average: combines each process's gradients into those of the global batch.
    """

    label_sets: Tensor
    lr: float
    average: Average = as_they_are


def look_ahead_gradient(
    model: nn.Module,
    forward: NoisyForward,
    steps: LabelSteps,
    outer_loss: Callable[[Tensor], Tensor],
    *,
    order: Order = "second",
    hessian: HessianEngine = "shared-graph",
) -> tuple[Weights, Tensor]:
    """∇L by parameter name, and L, both detached, for M sets of labels of one batch.

    All label sets share one forward pass at θ. The model's parameters, gradients, buffers and mode are left as they
    are; the graph of ``forward`` stays usable. The returned gradient is this process's part, still to be averaged.

    Args:
        model: the network, in the mode the passes are to run in.
        forward: the batch's forward pass at θ, for ``hessian="shared-graph"`` with a graph that has second derivatives
            (``noisy_forward(..., twice=True)``).
        steps: the M steps ahead.
        outer_loss: J, from N×C logits of the same images at θ_m to a scalar.
        order: ``second`` is exact. ``first`` leaves α H_m v_m out. ``mean-label`` replaces the M products by one, along
            the mean of the v_m at the mean label: exact in the part of H that does not depend on labels.
        hessian: both are exact. ``shared-graph`` differentiates all M steps again by one backward pass, through one
            forward graph and M backward graphs: the part of the way that the sets share is gone once.
            ``forward-over-reverse`` builds no second-order graph but repeats the forward pass for each m: less memory.

    Raises:
        ValueError: an unknown order or Hessian engine.
    """
    if order not in ("second", "first", "mean-label"):
        raise ValueError(f"unknown order {order!r}: choose from second, first, mean-label")
    if hessian not in ("shared-graph", "forward-over-reverse"):
        raise ValueError(f"unknown hessian engine {hessian!r}: choose from shared-graph, forward-over-reverse")
    names, weights = list(forward.weights), list(forward.weights.values())
    own_graph = order == "second" and hessian == "shared-graph"

    def product(labels: Tensor, direction: list[Tensor]) -> list[Tensor]:
        along = dict(zip(names, direction, strict=True))
        found = hessian_vector_product(model, forward, lambda logits: F.cross_entropy(logits, labels), along)
        return list(found.values())

    total = [torch.zeros_like(weight) for weight in weights]
    total_loss = torch.zeros((), device=forward.logits.device, dtype=forward.logits.dtype)
    gradients: list[Tensor] = []
    directions: list[Tensor] = []
    for labels in steps.label_sets:
        with torch.enable_grad():
            inner = F.cross_entropy(forward.logits, labels)
            gradient = torch.autograd.grad(
                inner, weights, retain_graph=True, create_graph=own_graph, materialize_grads=True
            )
            moved = torch._foreach_mul(steps.average([part.detach() for part in gradient]), -steps.lr)
            torch._foreach_add_(moved, [weight.detach() for weight in weights])
            ahead = {name: weight.requires_grad_() for name, weight in zip(names, moved, strict=True)}
            outer = outer_loss(functional_logits(model, ahead, forward.images))
            v = list(torch.autograd.grad(outer, moved, materialize_grads=True))
        total_loss += outer.detach()
        torch._foreach_add_(total, v)
        if own_graph:
            gradients += gradient
            directions += steps.average(v)
        elif order == "second":
            torch._foreach_add_(total, product(labels, steps.average(v)), alpha=-steps.lr)
    if own_graph:
        torch._foreach_add_(total, _again(gradients, weights, directions), alpha=-steps.lr)
    if order == "mean-label":
        # M times the product along the mean of the v_m is the product along their sum.
        torch._foreach_add_(total, product(steps.label_sets.mean(0), steps.average(total)), alpha=-steps.lr)
    torch._foreach_div_(total, len(steps.label_sets))
    return dict(zip(names, total, strict=True)), total_loss / len(steps.label_sets)


def _again(steps: list[Tensor], weights: list[Tensor], directions: list[Tensor]) -> list[Tensor]:
    """∇θ Σ <step, direction>, through the steps' own graphs."""
    reached = [(gradient, along) for gradient, along in zip(steps, directions, strict=True) if gradient.requires_grad]
    gradients, along = zip(*reached, strict=True)
    return list(torch.autograd.grad(gradients, weights, along, retain_graph=True, materialize_grads=True))


def hessian_vector_product(
    model: nn.Module, forward: NoisyForward, loss: Callable[[Tensor], Tensor], direction: Weights
) -> Weights:
    """H·v, H the Hessian of ``loss(logits)`` with respect to the weights of ``forward``.

    The gradient is taken by one backward pass over weights that carry the tangent v; its own tangent is H·v. Runs at
    the weights and dropout masks of ``forward``; no second-order graph is built. The model's parameters, gradients,
    buffers and mode are left as they are.

    Args:
        model: the network, in the mode the pass is to run in.
        forward: the noisy batch's forward pass.
        loss: from N×C logits to a scalar.
        direction: v, by parameter name, each of its parameter's shape.

    Returns:
        H·v by parameter name, detached, in the weights' dtypes.
    """
    names = list(forward.weights)
    with torch.enable_grad(), forward_ad.dual_level(), plain_attention(), replayed(forward):
        duals = {
            name: forward_ad.make_dual(weight.detach().requires_grad_(), direction[name].to(weight.dtype))
            for name, weight in forward.weights.items()
        }
        value = loss(functional_logits(model, duals, forward.images))
        gradients = torch.autograd.grad(value, list(duals.values()), materialize_grads=True)
        products = [forward_ad.unpack_dual(gradient).tangent for gradient in gradients]
    return {
        # A gradient that does not depend on the weights carries no tangent.
        name: torch.zeros_like(gradient) if product is None else product.detach()
        for name, gradient, product in zip(names, gradients, products, strict=True)
    }
