"""What the loop gives a method: networks, optimizers, per-sample state, and steps with global-batch semantics."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from noisybench.core import rng
from noisybench.core.errors import UserError
from noisybench.data.loader import Stream
from noisybench.meta import classifier_inputs
from noisybench.methods.optimizers import build_optimizer, layered_groups
from noisybench.methods.store import SampleStore
from noisybench.noise.request import NoiseTraits
from noisybench.parallel.world import World
from noisybench.spec.values import OptimizerConfig


class UndeclaredError(RuntimeError):
    """A method asked for something it does not declare in ``needs``."""


@dataclass
class Context:
    """Everything a method may know of its run.

    Attributes:
        num_classes: C.
        given_labels: n int64, the noisy labels of the train set, on the device.
        epochs: length of the run.
        device, dtype: where tensors live, and the floats' type.
        store: per-sample state.
        scheduled: the optimizers whose learning rate follows the run's schedule.
        networks_made: how many initialisations were handed out; saved with the method's state.
    """

    num_classes: int
    given_labels: Tensor
    epochs: int
    device: torch.device
    dtype: torch.dtype
    store: SampleStore
    needs: frozenset[str]
    optimizer_config: OptimizerConfig
    seed: int
    world: World
    train: Stream
    initialise: Callable[[int], nn.Module]
    priors: dict[str, Any]

    def __post_init__(self) -> None:
        self.networks_made: int = 0
        self.scheduled: list[torch.optim.Optimizer] = []
        self._made: weakref.WeakSet[nn.Module] = weakref.WeakSet()  # the run's networks

    def _prior(self, name: str) -> Any:
        if name not in self.needs:
            raise UndeclaredError(f"{name} is read but not declared: add {name!r} to the method's needs")
        return self.priors[name]

    @property
    def noise_rate(self) -> float:
        """The requested noise rate, for methods that declare ``noise_rate``."""
        return self._prior("noise_rate")

    @property
    def noise_kind(self) -> str:
        """The name of the noise model, for methods that declare ``noise_kind``."""
        return self._prior("noise_kind")

    @property
    def noise_traits(self) -> NoiseTraits:
        """What is known of the noise model besides its name, for methods that declare ``noise_kind``."""
        if "noise_kind" not in self.needs:
            raise UndeclaredError("noise_traits is read but not declared: add 'noise_kind' to the method's needs")
        return self.priors["noise_traits"]

    @property
    def transition_matrix(self) -> Tensor:
        """C×C, T[i, j] = P(given j | true i) in the train set, for methods that declare ``transition_matrix``."""
        return self._prior("transition_matrix").to(self.device, self.dtype)

    def one_hot_labels(self) -> Tensor:
        """The given labels as one-hot rows (n×C, in ``dtype``), without the table of integers that F.one_hot makes."""
        rows = torch.zeros(len(self.given_labels), self.num_classes, device=self.device, dtype=self.dtype)
        return rows.scatter_(1, self.given_labels[:, None], 1.0)

    def make_network(self) -> nn.Module:
        """A freshly initialised network of the run's model. The k-th one of a run has the k-th initialisation."""
        self.networks_made += 1
        network = self.initialise(self.networks_made - 1).to(self.device, self.dtype)
        self._made.add(network)
        return network

    def features(self, network: nn.Module, images: Tensor) -> Tensor:
        """What a network's classifier is given: pre-logits of any timm network, in the run's mixed precision.

        Args:
            network: in the mode that is meant, as :meth:`make_network` made it or a copy of that.
            images: N×C×H×W.

        Returns:
            N×D, in ``dtype``, with their graph.

        Raises:
            UserError: the model gives no such features.
        """
        if hasattr(network, "forward_features") and hasattr(network, "forward_head"):
            with self.world.autocast():
                found = network.forward_head(network.forward_features(images), pre_logits=True)
        else:
            try:
                with classifier_inputs(network) as kept:
                    network(images)
            except ValueError as error:
                raise UserError(
                    f"this method reads a model's features, which {type(network).__name__} does not give: take one "
                    "with forward_features and forward_head, as timm's are"
                ) from error
            (found,) = kept
        if not isinstance(found, Tensor) or found.dim() != 2:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise UserError(
                f"this method reads a model's features, a row for each image; {type(network).__name__} gives {shape}"
            )
        return found.to(self.dtype)

    @torch.no_grad()
    def num_features(self, network: nn.Module) -> int:
        """D of :meth:`features`, found with the first image of the train set; the network is left as it is.

        Raises:
            UserError: as of :meth:`features`.
        """
        modes = {module: module.training for module in network.modules()}
        network.eval()
        image = self.train.images(torch.zeros(1, dtype=torch.int64, device=self.device))
        size = self.features(network, image).shape[1]
        for module, training in modes.items():
            module.training = training
        return size

    def restart(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Give a network the next fresh initialisation, in place, and forget its optimizer's momentum."""
        network.load_state_dict(self.make_network().state_dict())
        optimizer.state.clear()

    def make_optimizer(self, *modules: nn.Module) -> torch.optim.Optimizer:
        """The run's optimizer over these modules' parameters; its learning rate follows the run's schedule.

        Layers of the run's networks have rates of their own where the configuration says so; other modules have the
        whole rate.

        Raises:
            UserError: they are to have such rates, and the model does not say which part is its classifier.
        """
        parameters: list[Any] = [p for module in modules for p in module.parameters() if p.requires_grad]
        if self.optimizer_config.layered:
            parameters = [group for module in modules for group in self._groups(module)]
        optimizer = build_optimizer(self.optimizer_config, parameters)
        self.scheduled.append(optimizer)
        return optimizer

    def _groups(self, module: nn.Module) -> list[dict[str, Any]]:
        if module in self._made:
            return layered_groups(self.optimizer_config, module)
        return [{"params": [p for p in module.parameters() if p.requires_grad]}]

    def step(self, loss: Tensor, optimizer: torch.optim.Optimizer, share: float | None = None) -> None:
        """Backward, average the gradients over the global batch, and step.

        Args:
            loss: the mean over this process's rows.
            share: as in :meth:`apply_gradients`.
        """
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.apply_gradients(optimizer, share)

    def apply_gradients(self, optimizer: torch.optim.Optimizer, share: float | None = None) -> None:
        """Average the gradients at hand over the global batch, step, and let them go: no later pass holds them too.

        Args:
            share: this process's fraction of the rows that went through the network; of the noisy batch if not given.
        """
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        averaged = self.world.average([p.grad for p in parameters], share)
        for parameter, gradient in zip(parameters, averaged, strict=True):
            parameter.grad = gradient
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def average(self, tensors: list[Tensor]) -> list[Tensor]:
        """Means over this process's rows -> means over the global batch's rows. No gradient flows."""
        return self.world.average(tensors)

    @property
    def meta_share(self) -> float:
        """This process's fraction of the present meta batch."""
        return self.world.meta_share

    def average_meta(self, tensors: list[Tensor]) -> list[Tensor]:
        """Means over this process's clean images -> means over the global meta batch. No gradient flows."""
        return self.world.average(tensors, share=self.world.meta_share)

    def global_mean(self, mean: Tensor, share: float | None = None) -> Tensor:
        """A mean over this process's rows -> over the global batch's; gradients flow through this process's part.

        For losses of a batch mean, such as a penalty on the mean prediction.

        Args:
            share: as in :meth:`apply_gradients`.
        """
        return mean + (self.world.average([mean], share)[0] - mean).detach()

    def gather_rows(self, rows: Tensor) -> Tensor:
        """One row per sample of this process -> one per sample of the global batch. No gradient flows."""
        return self.world.gather_rows(rows.detach())

    def my_rows(self, rows: Tensor) -> Tensor:
        """The inverse of :meth:`gather_rows`: this process's rows of a global batch's (a paired batch's too)."""
        return rows[self.world.part(len(rows))]

    def weighted_mean(self, values: Tensor, weights: Tensor | float, share: float | None = None) -> Tensor:
        """Σ w_i·v_i over the global batch, as a loss of this process.

        Args:
            values: N, per-sample losses, or N×… (the sum is over rows).
            weights: N, or N×1…, this process's part of weights that are normalised over the global batch (for a
                plain mean, 1/global size each).
            share: as in :meth:`apply_gradients`.
        """
        return (values * weights).sum(dim=0) / (self.world.share if share is None else share)

    @torch.no_grad()
    def full_pass(self, function: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Run a function over the whole train set, without augmentation, and collect its rows in the set's order.

        The networks run in the mode they are in: put them into eval mode first if that is meant.

        Args:
            function: from (images N×C×H×W, index N) to N×… rows.
        """
        sweep = self.train.sweep(self.world.part(len(self.train)))
        rows = [function(images, index) for index, images in sweep]
        return self.world.gather_rows(torch.cat(rows))

    def generator(self, purpose: str, *parts: int | str) -> np.random.Generator:
        """Keyed randomness of the method: the same draws on every process, whatever was drawn before."""
        return rng.generator(self.seed, f"method-{purpose}", *parts)
