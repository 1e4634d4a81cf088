"""Parts of a network: its last stage of blocks, and holding parameters still."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from torch import nn

from noisybench.meta import classifier


def last_stage(network: nn.Module) -> list[nn.Module]:
    """The blocks that make as many channels as the classifier takes: a residual network's last stage.

    A network without such blocks, like one that is a linear layer, has none.
    """
    width = classifier(network).in_features
    sequences = [module for module in network.modules() if isinstance(module, nn.Sequential)]
    blocks = [block for sequence in sequences for block in sequence if any(True for _ in block.children())]
    found = [block for block in blocks if max((c.out_channels for c in _convolutions(block)), default=0) == width]
    within = {id(inner) for block in found for inner in block.modules() if inner is not block}
    return [block for block in found if id(block) not in within]


def _convolutions(block: nn.Module) -> list[nn.Conv2d]:
    return [module for module in block.modules() if isinstance(module, nn.Conv2d)]


def parameters_of(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    """All parameters of several modules."""
    return [parameter for module in modules for parameter in module.parameters()]


@contextlib.contextmanager
def held_still(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Within it these parameters take no gradient, so that no optimizer moves them; BatchNorm's statistics do move."""
    held = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in held:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in held:
            parameter.requires_grad_(True)
