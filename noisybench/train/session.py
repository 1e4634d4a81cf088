"""One training, assembled once: data, method and loader, and the steps and evaluations of its epochs.

It writes no file and talks to nobody; a run, a finished run loaded again, the conformance kit, benchmarks and tests
train by it alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisybench.core import rng
from noisybench.core.errors import MethodError, ProcessLost
from noisybench.data.loader import Batch, Pass
from noisybench.methods.base import LabelEstimate, StepOutput, optimizers_of
from noisybench.methods.optimizers import rate_of, set_rate
from noisybench.noise.kinds import traits_of
from noisybench.spec.config import ResolvedConfig
from noisybench.spec.metrics import EPOCH, EVALUATION_SETS, LEARNING_RATE
from noisybench.spec.schedule import learning_rate
from noisybench.train.build import Place, build
from noisybench.train.evaluate import TrainingMeter, detection_quality, evaluated, label_quality, suspicion_of_labels
from noisybench.train.logs import STEP_HOOK, named_logs, with_epoch_logs
from noisybench.train.needs import declared_needs
from noisybench.train.outputs import BadOutput, check_estimate, check_plan, check_step
from noisybench.train.prepare import RunData, streams
from noisybench.train.progress_made import BegunEpoch, Past, saved_progress


@dataclass(frozen=True)
class Step:
    """One training step: its batch, what the method gave, and the part of the epoch that is done with it."""

    batch: Batch
    output: StepOutput
    done: float


class Session:
    """One method in training on the data of a run.

    Attributes:
        streams: the data on the device.
        needs: what the method declared when it was built, whatever it says later.
        method, loader: as built; the loader feeds the method what it declares.
        past: what is behind it; its state, with the method's.

    Raises:
        UserError: the method, the model and the data do not fit together.
        MethodError: the method raised while it was built.
    """

    def __init__(self, config: ResolvedConfig, data: RunData, place: Place):
        self.config, self.data, self.place, self.world = config, data, place, place.world
        self.streams = streams(config, data, place.device, place.dtype)
        self.needs = declared_needs(config.method)
        self.method, self.loader = build(config, data, self.streams, place)
        self.past = Past()
        self._epoch: tuple[int, BegunEpoch, TrainingMeter] | None = None  # the one that has begun and is not evaluated

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines that a user should read of how the networks were made."""
        return tuple(getattr(self.method.context.initialise, "notes", ()))

    def epochs_left(self) -> range:
        """The numbers of the epochs that are not done, counted from 0."""
        return range(len(self.past.curves), self.config.epochs)

    def train(self, epoch: int) -> Iterator[Step]:
        """Train one epoch, or the rest of one that was paused. A step is done when it is given out.

        Raises:
            MethodError: the method raised; names the step.
        """
        started = time.perf_counter()
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, BegunEpoch(self.past.step, self.begin_epoch(epoch)), self.new_meter()
        _, begun, meter = self._epoch
        for step in self.steps(epoch, begun, skip=self.past.step - begun.first_step):
            meter.add(step.batch, step.output)
            self.past.step = step.batch.step + 1
            self.past.train_seconds += time.perf_counter() - started
            yield step
            started = time.perf_counter()
        self.past.train_seconds += time.perf_counter() - started

    def begin_epoch(self, epoch: int) -> list[Pass]:
        """Set the epoch's learning rate and let the method begin it; the passes that it plans.

        Raises:
            MethodError: the method raised; names the step.
        """
        rate = learning_rate(self.config.optimizer.lr, self.config.schedule, epoch, self.config.epochs)
        for optimizer in self.method.context.scheduled:
            set_rate(optimizer, rate)
        self.guarded(self.method.start_epoch, epoch)
        return self.guarded(lambda: check_plan(self.method.epoch_plan(epoch), len(self.streams.train)))

    def steps(self, epoch: int, begun: BegunEpoch, skip: int = 0) -> Iterator[Step]:
        """The training steps of an epoch that has begun, without the first ``skip``: no more than the method does.

        Raises:
            MethodError: the method raised; names the step.
        """
        loader, world, config = self.loader, self.world, self.config
        batches = sum(loader.num_batches(part) for part in begun.passes)
        first = begun.first_step  # the run's step count before the pass
        for number, part in enumerate(begun.passes):
            size = loader.num_batches(part)
            skipped = min(max(begun.first_step + skip - first, 0), size)
            for batch in loader.batches(part, epoch=epoch, number=number, first_step=first, skip=skipped):
                with world.computing(world.share_of(batch.global_size, config.batch_size)):
                    key = rng.key(config.seed, "step", batch.step, 0 if world.alone else world.rank)
                    rng.seed_torch(key, self.place.device)
                    output = self.guarded(self._checked_step, batch, step=batch.step)
                    yield Step(batch, output, (batch.step + 1 - begun.first_step) / batches)
            first += size

    def _checked_step(self, batch: Batch) -> StepOutput:
        output = check_step(self.method.training_step(batch), batch, self.data.dataset.num_classes)
        named_logs(self.config.method, batch.step, STEP_HOOK, output.logs)
        return output

    def new_meter(self) -> TrainingMeter:
        """A meter for one epoch."""
        true = self.data.true_labels
        on_device = None if true is None else torch.from_numpy(true).to(self.place.device)
        return TrainingMeter(self.streams.train.labels, on_device, self.world)

    def evaluate(self) -> dict[str, Any]:
        """End the epoch that was trained, and evaluate: its row of metrics, which is also added to ``past.curves``.

        Raises:
            MethodError: the method raised, or what it logs is no finite number.
        """
        row = self._end_epoch()
        for name in EVALUATION_SETS:
            stream = getattr(self.streams, name)
            if stream is not None:
                row |= self.guarded(evaluated, self.method, stream, name, self.world)
        row |= self._of_labels()
        self.past.curves.append(row)
        self._epoch = None
        return row

    def _of_labels(self) -> dict[str, float | None]:
        """What the benchmark measures of the training labels, as the method sees them now.

        A method without an estimate is asked for its headline head's probabilities in the last epoch, where the value
        counts: that is a pass over the train set.
        """
        given, true = self.data.given_labels, self.data.true_labels
        estimate = self.estimate_labels()
        if estimate is not None:
            found = self.guarded(label_quality, estimate, given, true)
            return found | self.guarded(detection_quality, estimate.suspicion, given, true, self._share_wrong)
        last = len(self.past.curves) == self.config.epochs - 1
        if not last or true is None:
            return {}
        suspicion = self.guarded(suspicion_of_labels, self.method, self.streams.train, self.world)
        return self.guarded(detection_quality, suspicion, given, true, self._share_wrong)

    @property
    def _share_wrong(self) -> float:
        """The expected share of wrong labels, as it is known before the run."""
        return self.data.noise_rate * traits_of(self.data.noise.kind).wrong_per_rate

    def _begun(self) -> tuple[int, BegunEpoch, TrainingMeter]:
        if self._epoch is None:
            raise RuntimeError("no epoch has begun: train one first")
        return self._epoch

    def _end_epoch(self) -> dict[str, Any]:
        """The means over the epoch's training steps, with what the method logs."""
        started = time.perf_counter()
        epoch, _, meter = self._begun()
        row = {EPOCH.name: epoch, LEARNING_RATE.name: self._learning_rate(), **meter.means()}
        logs = self.guarded(self.method.epoch_logs)
        bad = meter.first_bad_step()
        self.past.train_seconds += time.perf_counter() - started
        if bad is not None:
            raise MethodError(self.config.method, bad, "its loss is not finite", check="finite losses")
        row = with_epoch_logs(row, self.config.method, self.past.step, logs)
        self.world.average_buffers(self.method.modules().values())
        return row

    def _learning_rate(self) -> float | None:
        """The rate that the method's first optimizer has now; None if it has no optimizer."""
        optimizer = next(iter(optimizers_of(self.method).values()), None)
        return None if optimizer is None else rate_of(optimizer)

    def estimate_labels(self) -> LabelEstimate | None:
        """What the method believes of the training labels now.

        Raises:
            MethodError: the method raised.
        """
        size, num_classes = len(self.streams.train), self.data.dataset.num_classes
        return self.guarded(lambda: check_estimate(self.method.estimate_labels(), size, num_classes))

    def checked_labels(self) -> tuple[np.ndarray, np.ndarray] | None:
        """True and shipped labels (int64) of the images that the user has checked; None if there are none."""
        if self.config.clean_labels is None:
            return None
        rows = np.flatnonzero(self.data.known >= 0)
        return self.data.known[rows], self.data.noise.noisy[rows]

    @torch.no_grad()
    def predict_train_set(self) -> Tensor:
        """The headline network's class probabilities (n×C) on the noisy train set, in its order, not augmented."""
        method, train = self.method, self.streams.train
        method.set_mode(training=False)
        found = [method.predict(images, method.heads[0]) for _, images in train.sweep(slice(None))]
        method.set_mode(training=True)
        return torch.cat(found)

    def pause(self) -> None:
        """Bring all processes to one state within an epoch, so that :meth:`state_dict` can be saved."""
        started = time.perf_counter()
        _, begun, meter = self._begun()
        begun.meter = meter.state_dict()
        self.past.train_seconds += time.perf_counter() - started
        self.world.average_buffers(self.method.modules().values())

    def state_dict(self) -> dict[str, Any]:
        """All state as nested dicts of tensors and plain values: ``method``, ``past``, and ``epoch``, the one that has
        begun (None between epochs)."""
        epoch = None
        if self._epoch is not None:
            begun = self._epoch[1]
            epoch = {**vars(begun), "passes": [vars(part) for part in begun.passes]}
        return {"method": self.method.state_dict(), "past": vars(self.past).copy(), "epoch": epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state_dict` gave.

        Raises:
            DamagedCheckpoint: it is no state of such a run.
            MethodError: the method does not take its state.
        """
        past, epoch = saved_progress(state, self.config.epochs, len(self.streams.train))
        self.past, self._epoch = past, None
        if epoch is not None:
            meter = self.new_meter()
            meter.load_state_dict(epoch.meter)
            self._epoch = len(past.curves), epoch, meter
        self.guarded(self.method.load_state_dict, state["method"])

    def guarded(self, hook: Callable, *arguments: Any, step: int | None = None) -> Any:
        """Call a method's hook; what it raises is reported with the method's name and the step.

        Args:
            step: counted from 0; the steps done if not given.
        """
        number = self.past.step if step is None else step
        try:
            return hook(*arguments)
        except (ProcessLost, MethodError):
            raise
        except BadOutput as error:
            raise MethodError(self.config.method, number, error.what, check=error.check) from error
        except Exception as error:
            raise MethodError(self.config.method, number, f"{type(error).__name__}: {error}") from error
