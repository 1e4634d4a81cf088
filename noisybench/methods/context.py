"""What the loop gives a method: networks, optimizers, per-sample state, and steps with global-batch semantics."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from noisybench.core import rng
from noisybench.core.errors import UserError
from noisybench.data.loader import Stream
from noisybench.meta import classifier_inputs
from noisybench.methods.optimizers import SCALE, build_optimizer, layered_groups
from noisybench.methods.priors import Priors, UndeclaredError
from noisybench.methods.store import SampleStore
from noisybench.noise.request import NoiseTraits
from noisybench.parallel.world import World
from noisybench.spec.values import OptimizerConfig

BeforeStep = Callable[[list[nn.Parameter]], None]
Module = TypeVar("Module", bound=nn.Module)
Rows = TypeVar("Rows", Tensor, range)

# What is asked of a context and is not for methods: what to use instead.
BENCHMARKS_OWN = {
    "train": "use context.full_pass(function) for the train set's images and context.given_labels for its labels",
    "meta": "add 'meta_set' to the method's needs and use batch.meta",
    "test": "a method sees no test image outside predict",
    "true_labels": "a method sees no true label",
}


@dataclass
class Context:
    """Everything a method may know of its run.

    Attributes:
        num_classes: C.
        given_labels: n int64, the noisy labels of the train set, on the device.
        epochs: length of the run.
        batch_size: rows of a global batch; the last one of a pass may be smaller.
        device, dtype: where tensors live, and the floats' type.
        store: per-sample state.
        needs: what the method declares.
        priors: of what is known of the noise, that part; asking for more raises.
        scheduled: the optimizers whose learning rate follows the run's schedule.
        networks_made: how many initialisations were handed out; saved with the method's state.
    """

    num_classes: int
    given_labels: Tensor
    epochs: int
    batch_size: int
    device: torch.device
    dtype: torch.dtype
    store: SampleStore
    needs: frozenset[str]
    optimizer_config: OptimizerConfig
    seed: int
    world: World
    train: InitVar[Stream]
    initialise: Callable[[int], nn.Module]
    priors: Mapping[str, Any]

    def __post_init__(self, train: Stream) -> None:
        self.networks_made: int = 0
        self.scheduled: list[torch.optim.Optimizer] = []
        self.priors = Priors(self.priors, self.needs)
        # A stream leads to the files and tables of the whole dataset: what a method holds offers its images alone.
        self._num_rows, self._sweep = len(train), train.sweep
        self._made: weakref.WeakSet[nn.Module] = weakref.WeakSet()  # the run's networks

    def __getattr__(self, name: str) -> Any:
        if name in BENCHMARKS_OWN:
            raise UndeclaredError(f"context.{name} is the benchmark's own: {BENCHMARKS_OWN[name]}")
        raise AttributeError(f"context has no {name!r}")

    @property
    def noise_rate(self) -> float:
        """The requested noise rate, for methods that declare ``noise_rate``."""
        return self.priors["noise_rate"]

    @property
    def noise_kind(self) -> str:
        """The name of the noise model, for methods that declare ``noise_kind``."""
        return self.priors["noise_kind"]

    @property
    def noise_traits(self) -> NoiseTraits:
        """What is known of the noise model besides its name, for methods that declare ``noise_kind``."""
        return self.priors["noise_traits"]

    @property
    def transition_matrix(self) -> Tensor:
        """C×C, T[i, j] = P(given j | true i) in the train set, for methods that declare ``transition_matrix``."""
        return self.priors["transition_matrix"].to(self.device, self.dtype)

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

    def make_module(self, purpose: str, make: Callable[[], Module]) -> Module:
        """A further module, such as a projector: ``make()`` under this run's key for the purpose, on the run's device.

        Layers draw their first weights from torch's global generator; here the draw is a function of the run's seed
        and the purpose, alike on every process, and the generator is left as it was.
        """
        with rng.torch_seeded(self.seed, f"method-{purpose}"):
            module = make()
        return module.to(self.device, self.dtype)

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
                model: Any = network
                found = model.forward_head(model.forward_features(images), pre_logits=True)
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
        _, image = next(iter(self._sweep(slice(0, 1))))
        size = self.features(network, image).shape[1]
        for module, training in modes.items():
            module.training = training
        return size

    def restart(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Give a network the next fresh initialisation, in place, and forget its optimizer's momentum."""
        network.load_state_dict(self.make_network().state_dict())
        optimizer.state.clear()

    def restart_parts(self, network: nn.Module, parts: Sequence[nn.Module], *optimizers: torch.optim.Optimizer) -> None:
        """Give parts of a network the values of the next fresh initialisation, in place, and forget their momentum.

        The optimizers go on training them: their parameters stay the same tensors.

        Args:
            network: made by :meth:`make_network`.
            parts: modules within it, or the network itself.
            optimizers: those that may have momentum of the parts.

        Raises:
            ValueError: a part is none of the network's modules.
        """
        fresh, names = self.make_network(), {module: name for name, module in network.named_modules()}
        for part in parts:
            if part not in names:
                raise ValueError(f"this {type(part).__name__} is no part of the network")
            part.load_state_dict(fresh.get_submodule(names[part]).state_dict())
            for optimizer in optimizers:
                # Momentum of 0 is none. To take it away would leave a fused step with some and others without.
                states = [optimizer.state.get(parameter, {}) for parameter in part.parameters()]
                for value in (value for state in states for value in state.values() if isinstance(value, Tensor)):
                    value.zero_()

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

    def follow_schedule(self, optimizer: torch.optim.Optimizer) -> None:
        """Let the rate of an optimizer of the method's own rise and fall with the run's, in proportion.

        Its rate now belongs to the run's configured one.
        """
        for group in optimizer.param_groups:
            group[SCALE] = group["lr"] / self.optimizer_config.lr
        self.scheduled.append(optimizer)

    def step(
        self,
        loss: Tensor,
        optimizer: torch.optim.Optimizer,
        share: float | None = None,
        before_step: BeforeStep | None = None,
    ) -> None:
        """Backward, average the gradients over the global batch, and step.

        Args:
            loss: the mean over this process's rows.
            share, before_step: as in :meth:`apply_gradients`.
        """
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.apply_gradients(optimizer, share, before_step)

    def apply_gradients(
        self, optimizer: torch.optim.Optimizer, share: float | None = None, before_step: BeforeStep | None = None
    ) -> None:
        """Average the gradients at hand over the global batch, step, and let them go: no later pass holds them too.

        Args:
            share: this process's fraction of the rows that went through the network; of the noisy batch if not given.
            before_step: called between the two with the optimizer's parameters that have a gradient. What it makes
                of their ``grad``, alike on every process, is stepped on.
        """
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        averaged = self.world.average([p.grad for p in parameters], share)
        for parameter, gradient in zip(parameters, averaged, strict=True):
            parameter.grad = gradient
        if before_step is not None:
            before_step(parameters)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def average(self, tensors: list[Tensor], share: float | None = None) -> list[Tensor]:
        """Means over this process's rows -> means over the global batch's rows. No gradient flows.

        Args:
            share: as in :meth:`apply_gradients`.
        """
        return self.world.average(tensors, share)

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

    def gather_rows_with_gradient(self, rows: Tensor) -> Tensor:
        """As :meth:`gather_rows`, for a loss of the whole global batch that every process computes alike.

        Gradients flow through this process's rows. They are scaled so that their average, as :meth:`step` takes it, is
        the gradient of that loss; without ``share`` there.
        """
        gathered = self.gather_rows(rows)
        mine = self.world.part(len(gathered))
        scaled = rows.detach() + (rows - rows.detach()) / self.world.share
        return torch.cat([gathered[: mine.start], scaled, gathered[mine.stop :]])

    def my_rows(self, rows: Rows) -> Rows:
        """The inverse of :meth:`gather_rows`: this process's rows of a global batch's (a paired batch's too).

        Args:
            rows: one per sample of the global batch; or their numbers, ``range(size)``.
        """
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
    def full_pass(
        self, function: Callable[[Tensor, Tensor], Tensor], occasion: tuple[int, ...] | None = None
    ) -> Tensor:
        """Run a function over the whole train set and collect its rows in the set's order.

        The networks run in the mode they are in: put them into eval mode first if that is meant.

        Args:
            function: from (images N×C×H×W, index N) to N×… rows.
            occasion: augment the images under draws of this key, e.g. (epoch, view); not augmented if not given.
        """
        sweep = self._sweep(self.world.part(self._num_rows), occasion)
        rows = [function(images, index) for index, images in sweep]
        return self.world.gather_rows(torch.cat(rows))

    def generator(self, purpose: str, *parts: int | str) -> np.random.Generator:
        """Keyed randomness of the method: the same draws on every process, whatever was drawn before."""
        return rng.generator(self.seed, f"method-{purpose}", *parts)
