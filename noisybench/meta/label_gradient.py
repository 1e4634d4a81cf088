"""MSLG's meta-gradient: how the loss on clean data changes with the label logits of the noisy batch.

Algan & Ulusoy, Meta Soft Label Generation for Noisy Labels, ICPR 2020 (arXiv 2007.05836), in the authors' normalisation
(means over N·C entries).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisybench.meta.double_backward import double_backward
from noisybench.meta.forward import noisy_forward
from noisybench.meta.look_ahead import ENGINES, InnerStep, MetaBatch, look_ahead_tangent


def soft_label_loss(logits: Tensor, label_logits: Tensor, label_floor: float = 0.0) -> Tensor:
    """Lc, the classification loss of MSLG: the mean over all N·C entries of p·(log p − log(y + floor)).

    Args:
        logits: o, N×C; p = softmax(o).
        label_logits: ℓ, N×C; y = softmax(ℓ).
        label_floor: the authors add 1e-10 to y; 0 leaves it out.
    """
    log_p = F.log_softmax(logits, dim=1)
    return (log_p.exp() * (log_p - _log_labels(label_logits, label_floor))).mean()


def _log_labels(label_logits: Tensor, label_floor: float) -> Tensor:
    if label_floor == 0.0:
        return F.log_softmax(label_logits, dim=1)
    return (F.softmax(label_logits, dim=1) + label_floor).log()


def label_direction(logits: Tensor, logits_dot: Tensor, label_logits: Tensor, label_floor: float = 0.0) -> Tensor:
    """The meta-gradient without its factor α/(N·C): w∘ṗ − y·Σ_c w_c ṗ_c, with w = y/(y + floor) (N×C, rows sum to 0).

    Args:
        logits: o, N×C.
        logits_dot: ȯ, N×C, the logits' derivative along v = ∇ of the meta loss at the looked-ahead weights.
        label_logits: ℓ, N×C.
        label_floor: as in :func:`soft_label_loss`. At 0, w = 1 and the result is ṗ = p∘(ȯ − Σ_c p_c ȯ_c).
    """
    p = F.softmax(logits, dim=1)
    p_dot = p * (logits_dot - (p * logits_dot).sum(1, keepdim=True))
    if label_floor == 0.0:
        return p_dot
    y = F.softmax(label_logits, dim=1)
    weighted = y / (y + label_floor) * p_dot
    return weighted - y * weighted.sum(1, keepdim=True)


def label_meta_gradient(
    model: nn.Module,
    images: Tensor,
    label_logits: Tensor,
    meta_images: Tensor,
    meta_labels: Tensor,
    *,
    inner_lr: float,
    label_floor: float = 0.0,
    engine: str = "jvp",
) -> Tensor:
    """∂Lm/∂ℓ for one noisy batch and one clean batch. Call it in any training loop: ``ℓ -= β * gradient``.

    Lc = mean over N·C of p·(log p − log(softmax(ℓ) + floor)); θ̂ = θ − α ∇θ Lc; Lm = mean cross-entropy of the clean
    batch at θ̂. With v = ∇θ̂ Lm and ṗ the derivative of p along v at θ, exactly ∂Lm/∂ℓ = α/(N·C) · (w∘ṗ − y·Σ_c w_c ṗ_c),
    w = y/(y + floor). Rows sum to 0.

    The model runs in the mode it is in. Its parameters, gradients, buffers and mode are left as they were.

    Args:
        model: maps images to N×C logits; any device, any float dtype.
        images: N×C×H×W, the noisy batch.
        label_logits: ℓ, N×C.
        meta_images: M×C×H×W, clean images.
        meta_labels: M int64, their labels.
        inner_lr: α, the length of the look-ahead step.
        label_floor: the authors' floor under the soft labels (they use 1e-10).
        engine: ``jvp`` (exact, one forward-mode product), ``double-backward`` (exact, the second-order graph: the test
            oracle), ``finite-difference`` or ``head`` (approximations; docs/meta-gradient.md gives measured errors).

    Returns:
        N×C, in the dtype of ``label_logits``.

    Raises:
        ValueError: an unknown engine, or label logits whose shape is not that of the logits.
    """
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}: choose from {', '.join(ENGINES)}")
    label_logits = label_logits.detach()
    meta = MetaBatch.labelled(meta_images, meta_labels)

    def inner(logits: Tensor) -> tuple[Tensor, Tensor]:
        _check_shapes(logits, label_logits)
        variable = label_logits.clone().requires_grad_()
        return variable, soft_label_loss(logits, variable, label_floor)

    if engine == "double-backward":
        return double_backward(model, images, inner, inner_lr, meta)
    with torch.enable_grad():
        forward = noisy_forward(
            model, images, update_buffers=False, features=engine == "head", keep_outputs=engine == "jvp"
        )
        _check_shapes(forward.logits, label_logits)
        loss = soft_label_loss(forward.logits, label_logits, label_floor)
        found = look_ahead_tangent(model, forward, InnerStep(loss, inner_lr), meta, engine=engine)
    direction = label_direction(forward.logits.detach(), found.logits_dot, label_logits, label_floor)
    return (direction * (inner_lr / direction.numel())).to(label_logits.dtype)


def _check_shapes(logits: Tensor, label_logits: Tensor) -> None:
    if logits.shape != label_logits.shape:
        raise ValueError(
            f"label_logits has shape {tuple(label_logits.shape)}, the model's logits {tuple(logits.shape)}"
        )
