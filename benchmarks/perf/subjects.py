"""What has a step that can be measured: methods in their last phase, references, and the bare loop."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from benchmarks.perf.bare import bare_step
from benchmarks.perf.problem import EPOCHS, Problem, Size, batch_tensors, laid_out
from benchmarks.perf.references import AuthorsMSLG, OfficialMLNT
from noisybench.core.errors import UserError, unknown_name
from noisybench.core.nested import merge
from noisybench.methods.optimizers import build_optimizer
from noisybench.spec import registry
from noisybench.spec.text import parse_override

REFERENCES = {("mslg", "double-backward"): AuthorsMSLG, ("mlnt", "official"): OfficialMLNT}
ENGINES = ("jvp", "head", "finite-difference", "double-backward")
# Where a method under its recipe for ``synthetic`` would end in a cheaper step than its costliest.
COSTLY = {"mlnt": {"label_sets": 10}, "pencil": {"freeze_epoch": EPOCHS}, "joint": {"first_stage_epochs": EPOCHS}}
BATCHES = 4  # that take turns


@dataclass(frozen=True)
class Variant:
    """A method with settings, or the reference step of one.

    Attributes:
        name: as it was asked for: ``mslg``, ``mslg[engine=head]``, ``mlnt[official]``.
        method: its name.
        settings: above the method's recipe for ``synthetic``.
        reference: the name of the reference step; None for the method's own.
    """

    name: str
    method: str
    settings: dict[str, Any] = field(default_factory=dict, hash=False)
    reference: str | None = None

    @classmethod
    def parse(cls, text: str) -> Variant:
        """``NAME`` or ``NAME[SETTING=VALUE;…]``; a reference's name may stand beside the settings.

        Raises:
            UserError: it is written in another way, or the method or reference is unknown.
        """
        matched = re.fullmatch(r"([^\[\]]+)(?:\[([^\[\]]+)\])?", text.strip())
        if not matched:
            raise UserError(f"--methods {text!r}: write NAME or NAME[SETTING=VALUE], for example mslg[engine=head]")
        method, inside = matched.groups()
        registry.load_method(method)
        settings: dict[str, Any] = COSTLY.get(method, {})
        reference = None
        for item in inside.split(";") if inside else []:
            if "=" in item:
                settings = merge(settings, parse_override(f"method.{item.strip()}")["settings"])
            elif (method, item) in REFERENCES:
                reference = item
            else:
                known = [name for of, name in REFERENCES if of == method]
                raise unknown_name(f"reference step of {method}", item, known)
        return cls(text.strip(), method, settings, reference)


def variants(methods: str | None, engines: str | None) -> list[Variant]:
    """What to measure.

    Args:
        methods: names separated by commas; all registered methods if not given. Plain ``mslg`` stands for all engines
            asked for, plain ``mlnt`` for itself and the official step.
        engines: of MSLG, separated by commas; all if not given.

    Raises:
        UserError: a name is unknown.
    """
    chosen = [name.strip() for name in engines.split(",")] if engines is not None else list(ENGINES)
    for engine in chosen:
        if engine not in ENGINES:
            raise unknown_name("engine", engine, ENGINES)
    of_engine = {"jvp": "mslg", "double-backward": "mslg[double-backward]"}
    expanded = {
        "mslg": [of_engine.get(engine, f"mslg[engine={engine}]") for engine in chosen],
        "mlnt": ["mlnt", "mlnt[official]"],
    }
    names = registry.method_names() if methods is None else [name.strip() for name in methods.split(",")]
    return named(",".join(variant for name in names for variant in expanded.get(name, [name])))


def named(methods: str) -> list[Variant]:
    """What names separated by commas stand for, each once.

    Raises:
        UserError: a name is unknown.
    """
    return [Variant.parse(name) for name in dict.fromkeys(name.strip() for name in methods.split(","))]


class Subject:
    """Something with a step, on batches that take turns.

    Args:
        variant: what it is.
        size: of the problem.
        device: where it trains.
        channels_last: lay networks and images out so, else contiguously (the loader's layout depends on whether it
            crops).
        compiled: compile the networks (``nn.Module.compile``).
        precision: ``bf16`` runs every step under autocast.

    Raises:
        UserError: the method cannot be built.
    """

    def __init__(
        self,
        variant: Variant,
        size: Size,
        device: torch.device,
        *,
        channels_last: bool = False,
        compiled: bool = False,
        precision: str = "fp32",
    ):
        self.problem = Problem(variant.method, variant.settings, size, device)
        self.method = self.problem.method
        self.batches = self.problem.last_phase(BATCHES)
        for module in self._modules():
            _arrange(module, channels_last=channels_last, compiled=compiled)
        self.batches = [laid_out(batch, _layout(channels_last)) for batch in self.batches]
        self._taken = 0
        self._autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
        stepper = self.method
        if variant.reference is not None:
            stepper = REFERENCES[variant.method, variant.reference](self.method)
        self._training_step = stepper.training_step

    def step(self) -> None:
        """One training step on the next batch."""
        batch = self.batches[self._taken % len(self.batches)]
        self._taken += 1
        with self._autocast:
            self._training_step(batch)

    def held(self) -> list[Tensor]:
        """The tensors that a step starts from, the gradients of the step before among them."""
        state = [leaf for leaf in tree_leaves(self.method.state_dict()) if isinstance(leaf, Tensor)]
        return [*state, *_gradients(self._modules()), *batch_tensors(self.batches[self._taken % len(self.batches)])]

    def _modules(self) -> list[nn.Module]:
        return list(self.method.modules().values())


class Bare:
    """The bare loop's step on the network, optimizer settings and batches of a cross-entropy run.

    Args:
        ce: that run; it is left as it is.
    """

    def __init__(self, ce: Subject, *, channels_last: bool = False, compiled: bool = False, precision: str = "fp32"):
        self.network = copy.deepcopy(ce.method.network)
        _arrange(self.network, channels_last=channels_last, compiled=compiled)
        self.optimizer = build_optimizer(ce.problem.config.optimizer, self.network.parameters())
        layout = _layout(channels_last)
        self._batches = [(batch.images.contiguous(memory_format=layout), batch.labels) for batch in ce.batches]
        self._taken = 0
        self._autocast = torch.autocast(ce.problem.device.type, torch.bfloat16, enabled=precision == "bf16")

    def step(self) -> None:
        """One training step on the next batch."""
        images, labels = self._batches[self._taken % len(self._batches)]
        self._taken += 1
        with self._autocast:
            bare_step(self.network, self.optimizer, images, labels)

    def held(self) -> list[Tensor]:
        """The tensors that a step starts from."""
        state = [leaf for leaf in tree_leaves(self.optimizer.state_dict()) if isinstance(leaf, Tensor)]
        own = [*self.network.parameters(), *self.network.buffers(), *_gradients([self.network])]
        return [*own, *state, *self._batches[self._taken % len(self._batches)]]


def _layout(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format


def _arrange(module: nn.Module, *, channels_last: bool, compiled: bool) -> None:
    if channels_last:
        module.to(memory_format=torch.channels_last)
    if compiled:
        module.compile()


def _gradients(modules: list[nn.Module]) -> Iterator[Tensor]:
    return (weight.grad for module in modules for weight in module.parameters() if weight.grad is not None)
