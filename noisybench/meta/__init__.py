"""Bilevel maths, independent of any method: the look-ahead tangent and the meta-gradients made from it."""

from noisybench.meta.label_gradient import label_direction, label_meta_gradient, soft_label_loss
from noisybench.meta.look_ahead import ENGINES, LookAhead, look_ahead_tangent
from noisybench.meta.passes import NoisyForward, functional_logits, noisy_forward

__all__ = [
    "ENGINES",
    "LookAhead",
    "NoisyForward",
    "functional_logits",
    "label_direction",
    "label_meta_gradient",
    "look_ahead_tangent",
    "noisy_forward",
    "soft_label_loss",
]
