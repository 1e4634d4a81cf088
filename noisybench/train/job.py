"""The job around a session: its output folder, signals, checkpoints, trackers, and what the user is told."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from noisybench.core.errors import DamagedCheckpoint, MethodError, RunStopped, UserError
from noisybench.core.machine import keeping_freed_memory
from noisybench.models import check_model_name
from noisybench.models.fingerprint import weights_hash
from noisybench.models.sync_batchnorm import has_batchnorm
from noisybench.parallel.connect import make_accelerator
from noisybench.parallel.signals import StopSignals
from noisybench.parallel.watch import watched
from noisybench.parallel.world import World
from noisybench.spec.config import ResolvedConfig
from noisybench.spec.record import RunRecord
from noisybench.spec.track import phases_behind
from noisybench.train.build import Place
from noisybench.train.checkpoints import Checkpoints
from noisybench.train.extract import with_features
from noisybench.train.output import OutputFolder
from noisybench.train.prepare import RunData, prepare
from noisybench.train.progress import Progress
from noisybench.train.result import make_record
from noisybench.train.session import Session, Step
from noisybench.train.trackers import Results, TrackedRun, Trackers


def default_output(config: ResolvedConfig) -> Path:
    """Where a run goes if nothing is said: ``runs/`` below the working directory, named by what it is."""
    rate = f"{config.noise}-{config.noise_rate:g}"
    method = config.method.replace(":", ".")  # package.module:Class
    name = f"{method}-{config.dataset}-{rate}-seed{config.seed}-{config.run_id[:8]}"
    return Path("runs") / re.sub(r"[^\w.-]+", "-", name)  # own datasets are named by a path


def refuse_other_processes(config: ResolvedConfig, processes: int) -> None:
    """Refuse a number of processes with which the result is not the one that the run id stands for.

    Raises:
        UserError: names the setting that makes this number part of the run id.
    """
    if config.batch_parts not in (1, processes):
        raise UserError(
            f"batch_parts {config.batch_parts} on {processes} process{'es' * (processes != 1)}: it is for a run on "
            f"{config.batch_parts} of them; start so many, or leave it out"
        )
    if processes > 1 and config.batch_parts == 1 and config.mixed_precision == "bf16":
        raise UserError(
            f"mixed_precision bf16 on {processes} processes: rounding to bfloat16 makes it another run than on one; "
            f"give --set batch_parts={processes}, which is part of the run id, or use one process"
        )


class Job:
    """One run's surroundings; a context. While it is entered the stop signals are its own, the processes are connected,
    torch's global generator and default type are its own, and on a CPU freed memory is kept
    (:mod:`noisybench.core.machine`).

    Attributes:
        finished: the record, if the output folder holds this run completed.
    """

    def __init__(self, config: ResolvedConfig, *, resume: bool = False, progress: Progress | None = None):
        self._config, self._resume = config, resume
        self._progress = progress or Progress()
        self._output = OutputFolder(config.output or default_output(config))
        self._data: RunData | None = None
        self._session: Session | None = None
        self._trackers = Trackers([], self._progress.say)  # none before the session is assembled
        self.finished: RunRecord | None = None

    def __enter__(self) -> Job:
        with contextlib.ExitStack() as stack:
            self._signals = stack.enter_context(StopSignals())
            stack.enter_context(watched())
            stack.enter_context(contextlib.closing(self._output))
            accelerator = make_accelerator(mixed_precision=self._config.mixed_precision)
            world, device = World(accelerator), accelerator.device
            self._place = Place(world, device, getattr(torch, self._config.precision))
            with world.together():
                refuse_other_processes(self._config, world.size)
            if not world.is_main:
                self._progress = Progress()
            stack.enter_context(contextlib.closing(self._progress))
            self._look_at_output()
            if self.finished is None:
                self._started = time.perf_counter()
                if device.type == "cpu":
                    stack.enter_context(keeping_freed_memory())
                stack.enter_context(torch.random.fork_rng(devices=[device] if device.type == "cuda" else []))
                stack.enter_context(default_dtype(torch.float32))
                stack.push(self._report)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._stack.__exit__(*error)

    def _look_at_output(self) -> None:
        """Refuse a folder that holds something else, and take the sole use of it if it is there."""
        world, output = self._place.world, self._output
        with world.together():
            if world.is_main:
                output.check(self._config, resume=self._resume)
            self.finished = output.finished()
        world.same("configuration", self._config.run_id)
        found = self.finished.run_id if self.finished is not None else ""
        world.same("content of the output folder (all must share it)", found)
        if self.finished is not None:
            self._progress.finish(self.finished, output.path)
            return
        with world.together():
            if world.is_main and output.config.is_file():
                output.lock()

    def assemble(self) -> Session:
        """The session, at its start or where its last checkpoint left it.

        Whatever can be wrong is found before the output folder is touched.

        Raises:
            UserError: the data, the model and the method do not fit together, or the folder cannot be written.
            MethodError: the method raised while it was built; the folder then holds a record that says so.
        """
        config, world, output = self._config, self._place.world, self._output
        with world.together():
            check_model_name(config.model)  # before the data, which may take long to read
            trackers = Trackers(config.all_trackers if world.is_main else [], self._progress.say)
            self._data = data = with_features(config, prepare(config), self._place.device, self._progress)
        world.same("dataset or noise", data.dataset.fingerprint() + data.noise.sha256)
        try:
            with world.together():
                self._session = session = Session(config, data, self._place)
        except MethodError:
            self._start()
            raise
        with world.together():
            if self._resume and any(map(has_batchnorm, session.method.modules().values())):
                output.refuse_former_batchnorm(world.size)
        self._progress.start(config, data, output.path, self._place.device)
        for note in session.notes:
            self._progress.say(note)
        if config.frozen and not config.pretrained and config.weights is None:
            self._progress.say(
                f"warning: the frozen {config.model} has random weights, so its features tell little: give "
                f"--pretrained, --weights FILE or another --model"
            )
        for name, value in phases_behind(config.settings, config.epochs).items():
            self._progress.say(
                f"warning: method.{name} = {value} lies behind this run's {config.epochs} epochs, so what comes after "
                f"it is never run: give more --epochs, or --set method.{name}={max(1, config.epochs // 3)}"
            )
        with world.together():
            self._start()
        self._checkpoints = Checkpoints(output.checkpoints, config, self._place, self._signals, self._started)
        if self._resume:
            self._go_on(session)
        self._signals.defer()
        self._trackers = trackers
        trackers.start(TrackedRun(config, output.path))
        return session

    @property
    def session(self) -> Session:
        """What :meth:`assemble` gave."""
        if self._session is None:
            raise RuntimeError("a job's session is there once it is assembled")
        return self._session

    def _start(self) -> None:
        if self._place.world.is_main:
            self._output.start(self._config, resume=self._resume)

    def _go_on(self, session: Session) -> None:
        """Take the session to its last checkpoint, if there is one."""
        world = self._place.world
        with world.together():
            found = self._checkpoints.newest(self._progress.say)
        name = found.file.name if found is not None else "none"
        world.same("last checkpoint (all must share the output folder)", name)
        if found is not None:
            with world.together():
                try:
                    session.load_state_dict(found.state)
                except DamagedCheckpoint as error:
                    raise UserError(
                        f"checkpoint {found.file}: {error}; delete it to go on from the one before it"
                    ) from error
            epochs, steps = len(session.past.curves), session.past.step
            self._progress.say(f"goes on from {name}: {epochs} epochs and {steps} steps are done")

    def after_step(self, step: Step) -> None:
        """Tell of a training step, and save where that is due.

        Raises:
            RunStopped: a signal asked for it.
        """
        session = self.session
        self._progress.step(step.batch.epoch + step.done)
        if self._checkpoints.due(session.past.step):
            session.pause()
            self._checkpoints.save(session)
            self._checkpoints.stop_if_asked(session.past)

    def after_epoch(self, row: dict[str, Any]) -> None:
        """Tell of an epoch that was evaluated, and save.

        Raises:
            MethodError: the processes' networks are no longer the same.
            RunStopped: a signal asked for it.
        """
        session, world = self.session, self._place.world
        if world.size > 1:
            self._compare_weights()
        self._trackers.log(row, step=session.past.step)
        if world.is_main:
            self._output.write_metrics(session.past.curves)
        self._checkpoints.save(session)
        self._progress.epoch(row)
        if session.epochs_left():
            self._checkpoints.end_epoch()
            self._checkpoints.stop_if_asked(session.past)

    def _compare_weights(self) -> None:
        """Refuse networks that have come apart: a method that steps by itself trains one on each process."""
        world, session = self._place.world, self.session
        found = world.gather_texts(weights_hash(session.method.modules()))
        with world.together():
            if len(set(found)) > 1:
                raise MethodError(
                    self._config.method,
                    session.past.step,
                    "its networks differ between the processes: step through context.step or "
                    "context.apply_gradients, which average gradients over the global batch",
                )

    def finish(self) -> RunRecord:
        """Write the result; the record."""
        session, output, data = self.session, self._output, self.session.data
        result, estimate = self._record(data), session.estimate_labels()
        if self._place.world.is_main:
            if estimate is not None:
                output.write_labels(data, estimate)
            output.write_noise(data.noise)  # it holds the true labels: not before the method's last hook
            output.write_result(result)
        estimated = None if estimate is None else estimate.soft_labels.argmax(1).cpu().numpy()
        self._trackers.finish(Results(result, data.noise, data.given_labels, estimated))
        self._place.world.wait()
        self._progress.finish(result, output.path)
        return result

    def _record(self, data: RunData, error: str | None = None) -> RunRecord:
        return make_record(self._config, data, self._place, self._session, self._wall_seconds(), error)

    def _wall_seconds(self) -> float:
        earlier = 0.0 if self._session is None else self._session.past.wall_seconds
        return earlier + time.perf_counter() - self._started

    def _report(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        """Record a method's failure; end the trackers of a run that was stopped."""
        if isinstance(error, MethodError) and self._data is not None and self._place.world.is_main:
            self._output.write_result(self._record(self._data, str(error)))
        if isinstance(error, RunStopped):
            self._trackers.close()


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """What new float tensors are of, whatever the caller has set."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
