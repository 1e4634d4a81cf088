"""Hessian-vector products in forward-over-reverse order.

The other nesting, a backward pass through a Jacobian-vector product, is silently wrong where BatchNorm is in train mode
(torch 2.13 treats the saved batch statistics as constants there), so it is not offered.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from noisybench.meta.passes import NoisyForward, Weights, functional_logits, plain_attention, replayed


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
