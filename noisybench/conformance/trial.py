"""One training of a method on synthetic data, by the benchmark's own building blocks, watched step by step."""

from __future__ import annotations

import contextlib
import itertools
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisybench.conformance.bits import first_difference, snapshot, unsavable
from noisybench.conformance.finding import Finding
from noisybench.conformance.global_rng import untouched
from noisybench.conformance.held import differing, held_by
from noisybench.conformance.seal import SealedWorld
from noisybench.conformance.setups import BATCH_SIZE, EPOCHS, Setup
from noisybench.core import rng
from noisybench.core.errors import MethodError
from noisybench.core.nested import merge
from noisybench.data import Dataset, Images
from noisybench.data.pixels import ResidentPixels
from noisybench.data.synthetic import synthetic_images
from noisybench.methods.base import Method
from noisybench.methods.priors import UndeclaredError
from noisybench.parallel.world import World
from noisybench.spec import registry
from noisybench.spec.config import ResolvedConfig
from noisybench.spec.layers import resolve_dict
from noisybench.spec.metrics import ON_TEST
from noisybench.train.build import Place
from noisybench.train.checkpoint_file import load_checkpoint, save_checkpoint
from noisybench.train.extract import with_features
from noisybench.train.outputs import BadOutput
from noisybench.train.prepare import prepare_dataset
from noisybench.train.progress import Progress
from noisybench.train.session import Session, Step

CPU = torch.device("cpu")  # where the same operations give the same bits


def trial_config(name: str, setup: Setup, overrides: dict[str, Any]) -> ResolvedConfig:
    """The configuration of a setup: the method's recipe for ``synthetic``, the setup, then what the user set."""
    given = {"method": name, "dataset": "synthetic", "epochs": EPOCHS, "batch_size": BATCH_SIZE}
    return resolve_dict(merge(merge(given, setup.given), overrides))


def _images(pixels: Tensor, labels: np.ndarray, *, telling: bool) -> Images:
    """A part of a dataset; unless it is to be telling, with images of classes drawn without a look at the labels."""
    order = np.arange(len(labels)) if telling else rng.permutation(len(labels), 0, "conformance-images")
    return Images(ResidentPixels(pixels[torch.from_numpy(order)]), labels)


@dataclass(frozen=True)
class Saved:
    """A session's state as a checkpoint gave it back, and the steps that were done.

    Attributes:
        held: digests of all that the method held (:func:`~noisybench.conformance.held.held_by`).
    """

    step: int
    state: dict[str, Any]
    held: dict[str, str]


