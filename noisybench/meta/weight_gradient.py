"""The meta-gradient of example weights: how the loss on clean data changes with each noisy sample's weight.

Learning to Reweight (Ren et al., ICML 2018) descends it from weights of zero; Meta-Weight-Net (Shu et al., NeurIPS
2019) feeds it to the network that makes the weights.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisybench.meta.double_backward import double_backward
from noisybench.meta.forward import noisy_forward
from noisybench.meta.look_ahead import ENGINES, InnerStep, MetaBatch, look_ahead_tangent


def cross_entropy_dot(logits: Tensor, logits_dot: Tensor, labels: Tensor) -> Tensor:
    """The derivative of each sample's cross-entropy along v (N): <p_i − e_yi, ȯ_i>.

    Args:
        logits: o, N×C.
        logits_dot: ȯ, N×C, the logits' derivative along v.
        labels: N int64.
    """
    p_dot = (F.softmax(logits, dim=1) * logits_dot).sum(1)
    return p_dot - logits_dot.gather(1, labels[:, None])[:, 0]


def example_weight_meta_gradient(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    meta_images: Tensor,
    meta_labels: Tensor,
    *,
    inner_lr: float,
    weights: Tensor | None = None,
    engine: str = "jvp",
) -> Tensor:
    """∂Lm/∂w for one noisy batch and one clean batch. Call it in any training loop.

    The inner loss is the weighted *sum* Σ_i w_i·CE_i; θ̂ = θ − α ∇θ Σ_i w_i·CE_i; Lm = cross-entropy of the meta batch
    at θ̂ (mean). With v = ∇θ̂ Lm and ȯ the derivative of the noisy logits along v at θ, exactly
    ∂Lm/∂w_i = −α·<p_i − e_yi, ȯ_i>: a sample deserves weight if its loss falls as the clean loss falls. For a weighted
    *mean*, pass w/N and divide the result by N.

    The model runs in the mode it is in. Its parameters, gradients, buffers and mode are left as they were.

    Args:
        model: maps images to N×C logits; any device, any float dtype.
        images: N×C×H×W, the noisy batch.
        labels: N int64, its given labels.
        meta_images: M×C×H×W, clean images.
        meta_labels: M int64, their labels.
        inner_lr: α, the length of the look-ahead step.
        weights: N, the weights at which the gradient is taken; zeros if not given (L2R).
        engine: ``jvp`` (exact, one forward-mode product), ``double-backward`` (exact, the second-order graph: the test
            oracle), ``finite-difference`` or ``head`` (approximations).

    Returns:
        N, in the dtype of the logits.

    Raises:
        ValueError: an unknown engine, or labels or weights that are not one per image.
    """
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}: choose from {', '.join(ENGINES)}")
    for name, rows in (("labels", labels), ("weights", weights)):
        if rows is not None and rows.shape != (len(images),):
            raise ValueError(f"{name} has shape {tuple(rows.shape)}, and there are {len(images)} images")
    meta = MetaBatch.labelled(meta_images, meta_labels)

    def inner(logits: Tensor) -> tuple[Tensor, Tensor]:
        at = logits.new_zeros(len(images)) if weights is None else weights.detach().to(logits.dtype).clone()
        variable = at.requires_grad_()
        return variable, (variable * F.cross_entropy(logits, labels, reduction="none")).sum()

    if engine == "double-backward":
        return double_backward(model, images, inner, inner_lr, meta)
    with torch.enable_grad():
        forward = noisy_forward(model, images, update_buffers=False, features=engine == "head")
        loss = None
        if weights is not None:
            loss = (weights.detach() * F.cross_entropy(forward.logits, labels, reduction="none")).sum()
        found = look_ahead_tangent(model, forward, InnerStep(loss, inner_lr), meta, engine=engine)
    logits = forward.logits.detach()
    return (-inner_lr * cross_entropy_dot(logits, found.logits_dot.to(logits.dtype), labels)).detach()
