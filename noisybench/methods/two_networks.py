"""What methods that train two networks side by side share: the networks, their optimizers and the evaluation heads."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from noisybench.methods.base import Method


class TwoNetworks(Method):
    """Two networks of one architecture with different initialisations, each with an optimizer of its own by default.

    Heads: ``ensemble`` (the mean of both networks' probabilities, the headline), ``network1`` and ``network2``.
    """

    heads: ClassVar[tuple[str, ...]] = ("ensemble", "network1", "network2")
    forward_equivalents: float = 6.0

    def build(self) -> None:
        self.networks: list[nn.Module] = [self.context.make_network() for _ in range(2)]
        self.optimizers: list[torch.optim.Optimizer] = self.make_optimizers()

    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        """One optimizer per network; a method that trains both jointly makes one."""
        return [self.context.make_optimizer(network) for network in self.networks]

    def predict(self, images: Tensor, head: str) -> Tensor:
        if head == "ensemble":
            return mean_probability([network(images) for network in self.networks])
        return self.networks[int(head == "network2")](images).softmax(dim=1)


def mean_probability(logits: list[Tensor]) -> Tensor:
    """The mean over networks or views of softmax(logits): a list of N×C -> N×C."""
    return torch.stack(logits).softmax(dim=2).mean(dim=0)
