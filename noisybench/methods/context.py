"""What the loop gives a method: networks, optimizers, per-sample state, and steps with global-batch semantics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from noisybench.config import OptimizerConfig
from noisybench.distributed import World
from noisybench.methods.store import SampleStore


class UndeclaredError(RuntimeError):
    """A method asked for something it does not declare in ``needs``."""


@dataclass
class Context:
    """Everything a method may know of its run.

    Attributes:
        num_classes: C.
        given_labels: n int64, the noisy labels of the train set, on the device.
        epochs: length of the run.
        steps_per_epoch: batches of one epoch.
        device, dtype: where tensors live, and the floats' type.
        store: per-sample state.
    """

    num_classes: int
    given_labels: Tensor
    epochs: int
    steps_per_epoch: int
    device: torch.device
    dtype: torch.dtype
    store: SampleStore
    needs: frozenset[str]
    optimizer_config: OptimizerConfig
    world: World
    network_factory: Callable[[int], nn.Module]
    known_noise_rate: float

    def __post_init__(self):
        self._networks_made = 0
        self.scheduled: list[torch.optim.Optimizer] = []

    @property
    def noise_rate(self) -> float:
        """The requested noise rate, for methods that declare ``noise_rate``."""
        if "noise_rate" not in self.needs:
            raise UndeclaredError("noise_rate is read but not declared: add 'noise_rate' to the method's needs")
        return self.known_noise_rate

    def make_network(self) -> nn.Module:
        """A freshly initialised network of the run's model. The k-th one of a run has the k-th initialisation."""
        self._networks_made += 1
        return self.network_factory(self._networks_made - 1).to(self.device, self.dtype)

    def make_optimizer(self, *modules: nn.Module) -> torch.optim.Optimizer:
        """The run's optimizer over these modules' parameters; its learning rate follows the run's schedule."""
        parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        optimizer = _build_optimizer(self.optimizer_config, parameters)
        self.scheduled.append(optimizer)
        return optimizer

    def step(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Backward, average the gradients over the global batch, and step.

        Args:
            loss: the mean over this process's rows.
        """
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.apply_gradients(optimizer)

    def apply_gradients(self, optimizer: torch.optim.Optimizer) -> None:
        """Average the gradients at hand over the global batch, and step."""
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        for parameter, gradient in zip(parameters, self.average([p.grad for p in parameters]), strict=True):
            parameter.grad = gradient
        optimizer.step()

    def average(self, tensors: list[Tensor]) -> list[Tensor]:
        """Means over this process's rows -> means over the global batch's rows."""
        return self.world.average(tensors)


def _build_optimizer(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    if config.name == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            nesterov=config.nesterov,
        )
    adam = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return adam(parameters, lr=config.lr, betas=(config.momentum, 0.999), weight_decay=config.weight_decay)
