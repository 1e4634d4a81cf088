"""The one training loop, from a RunConfig to a RunRecord."""

from __future__ import annotations

import contextlib
import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from noisybench import registry, rng, state
from noisybench.allocator import keep_freed_memory
from noisybench.checkpointing import BegunEpoch, Checkpoints, Past
from noisybench.config import RunConfig
from noisybench.data.loader import Batch, Pass, TrainLoader
from noisybench.distributed import World
from noisybench.environment import git_commit, peak_memory_bytes, versions
from noisybench.errors import MethodError, ProcessLost, RunStopped, UserError
from noisybench.evaluate import TrainingMeter, accuracies, label_quality
from noisybench.methods.base import Method, StepOutput
from noisybench.methods.context import Context
from noisybench.methods.store import SampleStore
from noisybench.models import create_network
from noisybench.models.sync_batchnorm import has_batchnorm, synchronize_batchnorm
from noisybench.output import OutputFolder
from noisybench.prepare import RunData, Streams, prepare, streams
from noisybench.processes import make_accelerator
from noisybench.progress import Progress
from noisybench.record import Cost, Fingerprints, InformationUsed, RunRecord, select
from noisybench.schedule import learning_rate
from noisybench.signals import StopSignals
from noisybench.tracking import Tracker
from noisybench.watch import watched


def default_output(config: RunConfig) -> Path:
    """Where a run goes if nothing is said: ``runs/`` below the working directory, named by what it is."""
    rate = f"{config.noise}-{config.noise_rate:g}"
    method = config.method.replace(":", ".")  # package.module:Class
    name = f"{method}-{config.dataset}-{rate}-seed{config.seed}-{config.run_id[:8]}"
    return Path("runs") / re.sub(r"[^\w.-]+", "-", name)  # own datasets are named by a path


def run(config: RunConfig, *, resume: bool = False, progress: Progress | None = None) -> RunRecord:
    """Train and evaluate one method under the protocol.

    On a CPU the process keeps freed memory from now on (:mod:`noisybench.allocator`).

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
        accelerator = make_accelerator(config)
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
    row = {"epoch": epoch, "learning_rate": rate, **meter.means()}
    row |= _guarded(config.method, past.step, method.epoch_logs)
    past.train_seconds += time.perf_counter() - started
    if meter.first_bad_step() is not None:
        raise MethodError(config.method, meter.first_bad_step(), "its loss is not finite")
    for name, value in row.items():
        if not math.isfinite(value):
            raise MethodError(config.method, past.step, f"what it logs as {name!r} is not finite")
    return row


@dataclass(frozen=True)
class Step:
    """One training step: its batch, what the method gave, and the part of the epoch that is done with it."""

    batch: Batch
    output: StepOutput
    done: float


def begin_epoch(config: RunConfig, method: Method, epoch: int, step: int) -> list[Pass]:
    """Set the epoch's learning rate and let the method begin it; the passes that it plans.

    Args:
        epoch: counted from 0.
        step: the run's step count.

    Raises:
        MethodError: the method raised; names the step.
    """
    for optimizer in method.context.scheduled:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config.optimizer.lr, config.schedule, epoch, config.epochs)
    _guarded(config.method, step, method.start_epoch, epoch)
    return _guarded(config.method, step, method.epoch_plan, epoch)


def training_steps(
    config: RunConfig,
    method: Method,
    loader: TrainLoader,
    world: World,
    epoch: int,
    passes: list[Pass],
    first_step: int,
    skip: int = 0,
) -> Iterator[Step]:
    """Train one epoch, or the rest of it.

    Args:
        epoch: counted from 0.
        passes: the epoch's, as :func:`begin_epoch` gave them.
        first_step: the run's step count before the epoch.
        skip: steps of the epoch behind a method whose state was restored within it.

    Raises:
        MethodError: the method raised; names the step.
    """
    batches = sum(loader.num_batches(part) for part in passes)
    before = 0  # batches in earlier passes of the epoch
    for number, part in enumerate(passes):
        skipped = min(max(skip - before, 0), loader.num_batches(part))
        for batch in loader.batches(part, epoch=epoch, number=number, first_step=first_step + before, skip=skipped):
            torch.manual_seed(rng.key(config.seed, "step", batch.step, 0 if world.alone else world.rank))
            output = _guarded(config.method, batch.step, method.training_step, batch)
            yield Step(batch, output, (batch.step + 1 - first_step) / batches)
        before += loader.num_batches(part)


def _guarded(name: str, step: int, hook: Callable, *arguments):
    """Call a method's hook; what it raises is reported with the method's name and the step."""
    try:
        return hook(*arguments)
    except ProcessLost:
        raise
    except Exception as error:
        raise MethodError(name, step, f"{type(error).__name__}: {error}") from error


def build(
    config: RunConfig, data: RunData, on_device: Streams, world: World, device: torch.device, dtype: torch.dtype
) -> tuple[Method, TrainLoader]:
    """The method and the loader that feeds it what it declares.

    Raises:
        UserError: the method, the model and the data do not fit together.
        MethodError: the method raised.
    """
    card = data.dataset.card
    method_class = registry.load_method(config.method)
    if "meta_set" in method_class.needs and on_device.meta is None:
        raise UserError(
            f"method {config.method!r} needs a clean meta set, and meta_size is 0: give --meta-size, or --clean-labels "
            f"where true labels are unknown"
        )
    if data.true_labels is None and "transition_matrix" in method_class.needs:
        raise UserError(
            f"method {config.method!r} needs the transition matrix, which nobody knows for the labels of "
            f"{config.dataset}"
        )
    if data.true_labels is None and "noise_rate" in method_class.needs and data.noise_rate == 0:
        raise UserError(
            f"method {config.method!r} needs the noise rate, which is unknown for the labels of {config.dataset}: "
            f"give your estimate as --noise-rate"
        )
    if config.batch_size < world.size:
        raise UserError(f"batch_size {config.batch_size} for {world.size} processes: give each at least one image")
    loader = TrainLoader(
        on_device.train,
        on_device.meta if "meta_set" in method_class.needs else None,
        num_views=method_class.views,
        batch_size=config.batch_size,
        seed=config.seed,
        shuffled=config.order == "shuffled",
        world=world,
    )

    # The method holds this function: it closes over plain values, not over the run's data and paths.
    model, synchronized, mixed = config.model, config.sync_batchnorm, config.mixed_precision != "no"
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    arguments = {
        "num_classes": data.dataset.num_classes,
        "channels": card.channels,
        "image_size": data.dataset.train.pixels.shape[-1],
        "pretrained": config.pretrained,
        "seed": config.seed,
    }

    def initialise(number: int):
        network = create_network(model, **arguments, number=number).to(memory_format=layout)
        if synchronized:
            synchronize_batchnorm(network, world)
        return world.prepare(network) if mixed else network

    matrix = data.train_transition_matrix()
    context = Context(
        num_classes=data.dataset.num_classes,
        given_labels=on_device.train.labels,
        epochs=config.epochs,
        device=device,
        dtype=dtype,
        store=SampleStore(len(on_device.train), device, world),
        needs=method_class.needs,
        optimizer_config=config.optimizer,
        seed=config.seed,
        world=world,
        train=on_device.train,
        initialise=initialise,
        priors={
            "noise_rate": data.noise_rate,
            "noise_kind": data.noise.kind,
            "transition_matrix": torch.from_numpy(matrix) if matrix is not None else None,
        },
    )
    try:
        method = method_class(method_class.Settings(**config.settings), context)
    except UserError:  # the model is unknown or does not take the images: not the method's fault
        raise
    except Exception as error:
        raise MethodError(config.method, 0, f"building it: {type(error).__name__}: {error}") from error
    method.set_mode(training=True)
    return method, loader


def _evaluate(method: Method, on_device: Streams, world: World) -> dict[str, float]:
    """Accuracies of every head on every evaluation set; the headline head's under the plain name."""
    row = {}
    for name in ("test", "noisy_val", "clean_val"):
        stream = getattr(on_device, name)
        if stream is None:
            continue
        for head, accuracy in accuracies(method, stream, world).items():
            row[f"{name}_accuracy" if head == method.heads[0] else f"{name}_accuracy/{head}"] = accuracy
    return row


