"""The meta-gradient as it is written down, by differentiating through the look-ahead step: the engines' oracle."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from noisybench.meta.forward import functional_logits, plain_attention, trainable
from noisybench.meta.look_ahead import MetaBatch


def double_backward(
    model: nn.Module,
    images: Tensor,
    inner: Callable[[Tensor], tuple[Tensor, Tensor]],
    inner_lr: float,
    meta: MetaBatch,
) -> Tensor:
    """The gradient of the meta loss at θ̂ = θ − α ∇θ L_inner for the inner loss's own variable, as released codes do.

    Args:
        model: the network, in the mode the passes are to run in. It is left as it is.
        images: N×C×H×W, the noisy batch.
        inner: from its N×C logits to a leaf variable that requires a gradient, and the scalar loss made from both.
        inner_lr: α.
        meta: the clean batch and its loss.

    Returns:
        The gradient, of the variable's shape.
    """
    weights = trainable(model)
    with torch.enable_grad(), plain_attention():
        variable, loss = inner(functional_logits(model, weights, images))
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True, materialize_grads=True)
        ahead = {
            name: weight - inner_lr * gradient
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }
        meta_loss = meta.loss(functional_logits(model, ahead, meta.images))
        return torch.autograd.grad(meta_loss, variable)[0]
