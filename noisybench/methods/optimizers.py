"""The optimizers of the methods' networks, from a run's configuration."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from noisybench.spec.values import OptimizerConfig


def build_optimizer(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer that a configuration describes, as one fused operation for all parameters."""
    if config.name == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            nesterov=config.nesterov,
            fused=True,
        )
    adam = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    betas = (config.momentum, 0.999)
    return adam(parameters, lr=config.lr, betas=betas, weight_decay=config.weight_decay, fused=True)


@torch.no_grad()
def weights_after_step(
    optimizer: torch.optim.Optimizer, weights: dict[str, Tensor], gradients: Iterable[Tensor]
) -> dict[str, Tensor]:
    """Where the optimizer's own step, momentum and weight decay included, would lead on these gradients.

    Args:
        optimizer: as it is before the step; it is left so.
        weights: all of its parameters, in its order, by any name.
        gradients: one for each.

    Returns:
        new tensors that require a gradient, by the same names.
    """
    ahead = {name: weight.detach().clone().requires_grad_() for name, weight in weights.items()}
    shadow = type(optimizer)(list(ahead.values()))  # type: ignore[call-arg]  # every kind has its defaults
    shadow.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # its settings too
    for weight, gradient in zip(ahead.values(), gradients, strict=True):
        weight.grad = gradient
    shadow.step()
    for weight in ahead.values():
        weight.grad = None
    return ahead
