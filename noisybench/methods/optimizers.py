"""The optimizers of the methods' networks, from a run's configuration."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn

from noisybench.core.errors import UserError
from noisybench.models.weights import head_names
from noisybench.spec.values import OptimizerConfig

SCALE = "lr_scale"  # of a parameter group: its rate is the schedule's times this


def build_optimizer(
    config: OptimizerConfig, parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]]
) -> torch.optim.Optimizer:
    """The optimizer that a configuration describes, as one fused operation for all parameters of a group.

    Args:
        parameters: to train; or groups of them, as :func:`layered_groups` gives.
    """
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


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its part of a rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(SCALE, 1.0)


def rate_of(optimizer: torch.optim.Optimizer) -> float:
    """The rate that an optimizer has now; of groups with rates of their own the largest."""
    return float(max(group["lr"] for group in optimizer.param_groups))


def layered_groups(config: OptimizerConfig, network: nn.Module) -> list[dict[str, Any]]:
    """A network's trainable parameters by rate: what does not belong to the classifier has ``backbone_lr_factor``, and
    each layer ``layer_decay`` of the one above, by timm's own count of layers (BEiT, arXiv 2106.08254). Weight decay is
    the same for all.

    Raises:
        UserError: nobody knows which part of the network is its classifier.
    """
    heads = tuple(f"{name}." for name in head_names(network))
    if not heads:
        raise UserError(
            f"optimizer.backbone_lr_factor and layer_decay need a model that names its classifier, as timm's do by "
            f"get_classifier; {type(network).__name__} does not"
        )
    scales = {id(weight): 1.0 for weight in network.parameters()}
    if config.layer_decay is not None:
        decayed = param_groups_layer_decay(network, layer_decay=config.layer_decay, weight_decay_exclude_1d=False)
        if len({group[SCALE] for group in decayed}) == 1:
            raise UserError(
                f"optimizer.layer_decay: timm knows no layers of {type(network).__name__}; give another --model, or "
                "optimizer.backbone_lr_factor"
            )
        scales |= {id(weight): group[SCALE] for group in decayed for weight in group["params"]}
    groups: dict[float, list[nn.Parameter]] = {}
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            scale = scales[id(weight)] * (1.0 if name.startswith(heads) else config.backbone_lr_factor)
            groups.setdefault(scale, []).append(weight)
    return [{"params": weights, "lr": config.lr * scale, SCALE: scale} for scale, weights in groups.items()]
