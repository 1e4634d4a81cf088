"""Bilevel maths, independent of any method: the look-ahead tangent and the meta-gradients made from it."""

from noisybench.meta.forward import (
    NoisyForward,
    classifier,
    classifier_inputs,
    functional_logits,
    logits_again,
    logits_along,
    noisy_forward,
    plain_attention,
)
from noisybench.meta.label_gradient import label_direction, label_meta_gradient, soft_label_loss
from noisybench.meta.look_ahead import ENGINES, InnerStep, LookAhead, MetaBatch, look_ahead_tangent
from noisybench.meta.look_ahead_gradient import LabelSteps, hessian_vector_product, look_ahead_gradient
from noisybench.meta.weight_gradient import cross_entropy_dot, example_weight_meta_gradient

__all__ = [
    "ENGINES",
    "InnerStep",
    "LabelSteps",
    "LookAhead",
    "MetaBatch",
    "NoisyForward",
    "classifier",
    "classifier_inputs",
    "cross_entropy_dot",
    "example_weight_meta_gradient",
    "functional_logits",
    "hessian_vector_product",
    "label_direction",
    "label_meta_gradient",
    "logits_again",
    "logits_along",
    "look_ahead_gradient",
    "look_ahead_tangent",
    "noisy_forward",
    "plain_attention",
    "soft_label_loss",
]