class Trial:
    """A method in training. Everything it does wrong on the way raises a :class:`Finding`.

    Args:
        world: the processes it is trained in; a single one, which does not tell what it is, if not given.
    """

    def __init__(self, name: str, setup: Setup, overrides: dict[str, Any], world: World | None = None):
        self.setup = setup
        self.config = trial_config(name, setup, overrides)
        card = registry.dataset_card("synthetic")
        size = self.config.image_size or card.image_size
        card = card.model_copy(update={"classes": card.classes[: setup.num_classes], "image_size": size})
        train, test = (_images(pixels, labels, telling=setup.telling) for pixels, labels in synthetic_images(card))
        prepared = prepare_dataset(self.config, Dataset(card, train, test))
        self.data = with_features(self.config, prepared, CPU, Progress())
        self.dtype = getattr(torch, self.config.precision)
        with self.blamed("building it"), untouched("building it", torch_too=True):
            self.session = Session(self.config, self.data, Place(world or SealedWorld(), CPU, self.dtype))
        self._inputs = self._input_tensors()
        self.lost: list[str] = []

    @property
    def method(self) -> Method:
        return self.session.method

    @property
    def step(self) -> int:
        """Training steps done."""
        return self.session.past.step if hasattr(self, "session") else 0

    def steps(self, epoch: int) -> Iterator[int]:
        """Train one epoch, or the rest of it; yields the number of steps taken."""
        running = self.session.train(epoch)
        for taken in itertools.count(1):
            with self.blamed("training"), untouched("training", torch_too=False, step=self.step):
                done = next(running, None)
            if done is None:
                return
            self._look_at(done)
            yield taken

    def run(self, *, evaluated: bool = True) -> Trial:
        """Train all epochs, as the loop does."""
        for epoch in range(self.config.epochs):
            for _ in self.steps(epoch):
                pass
            if evaluated:
                self.evaluate()
        return self

    def put_back(self, saved: Saved) -> Trial:
        """Put back a saved state."""
        with self.blamed("putting back its state", check="state"):
            self.session.load_state_dict(saved.state)
        return self

    def resume(self, saved: Saved) -> Trial:
        """Put back a saved state and train the rest; afterwards ``lost`` names what came back as something else."""
        self.put_back(saved)
        self.lost = differing(saved.held, held_by(self.method))
        for epoch in self.session.epochs_left():
            for _ in self.steps(epoch):
                pass
            self.evaluate()
        return self

    def save(self, *, paused: bool) -> Saved:
        """The state, through a checkpoint on disk.

        Args:
            paused: within an epoch.
        """
        if paused:
            self.session.pause()
        with self.blamed("giving its state", check="state"):
            state = snapshot(self.session.state_dict())
        foreign = unsavable(state["method"])
        if foreign is not None:
            raise Finding("state", f"{foreign} is neither tensor nor number: it cannot be saved", self.step)
        with tempfile.TemporaryDirectory() as folder, self.blamed("saving its state", check="state"):
            loaded = load_checkpoint(save_checkpoint(Path(folder), self.step, state))
        difference = first_difference(state["method"], loaded["method"])
        if difference is not None:
            raise Finding("state", f"{difference} does not survive a checkpoint", self.step)
        return Saved(self.step, loaded, held_by(self.method))

    def state(self) -> dict[str, Any]:
        """Everything the method holds now."""
        return snapshot(self.method.state_dict())

    def evaluate(self) -> float:
        """What the loop does after an epoch; the headline's test accuracy."""
        with self.blamed("evaluating it"), untouched("evaluating it", torch_too=True, step=self.step):
            return self.session.evaluate()[ON_TEST.name]

    @torch.no_grad()
    def predict(self, head: str, rows: slice) -> Tensor:
        """Probabilities of test images."""
        test = self.session.streams.test
        assert test is not None  # the kit's sessions have one
        self.method.set_mode(training=False)
        probabilities = self.method.predict(test.images(rows), head)
        self.method.set_mode(training=True)
        return probabilities

    def inputs_changed(self) -> bool:
        """Whether the given labels or the images are no longer what they were."""
        return any(not torch.equal(*pair) for pair in zip(self._inputs, self._input_tensors(), strict=True))

    def _input_tensors(self) -> list[Tensor]:
        sets = (self.session.streams.train, self.session.streams.meta)
        return [tensor.clone() for part in sets if part for tensor in (part.pixels[:], part.labels, part.sample)]

    def _look_at(self, done: Step) -> None:
        """Check one step's output."""
        output, step = done.output, done.batch.step
        if (done.batch.meta_images is not None) != ("meta_set" in self.method.needs):
            raise Finding("declared information", "a batch has meta images exactly if meta_set is declared", step)
        for name, value in {"loss": output.loss, **output.logs}.items():
            number = float(value.detach()) if isinstance(value, Tensor) else float(value)
            if not math.isfinite(number):
                raise Finding("finite losses", f"{name} is {number} [{self.setup.title}]", step)
        if output.loss.dtype != self.dtype:
            raise Finding("precision", f"the loss is {output.loss.dtype} in a run of {self.dtype}", step)

    @contextlib.contextmanager
    def blamed(self, where: str, check: str = "trains") -> Iterator[None]:
        """Turn what the method raises into a :class:`Finding`."""
        try:
            yield
        except Finding:
            raise
        except Exception as error:
            undeclared = next((e for e in (error, error.__cause__) if isinstance(e, UndeclaredError)), None)
            step = error.step if isinstance(error, MethodError) else self.step
            check = error.check if isinstance(error, MethodError) and error.check != "trains" else check
            if undeclared is not None:
                raise Finding("declared information", str(undeclared), step) from error
            if isinstance(error, BadOutput):
                raise Finding(error.check, error.what, step) from error
            what = error.reason if isinstance(error, MethodError) else f"{where}: {type(error).__name__}: {error}"
            raise Finding(check, f"{what} [{self.setup.title}]", step) from error
