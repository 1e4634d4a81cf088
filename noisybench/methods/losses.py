"""Loss formulas that methods share: pure functions of logits (N×C) and labels, one value per sample unless said.

Notation: o the logits, p = softmax(o), y the given label, e_y its one-hot row. All work in any float dtype.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def _log_p_given(logits: Tensor, labels: Tensor) -> Tensor:
    """log p_y (N)."""
    return F.log_softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]


def entropy(logits: Tensor) -> Tensor:
    """Le of MSLG and PENCIL: the mean over all N·C entries of −p·log p (a scalar)."""
    log_p = F.log_softmax(logits, dim=1)
    return -(log_p.exp() * log_p).mean()


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """−Σ_c t_c log p_c (N); gradients flow through the targets too, where they have any.

    Args:
        logits: o, N×C.
        targets: t, N×C, rows sum to 1.
    """
    return -(targets * F.log_softmax(logits, dim=1)).sum(dim=1)


def generalized_cross_entropy(logits: Tensor, labels: Tensor, q: float) -> Tensor:
    """L_q = (1 − p_y^q)/q (N): cross-entropy for q → 0, half the L1 distance to e_y for q = 1.

    Zhang & Sabuncu, NeurIPS 2018, the L_q loss. Through expm1, so that a small q loses no digits and p_y = 0 has a
    finite gradient.
    """
    return -torch.expm1(q * _log_p_given(logits, labels)) / q


def reverse_cross_entropy(logits: Tensor, labels: Tensor, label_clip: float = 1e-4) -> Tensor:
    """RCE = −Σ_c p_c log max(e_y,c, clip) = −log(clip)·(1 − p_y) (N).

    Wang et al., ICCV 2019, the reverse term of SL; the released code clips labels at 1e-4, which makes the factor 9.21.
    """
    clipped = F.one_hot(labels, logits.shape[1]).to(logits.dtype).clamp_min(label_clip)
    return -(F.softmax(logits, dim=1) * clipped.log()).sum(dim=1)


def soft_bootstrap(logits: Tensor, labels: Tensor, beta: float) -> Tensor:
    """Cross-entropy against β·e_y + (1 − β)·p (N), with the gradient through p in the target as well.

    Reed et al., ICLR workshop 2015, soft bootstrapping, as in the Keras code of the SCE and loss-correction authors.
    """
    targets = beta * F.one_hot(labels, logits.shape[1]).to(logits.dtype) + (1 - beta) * F.softmax(logits, dim=1)
    return soft_cross_entropy(logits, targets)


def hard_bootstrap(logits: Tensor, labels: Tensor, beta: float) -> Tensor:
    """Cross-entropy against β·e_y + (1 − β)·e_argmax(p) (N).

    Reed et al., ICLR workshop 2015, hard bootstrapping.
    """
    own = F.cross_entropy(logits, logits.argmax(dim=1), reduction="none")
    return beta * F.cross_entropy(logits, labels, reduction="none") + (1 - beta) * own


def forward_corrected(logits: Tensor, labels: Tensor, transition: Tensor) -> Tensor:
    """−log (p T)_y (N): the likelihood of the given label under the noise.

    Patrini et al., CVPR 2017, the forward correction. In the log domain, so nothing is clipped.

    Args:
        logits: o, N×C.
        labels: N int64.
        transition: T, C×C, T[i, j] = P(given j | true i).
    """
    joint = F.log_softmax(logits, dim=1) + transition.to(logits.dtype).log()[:, labels].T
    return -joint.logsumexp(dim=1)


def prior_penalty(mean_probabilities: Tensor) -> Tensor:
    """KL(uniform ‖ mean p): holds the mean prediction of a batch near the uniform prior (a scalar).

    Tanaka et al., CVPR 2018, L_p; DivideMix (Li et al., ICLR 2020) has it too.

    Args:
        mean_probabilities: C, the mean of p over the global batch.
    """
    prior = 1.0 / len(mean_probabilities)
    return (prior * (prior / mean_probabilities).log()).sum()


def clipped_probabilities(logits: Tensor, clip: float = 1e-4) -> Tensor:
    """p held within [clip, 1 − clip] (N×C), as in ELR's released code: keeps the regulariser's logarithm finite."""
    return F.softmax(logits, dim=1).clamp(clip, 1 - clip)


def early_learning_regularizer(logits: Tensor, targets: Tensor) -> Tensor:
    """log(1 − ⟨t, p⟩) with p clipped (N). Minimised, it pulls p towards the target t.

    Liu et al., NeurIPS 2020, the ELR term, with the released code's clip.

    Args:
        logits: o, N×C.
        targets: t, N×C, without gradient; rows sum to at most 1.
    """
    return (1 - (targets * clipped_probabilities(logits)).sum(dim=1)).log()


def normalized_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """NCE = −log p_y / Σ_c −log p_c (N): cross-entropy as a share of what it would be over all labels.

    Ma et al., ICML 2020.
    """
    log_p = F.log_softmax(logits, dim=1)
    return log_p.gather(1, labels[:, None])[:, 0] / log_p.sum(dim=1)


def mean_absolute_error(logits: Tensor, labels: Tensor) -> Tensor:
    """1 − p_y (N): half the L1 distance of p and e_y, as in the released code of the active passive losses."""
    return -torch.expm1(_log_p_given(logits, labels))


def asymmetric_generalized_cross_entropy(logits: Tensor, labels: Tensor, a: float, q: float) -> Tensor:
    """AGCE = ((a + 1)^q − (a + p_y)^q)/q (N). Zhou et al., ICML 2021."""
    return ((a + 1) ** q - (a + _log_p_given(logits, labels).exp()) ** q) / q


def mean_over_labels(logits: Tensor) -> Tensor:
    """1/C·Σ_c −log p_c (N): the cross-entropy of a label drawn evenly."""
    return -F.log_softmax(logits, dim=1).mean(dim=1)
