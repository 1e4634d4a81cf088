"""One training of a method on synthetic data, by the benchmark's own building blocks, watched step by step."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noisybench.conformance.bits import first_difference, snapshot, unsavable
from noisybench.conformance.finding import Finding
from noisybench.conformance.global_rng import untouched
from noisybench.conformance.seal import SealedWorld
from noisybench.conformance.setups import BATCH_SIZE, EPOCHS, Setup
from noisybench.core.errors import MethodError
from noisybench.core.nested import merge
from noisybench.data import Dataset, Images
from noisybench.data.loader import Pass
from noisybench.data.pixels import ResidentPixels
from noisybench.data.synthetic import synthetic_images
from noisybench.methods.base import LabelEstimate
from noisybench.methods.context import UndeclaredError
from noisybench.spec import registry
from noisybench.spec.config import RunConfig, build_config
from noisybench.train.checkpoint_file import load_checkpoint, save_checkpoint
from noisybench.train.evaluate import accuracies
from noisybench.train.prepare import prepare_dataset, streams
from noisybench.train.session import Step, begin_epoch, build, training_steps

CPU = torch.device("cpu")  # where the same operations give the same bits


def trial_config(name: str, setup: Setup, overrides: dict[str, Any]) -> RunConfig:
    """The configuration of a setup: the method's recipe for ``synthetic``, the setup, then what the user set."""
    given = {"method": name, "dataset": "synthetic", "epochs": EPOCHS, "batch_size": BATCH_SIZE}
    return build_config(merge(merge(given, setup.given), overrides))


@dataclass(frozen=True)
class Saved:
    """A method's state as a checkpoint gave it back, and where in the run it was taken."""

    epoch: int
    steps_in_epoch: int
    step: int
    passes: list[Pass]
    state: dict[str, Any]


