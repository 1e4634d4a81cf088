"""The contract of a method: what it declares, and the few functions the loop calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from noisybench.data.loader import Batch, Pass
from noisybench.methods.context import Context
from noisybench.methods.store import copy_saved
from noisybench.spec.values import Settings

AnySettings = Settings  # by another name: within Method, ``Settings`` is the method's own class


@dataclass
class StepOutput:
    """What one training step found.

    Attributes:
        loss: scalar, the loss the step descended (over this process's rows).
        logits: N×C of the headline network in train mode, for the training accuracies; None if there are none.
        logs: further finite scalars by name (numbers or tensors without dimensions), averaged over the epoch's rows. In
            rows, records and trackers they are ``method/NAME``.
    """

    loss: Tensor
    logits: Tensor | None = None
    logs: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class LabelEstimate:
    """What a method believes of the training labels.

    Attributes:
        soft_labels: n×C float, rows sum to 1.
        suspicion: n float, larger means more likely wrongly labelled; only its order counts.
    """

    soft_labels: Tensor
    suspicion: Tensor


class Method:
    """One method. Subclass it, declare what it needs, and write :meth:`loss` or :meth:`training_step`.

    The loop gives a method exactly what it declares, through ``self.context``: never a path, a process number, a true
    label or a test image. Its state is every module, optimizer, tensor and number it holds as an attribute (also in
    lists and dicts) and the columns of ``context.store``; all of it is saved and restored.

    Class attributes:
        needs: what it reads beyond noisy images and labels: ``"meta_set"`` (clean images in every batch),
            ``"noise_rate"``, ``"noise_kind"``, ``"transition_matrix"``. Shown on boards as information used; reading
            anything undeclared raises.
        views: how many independent augmentations of each image a batch holds (``batch.views``), or their strengths:
            ``("weak", "strong")``; weak is the run's own augmentation, strong adds RandAugment.
        looks_ahead: whether it judges a step of the network, at one rate for all weights, before it takes one; then an
            optimizer whose layers have rates of their own is refused.
        heads: names that :meth:`predict` knows; the first is the headline.
        forward_equivalents: cost of a training step in forward passes of the noisy batch (a backward pass counts 2);
            :meth:`build` may set the run's own where it depends on settings.
    """

    Settings: ClassVar[type[AnySettings]] = AnySettings
    settings: Any  # a subclass annotates it with its own class
    needs: ClassVar[frozenset[str]] = frozenset()
    views: ClassVar[int | tuple[str, ...]] = 1
    looks_ahead: ClassVar[bool] = False
    heads: ClassVar[tuple[str, ...]] = ("network",)
    forward_equivalents: float = 3.0

    network: nn.Module
    optimizer: torch.optim.Optimizer

    def __init__(self, settings: AnySettings, context: Context):
        self.settings = settings
        self.context = context
        self.build()

    def build(self) -> None:
        """Make networks, optimizers and per-sample state. The default is one network with one optimizer."""
        self.network = self.context.make_network()
        self.optimizer = self.context.make_optimizer(self.network)

    def start_epoch(self, epoch: int) -> None:
        """Called before the first batch of each epoch (counted from 0), in train mode.

        What an epoch needs to know for long goes into state here: a run resumed in mid-epoch does not call it again.
        """

    def epoch_plan(self, epoch: int) -> list[Pass]:
        """The passes of an epoch, asked for after :meth:`start_epoch`; a run resumed in mid-epoch does not ask again.
        The default is one over all."""
        return [Pass()]

    def training_step(self, batch: Batch) -> StepOutput:
        """Train on one batch. The default is one step on :meth:`loss`."""
        logits = self.network(batch.images)
        loss = self.loss(logits, batch)
        self.context.step(loss, self.optimizer, before_step=self.before_step)
        return StepOutput(loss, logits)

    def before_step(self, parameters: list[nn.Parameter]) -> None:
        """Called by the default :meth:`training_step` between the backward pass and the step, with the parameters that
        have a gradient (of the global batch, in ``grad``): clip or mask it here. The default leaves it as it is."""

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """The loss of a method that is a loss: a scalar, the mean over the batch's rows."""
        raise NotImplementedError(f"{type(self).__name__} defines neither loss nor training_step")

    def predict(self, images: Tensor, head: str) -> Tensor:
        """Class probabilities (N×C) of one head. Called in eval mode, without gradients."""
        return self.network(images).softmax(dim=1)

    def estimate_labels(self) -> LabelEstimate | None:
        """What the method believes of the training labels, n rows in the train set's order; None if nothing."""
        return None

    def epoch_logs(self) -> dict[str, float]:
        """Finite scalars about the method's state, asked for at the end of each epoch; told as ``method/NAME``."""
        return {}

    def modules(self) -> dict[str, nn.Module]:
        """Every network and other module, by the name of its attribute."""
        return {name: part for name, part, *_ in _walk(vars(self)) if isinstance(part, nn.Module)}

    def set_mode(self, *, training: bool) -> None:
        """Put all modules into train or eval mode."""
        for module in self.modules().values():
            module.train(training)

    def state_dict(self) -> dict[str, Any]:
        """All state by attribute name: tensors, numbers and nested dicts of them."""
        state: dict[str, Any] = {
            "store": self.context.store.state_dict(),
            "networks_made": self.context.networks_made,  # so that a resumed run restarts from the same weights
        }
        for name, part, *_ in _walk(vars(self)):
            if isinstance(part, nn.Module | torch.optim.Optimizer):
                state[name] = part.state_dict()
            elif isinstance(part, Tensor | bool | int | float):
                state[name] = part
        return state

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state_dict` gave.

        Raises:
            ValueError: an entry has no place in this method or misses here. State that comes and goes cannot be
                restored: make it in :meth:`build`, at its full size.
        """
        differing = sorted(self.state_dict().keys() ^ state.keys())
        if differing:
            raise ValueError(f"saved state and method differ in {differing[0]!r}: make all state in build()")
        self.context.store.load_state_dict(state["store"])
        made = state["networks_made"]
        if type(made) is not int or made < 0:
            raise ValueError(f"saved 'networks_made' is {made!r}, no number of networks")
        self.context.networks_made = made
        for name, part, holder, key in list(_walk(vars(self))):
            if isinstance(part, nn.Module | torch.optim.Optimizer):
                part.load_state_dict(state[name])
            elif isinstance(part, Tensor):
                copy_saved(name, part, state[name])
            elif isinstance(part, bool | int | float) and part != state[name]:
                if not isinstance(state[name], bool | int | float):
                    raise ValueError(f"saved {name!r} is no number")
                holder[key] = state[name]


def optimizers_of(method: Method) -> dict[str, torch.optim.Optimizer]:
    """Every optimizer of a method, by the name of its attribute."""
    return {name: part for name, part, *_ in _walk(vars(method)) if isinstance(part, torch.optim.Optimizer)}


def _walk(holder: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any, Any]]:
    """A method's attributes with lists, tuples and dicts opened: ``optimizers.0`` and so on.

    Yields:
        the name, the value, what holds it, and its key there.
    """
    for key, value in holder.items() if isinstance(holder, dict) else enumerate(holder):
        if not prefix and key in ("settings", "context"):
            continue
        if isinstance(value, list | tuple | dict):
            yield from _walk(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value, holder, key
