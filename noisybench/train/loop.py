"""The one training loop, from a RunConfig to a RunRecord."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from noisybench.core.errors import MethodError, RunStopped
from noisybench.core.machine import keep_freed_memory
from noisybench.data.loader import TrainLoader
from noisybench.methods.base import Method
from noisybench.models.sync_batchnorm import has_batchnorm
from noisybench.parallel.connect import make_accelerator
from noisybench.parallel.signals import StopSignals
from noisybench.parallel.watch import watched
from noisybench.parallel.world import World
from noisybench.spec.config import RunConfig
from noisybench.spec.metrics import EPOCH, LEARNING_RATE
from noisybench.spec.record import RunRecord
from noisybench.spec.schedule import learning_rate
from noisybench.train.checkpoints import BegunEpoch, Checkpoints, Past
from noisybench.train.evaluate import TrainingMeter
from noisybench.train.logs import with_epoch_logs
from noisybench.train.output import OutputFolder
from noisybench.train.prepare import RunData, prepare, streams
from noisybench.train.progress import Progress
from noisybench.train.result import _record
from noisybench.train.session import _evaluate, _guarded, _label_metrics, begin_epoch, build, training_steps
from noisybench.train.trackers import Tracker


def default_output(config: RunConfig) -> Path:
    """Where a run goes if nothing is said: ``runs/`` below the working directory, named by what it is."""
    rate = f"{config.noise}-{config.noise_rate:g}"
    method = config.method.replace(":", ".")  # package.module:Class
    name = f"{method}-{config.dataset}-{rate}-seed{config.seed}-{config.run_id[:8]}"
    return Path("runs") / re.sub(r"[^\w.-]+", "-", name)  # own datasets are named by a path


def run(config: RunConfig, *, resume: bool = False, progress: Progress | None = None) -> RunRecord:
    """Train and evaluate one method under the protocol.

    On a CPU the process keeps freed memory from now on (:mod:`noisybench.core.machine`).

    Args:
        config: what to run.
        resume: continue an unfinished run in the output folder (or start, if there is none).
        progress: where to report; silent if not given.

    Returns:
        The record, also written to ``result.json`` in the output folder.

    Raises:
        UserError: something in the configuration, the data or the output folder is wrong; nothing was changed then.
            Or the disk is full, or the method failed: what was saved before is intact.
        RunStopped: SIGTERM, SIGINT or SIGUSR1 came. The run is saved where it was and goes on from there on ``resume``.
    """
    output = OutputFolder(config.output or default_output(config))
    with StopSignals() as signals, watched(), contextlib.closing(output):
        accelerator = make_accelerator(
            mixed_precision=config.mixed_precision, log_with="wandb" if config.wandb else None
        )
        world = World(accelerator)
        if progress is None or not world.is_main:
            progress = Progress()
        with contextlib.closing(progress):
            return _run(config, output, signals, accelerator, world, resume=resume, progress=progress)


def _run(
    config: RunConfig,
    output: OutputFolder,
    signals: StopSignals,
    accelerator: Accelerator,
    world: World,
    *,
    resume: bool,
    progress: Progress,
) -> RunRecord:
    with world.together():
        if world.is_main:
            output.check(config, resume=resume)
        finished = output.finished()
    world.same("configuration", config.run_id)
    world.same("content of the output folder (all must share it)", finished.run_id if finished is not None else "")
    if finished is not None:
        progress.finish(finished, output.path)
        return finished
    device, dtype = accelerator.device, getattr(torch, config.precision)
    if device.type == "cpu":
        keep_freed_memory()
    started = time.perf_counter()
    with world.together():
        if world.is_main and output.config.is_file():
            output.lock()

    # Everything that can be wrong is found before the output folder is touched.
    with world.together():
        data = prepare(config)
        on_device = streams(config, data, device, dtype)
    world.same("dataset or noise", data.dataset.fingerprint() + data.noise.sha256)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        method, past = None, Past()

        def start() -> None:
            if world.is_main:
                output.start(config, resume=resume)
                output.write_noise(data.noise)

        def record(error: str | None = None) -> RunRecord:
            wall_seconds = past.wall_seconds + time.perf_counter() - started
            return _record(config, method, data, past, world, device, wall_seconds, error)

        try:
            with world.together():
                method, loader = build(config, data, on_device, world, device, dtype)
        except MethodError as error:
            start()
            if world.is_main:
                output.write_result(record(str(error)))
            raise
        if world.size > 1 and not config.sync_batchnorm and any(map(has_batchnorm, method.modules().values())):
            progress.say("BatchNorm sees each process's part of a batch; --set sync_batchnorm=true is as one process")
        progress.start(config, data, output.path, device)
        with world.together():
            start()
        checkpoints = Checkpoints(output.checkpoints, config, world, device, signals, started)
        begun = None
        with world.together():
            resumed = checkpoints.resume(progress.say) if resume else None
        if resume:
            found = resumed.file.name if resumed is not None else "none"
            world.same("last checkpoint (all must share the output folder)", found)
        if resumed is not None:
            past, begun = resumed.past, resumed.epoch
            _guarded(config.method, past.step, method.load_state_dict, resumed.method)
            progress.say(f"goes on from {resumed.file.name}: {len(past.curves)} epochs and {past.step} steps are done")
        signals.defer()
        tracker = Tracker(accelerator, config, output.path, progress)

        try:
            for epoch in range(len(past.curves), config.epochs):
                row = _train_epoch(config, method, loader, data, past, begun, world, epoch, progress, checkpoints)
                world.average_buffers(method.modules().values())
                begun = None
                row |= _guarded(config.method, past.step, _evaluate, method, on_device, world)
                row |= _guarded(config.method, past.step, _label_metrics, method, data)
                past.curves.append(row)
                tracker.log(row, step=past.step)
                if world.is_main:
                    output.write_metrics(past.curves)
                checkpoints.save(method, past, None)
                progress.epoch(row)
                if epoch + 1 < config.epochs:
                    checkpoints.end_epoch()
                    checkpoints.stop_if_asked(past)
        except MethodError as error:
            if world.is_main:
                output.write_result(record(str(error)))
            raise
        except RunStopped:
            tracker.close()
            raise
        result = record()
        estimated = None
        if world.is_main:
            estimate = method.estimate_labels()
            if estimate is not None:
                output.write_labels(data.splits.train, data.given_labels, estimate, data.train_files())
                estimated = estimate.soft_labels.argmax(1).cpu().numpy()
            output.write_result(result)
        tracker.finish(result, data.noise, data.given_labels, estimated)
    world.wait()
    progress.finish(result, output.path)
    return result


def _train_epoch(
    config: RunConfig,
    method: Method,
    loader: TrainLoader,
    data: RunData,
    past: Past,
    begun: BegunEpoch | None,
    world: World,
    epoch: int,
    progress: Progress,
    checkpoints: Checkpoints,
) -> dict[str, Any]:
    """Train one epoch, or the rest of one that a checkpoint was saved in; its means, by name."""
    started = time.perf_counter()
    true = None if data.true_labels is None else torch.from_numpy(data.true_labels).to(loader.train.device)
    meter = TrainingMeter(loader.train.labels, true, world)
    if begun is None:
        begun = BegunEpoch(past.step, begin_epoch(config, method, epoch, past.step))
    else:
        meter.load_state_dict(begun.meter)
    skip = past.step - begun.first_step
    for step in training_steps(config, method, loader, world, epoch, begun.passes, begun.first_step, skip):
        meter.add(step.batch, step.output)
        progress.step(epoch + step.done)
        past.step = step.batch.step + 1
        if checkpoints.due(past.step):
            past.train_seconds += time.perf_counter() - started
            begun.meter = meter.state_dict()
            world.average_buffers(method.modules().values())
            checkpoints.save(method, past, begun)
            checkpoints.stop_if_asked(past)
            started = time.perf_counter()
    rate = learning_rate(config.optimizer.lr, config.schedule, epoch, config.epochs)
    row = {EPOCH.name: epoch, LEARNING_RATE.name: rate, **meter.means()}
    logs = _guarded(config.method, past.step, method.epoch_logs)
    past.train_seconds += time.perf_counter() - started
    if meter.first_bad_step() is not None:
        raise MethodError(config.method, meter.first_bad_step(), "its loss is not finite")
    return with_epoch_logs(row, config.method, past.step, logs)