def _label_metrics(method: Method, data: RunData) -> dict[str, float | None]:
    estimate = method.estimate_labels()
    return label_quality(estimate, data.given_labels, data.true_labels) if estimate is not None else {}


def _record(
    config: RunConfig,
    method: Method | None,
    data: RunData,
    past: Past,
    world: World,
    device,
    wall_seconds: float,
    error,
) -> RunRecord:
    """The record of a run; ``method`` is None if it could not be built."""
    declared = registry.load_method(config.method)
    curves = past.curves
    names = sorted({name for row in curves for name in row} - {"epoch"})
    by_name = {name: [row.get(name) for row in curves] for name in names}

    def rules(suffix: str) -> dict[str, float | None]:
        if not curves:
            return {}
        return select(*(by_name.get(f"{part}_accuracy{suffix}") for part in ("test", "noisy_val", "clean_val")))

    label_metrics = ("label_accuracy_given", "label_accuracy_estimated", "noise_detection_auroc")
    metrics = rules("") | {name: by_name[name][-1] for name in label_metrics if name in by_name}
    clean = len(data.splits.meta) if "meta_set" in declared.needs else 0
    return RunRecord(
        status="completed" if error is None else "failed",
        error=error,
        run_id=config.run_id,
        config=config.model_dump(mode="json"),
        fingerprints=Fingerprints(
            dataset=data.dataset.fingerprint(),
            noise=data.noise.sha256,
            split=data.splits.fingerprint(),
            weights=state.weights_hash(method.modules()) if method is not None else None,
        ),
        noise={
            "kind": data.noise.kind,
            "rule": data.noise.rule,
            "requested_rate": data.noise.requested_rate if data.achieved_rate is not None else None,
            "expected_rate": data.noise_rate,
            "achieved_rate": data.achieved_rate,
            "achieved_rate_train_set": data.train_noise_rate,
        },
        metrics=metrics,
        heads={head: rules("" if head == declared.heads[0] else f"/{head}") for head in declared.heads},
        curves=by_name,
        information_used=InformationUsed(
            clean_labels=clean,
            clean_labels_for_selection=len(data.splits.clean_val),
            noise_prior=sorted(declared.needs & {"noise_rate", "noise_kind", "transition_matrix"}),
            pretrained_weights=config.pretrained,
        ),
        cost=Cost(
            wall_seconds=wall_seconds,
            train_seconds=past.train_seconds,
            samples_per_second=_per_second(len(curves) * len(data.given_labels), past.train_seconds),
            peak_memory_bytes=peak_memory_bytes(device),
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            processes=world.size,
            forward_equivalents_per_step=(declared if method is None else method).forward_equivalents,
        ),
        versions=versions(),
        git_commit=git_commit(),
    )


def _per_second(count: int, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0