class Trial:
    """A method in training. Everything it does wrong on the way raises a :class:`Finding`."""

    def __init__(self, name: str, setup: Setup, overrides: dict[str, Any]):
        self.setup, self.step = setup, 0
        self._passes: list[Pass] = []
        self.config = trial_config(name, setup, overrides)
        card = registry.dataset_card("synthetic")
        size = self.config.image_size or card.image_size
        card = card.model_copy(update={"classes": card.classes[: setup.num_classes], "image_size": size})
        train, test = (Images(ResidentPixels(pixels), labels) for pixels, labels in synthetic_images(card))
        self.data = prepare_dataset(self.config, Dataset(card, train, test))
        self.dtype = getattr(torch, self.config.precision)
        self.streams = streams(self.config, self.data, CPU, self.dtype)
        self._inputs = self._input_tensors()
        self._world = SealedWorld()
        with self._blamed("building it"), untouched("building it", torch_too=True):
            self.method, self._loader = build(self.config, self.data, self.streams, self._world, CPU, self.dtype)

    def steps(self, epoch: int, skip: int = 0) -> Iterator[int]:
        """Train one epoch, or the rest of it after ``skip`` steps; yields the number of steps taken in the epoch."""
        first = self.step - skip
        if not skip:
            with self._blamed("training"), untouched("training", torch_too=False, step=self.step):
                self._passes = begin_epoch(self.config, self.method, epoch, self.step)
        running = training_steps(self.config, self.method, self._loader, self._world, epoch, self._passes, first, skip)
        while True:
            with self._blamed("training"), untouched("training", torch_too=False, step=self.step):
                done = next(running, None)
            if done is None:
                return
            self._look_at(done)
            self.step += 1
            yield self.step - first

    def run(self, *, evaluated: bool = True) -> Trial:
        """Train all epochs, as the loop does."""
        for epoch in range(self.config.epochs):
            for _ in self.steps(epoch):
                pass
            if evaluated:
                self.evaluate()
        return self

    def resume(self, saved: Saved) -> Trial:
        """Put back a saved state and train the rest."""
        with self._blamed("putting back its state", check="state"):
            self.method.load_state_dict(saved.state)
        self.step, self._passes = saved.step, saved.passes
        for epoch in range(saved.epoch, self.config.epochs):
            for _ in self.steps(epoch, saved.steps_in_epoch if epoch == saved.epoch else 0):
                pass
            self.evaluate()
        return self

    def save(self, epoch: int, steps_in_epoch: int) -> Saved:
        """The state, through a checkpoint on disk."""
        with self._blamed("giving its state", check="state"):
            state = snapshot(self.method.state_dict())
        foreign = unsavable(state)
        if foreign is not None:
            raise Finding("state", f"{foreign} is neither tensor nor number: it cannot be saved", self.step)
        with tempfile.TemporaryDirectory() as folder, self._blamed("saving its state", check="state"):
            loaded = load_checkpoint(save_checkpoint(Path(folder), self.step, state))
        difference = first_difference(state, loaded)
        if difference is not None:
            raise Finding("state", f"{difference} does not survive a checkpoint", self.step)
        return Saved(epoch, steps_in_epoch, self.step, self._passes, loaded)

    def state(self) -> dict[str, Any]:
        """Everything the method holds now."""
        return snapshot(self.method.state_dict())

    def evaluate(self) -> float:
        """What the loop asks after an epoch; the headline's test accuracy."""
        with self._blamed("evaluating it"), untouched("evaluating it", torch_too=True, step=self.step):
            logs = self.method.epoch_logs()
            accuracy = accuracies(self.method, self.streams.test, self._world)[self.method.heads[0]]
            self.method.estimate_labels()
        for name, value in logs.items():
            if not math.isfinite(value):
                raise Finding("finite losses", f"epoch_logs gives {name} = {value}", self.step)
        return accuracy

    def estimate(self) -> LabelEstimate | None:
        with self._blamed("estimate_labels", check="label estimates"):
            return self.method.estimate_labels()

    @torch.no_grad()
    def predict(self, head: str, rows: slice) -> Tensor:
        """Probabilities of test images."""
        self.method.set_mode(training=False)
        with self._blamed(f"predict with head {head!r}", check="predictions"):
            probabilities = self.method.predict(self.streams.test.images(rows), head)
        self.method.set_mode(training=True)
        return probabilities

    def inputs_changed(self) -> bool:
        """Whether the given labels or the images are no longer what they were."""
        return any(not torch.equal(*pair) for pair in zip(self._inputs, self._input_tensors(), strict=True))

    def _input_tensors(self) -> list[Tensor]:
        sets = [self.streams.train] + ([self.streams.meta] if self.streams.meta is not None else [])
        return [tensor.clone() for part in sets for tensor in (part.pixels[:], part.labels, part.sample)]

    def _look_at(self, done: Step) -> None:
        """Check one step's output."""
        output, step = done.output, done.batch.step
        if (done.batch.meta_images is not None) != ("meta_set" in self.method.needs):
            raise Finding("declared information", "a batch has meta images exactly if meta_set is declared", step)
        if not isinstance(output.loss, Tensor) or output.loss.ndim != 0:
            raise Finding("finite losses", f"the loss is no scalar tensor but {_describe(output.loss)}", step)
        for name, value in {"loss": output.loss, **output.logs}.items():
            number = float(value.detach()) if isinstance(value, Tensor) else float(value)
            if not math.isfinite(number):
                raise Finding("finite losses", f"{name} is {number} [{self.setup.title}]", step)
        expected = (len(done.batch.index), self.setup.num_classes)
        if output.logits is not None and tuple(output.logits.shape) != expected:
            raise Finding("trains", f"StepOutput.logits has shape {tuple(output.logits.shape)}, not {expected}", step)
        if output.loss.dtype != self.dtype:
            raise Finding("precision", f"the loss is {output.loss.dtype} in a run of {self.dtype}", step)

    @contextlib.contextmanager
    def _blamed(self, where: str, check: str = "trains") -> Iterator[None]:
        """Turn what the method raises into a :class:`Finding`."""
        try:
            yield
        except Finding:
            raise
        except Exception as error:
            undeclared = next((e for e in (error, error.__cause__) if isinstance(e, UndeclaredError)), None)
            step = error.step if isinstance(error, MethodError) else self.step
            if undeclared is not None:
                raise Finding("declared information", str(undeclared), step) from error
            what = error.reason if isinstance(error, MethodError) else f"{where}: {type(error).__name__}: {error}"
            raise Finding(check, f"{what} [{self.setup.title}]", step) from error


def _describe(value: Any) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
