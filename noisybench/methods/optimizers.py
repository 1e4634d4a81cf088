"""The optimizers of the methods' networks, from a run's configuration."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

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
