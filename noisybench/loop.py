"""The one training loop, from a RunConfig to a RunRecord."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from noisybench import registry, rng, state
from noisybench.config import RunConfig
from noisybench.data.loader import TrainLoader
from noisybench.distributed import World
from noisybench.environment import git_commit, peak_memory_bytes, versions
from noisybench.errors import UserError
from noisybench.evaluate import TrainingMeter, accuracies, label_quality
from noisybench.methods.base import Method
from noisybench.methods.context import Context
from noisybench.methods.store import SampleStore
from noisybench.models import create_network
from noisybench.output import OutputFolder
from noisybench.prepare import RunData, Streams, prepare, streams
from noisybench.progress import Progress
from noisybench.record import Cost, Fingerprints, InformationUsed, RunRecord, select
from noisybench.schedule import learning_rate
from noisybench.tracking import Tracker

KEPT_CHECKPOINTS = 2


def default_output(config: RunConfig) -> Path:
    """Where a run goes if nothing is said: ``runs/`` below the working directory, named by what it is."""
    rate = f"{config.noise}-{config.noise_rate:g}"
    return Path("runs") / f"{config.method}-{config.dataset}-{rate}-seed{config.seed}-{config.run_id[:8]}"


def run(config: RunConfig, *, resume: bool = False, progress: Progress | None = None) -> RunRecord:
    """Train and evaluate one method under the protocol.

    Args:
        config: what to run.
        resume: continue an unfinished run in the output folder (or start, if there is none).
        progress: where to report; silent if not given.

    Returns:
        The record, also written to ``result.json`` in the output folder.

    Raises:
        UserError: something in the configuration, the data or the output folder is wrong. Nothing was changed then.
    """
    progress = progress or Progress()
    output = OutputFolder(config.output or default_output(config))
    output.check(config, resume=resume)
    if output.result.is_file():
        return RunRecord.load(output.result)
    accelerator = Accelerator(log_with="wandb" if config.wandb else None)
    world = World(accelerator)
    started = time.perf_counter()

    # Everything that can be wrong is found before the output folder is touched.
    data = prepare(config)
    dtype = getattr(torch, config.precision)
    on_device = streams(config, data, accelerator.device, dtype)
    with torch.random.fork_rng(devices=_random_devices(accelerator.device)):
        method, loader = _build(config, data, on_device, world, accelerator.device, dtype)
        progress.start(config, data, output.path, accelerator.device)
        curves, first_epoch, train_seconds = _restore(method, output, resume)
        if world.is_main:
            output.start(config)
            data.noise.save(output.noise)
        tracker = Tracker(accelerator, config, output.path, progress)
        given, true = on_device.train.labels, torch.from_numpy(data.true_labels).to(accelerator.device)

        for epoch in range(first_epoch, config.epochs):
            rate = learning_rate(config.optimizer.lr, config.schedule, epoch, config.epochs)
            for optimizer in method.context.scheduled:
                for group in optimizer.param_groups:
                    group["lr"] = rate
            method.start_epoch(epoch)
            meter = TrainingMeter(given, true, world)
            epoch_started = time.perf_counter()
            for batch in loader.epoch(epoch):
                torch.manual_seed(rng.key(config.seed, "step", batch.step, world.rank))
                meter.add(batch, method.training_step(batch))
                progress.step(epoch, batch.step, len(loader))
            row = {"epoch": epoch, "learning_rate": rate, **meter.means(), **method.epoch_logs()}
            train_seconds += time.perf_counter() - epoch_started
            if meter.first_bad_step() is not None:
                raise UserError(f"method {config.method!r}: the loss is not finite at step {meter.first_bad_step()}")

            row |= _evaluate(method, on_device, world)
            row |= _label_metrics(method, data)
            curves.append(row)
            tracker.log(row, step=(epoch + 1) * len(loader))
            if world.is_main:
                output.write_metrics(curves)
                saved = {"method": method.state_dict(), "curves": curves, "train_seconds": train_seconds}
                state.save_checkpoint(output.checkpoints, (epoch + 1) * len(loader), saved)
                state.delete_old(output.checkpoints, KEPT_CHECKPOINTS)
            progress.epoch(row)

        record = _record(config, method, data, curves, world, accelerator.device, started, train_seconds)
        if world.is_main:
            estimate = method.estimate_labels()
            if estimate is not None:
                output.write_labels(data.splits.train, data.given_labels, estimate)
            record.save(output.result)
        tracker.finish(record, data.noise)
    world.wait()
    progress.finish(record, output.path)
    return record


def _random_devices(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []


def _build(config: RunConfig, data: RunData, on_device: Streams, world: World, device, dtype):
    """The method and the loader that feeds it what it declares."""
    card = data.dataset.card
    method_class = registry.load_method(config.method)
    if "meta_set" in method_class.needs and on_device.meta is None:
        raise UserError(f"method {config.method!r} needs a clean meta set, and meta_size is 0")
    loader = TrainLoader(
        on_device.train,
        on_device.meta if "meta_set" in method_class.needs else None,
        batch_size=config.batch_size,
        seed=config.seed,
        sequential=config.order == "sequential",
        world=world,
    )

    def make_network(number: int):
        return create_network(
            config.model,
            num_classes=data.dataset.num_classes,
            channels=card.channels,
            image_size=data.dataset.train.pixels.shape[-1],
            pretrained=config.pretrained,
            seed=config.seed,
            number=number,
        )

    context = Context(
        num_classes=data.dataset.num_classes,
        given_labels=on_device.train.labels,
        epochs=config.epochs,
        steps_per_epoch=len(loader),
        device=device,
        dtype=dtype,
        store=SampleStore(len(on_device.train), device, world),
        needs=method_class.needs,
        optimizer_config=config.optimizer,
        world=world,
        network_factory=make_network,
        known_noise_rate=config.noise_rate,
    )
    method = method_class(method_class.Settings(**config.settings), context)
    method.set_mode(training=True)
    return method, loader


def _restore(method: Method, output: OutputFolder, resume: bool) -> tuple[list[dict[str, Any]], int, float]:
    """The curves so far, the first epoch to train and the training time spent, from the newest checkpoint if any."""
    found = state.checkpoints(output.checkpoints) if resume else []
    if not found:
        return [], 0, 0.0
    saved = state.load_checkpoint(found[-1])
    method.load_state_dict(saved["method"])
    return saved["curves"], len(saved["curves"]), saved["train_seconds"]


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


def _record(config, method, data: RunData, curves, world: World, device, started, train_seconds) -> RunRecord:
    names = sorted({name for row in curves for name in row} - {"epoch"})
    by_name = {name: [row.get(name) for row in curves] for name in names}

    def rules(suffix: str) -> dict[str, float | None]:
        return select(*(by_name.get(f"{part}_accuracy{suffix}") for part in ("test", "noisy_val", "clean_val")))

    label_metrics = ("label_accuracy_given", "label_accuracy_estimated", "noise_detection_auroc")
    metrics = rules("") | {name: curves[-1][name] for name in label_metrics if name in curves[-1]}
    clean = len(data.splits.meta) if "meta_set" in method.needs else 0
    return RunRecord(
        run_id=config.run_id,
        config=config.model_dump(mode="json"),
        fingerprints=Fingerprints(
            dataset=data.dataset.fingerprint(),
            noise=data.noise.sha256,
            split=data.splits.fingerprint(),
            weights=state.weights_hash(method.modules()),
        ),
        noise={
            "kind": data.noise.kind,
            "rule": data.noise.rule,
            "requested_rate": data.noise.requested_rate,
            "achieved_rate": data.noise.achieved_rate,
            "achieved_rate_train_set": data.train_noise_rate,
        },
        metrics=metrics,
        heads={head: rules("" if head == method.heads[0] else f"/{head}") for head in method.heads},
        curves=by_name,
        information_used=InformationUsed(
            clean_labels=clean,
            clean_labels_for_selection=len(data.splits.clean_val),
            noise_rate="noise_rate" in method.needs,
            pretrained_weights=config.pretrained,
        ),
        cost=Cost(
            wall_seconds=time.perf_counter() - started,
            train_seconds=train_seconds,
            samples_per_second=config.epochs * len(data.given_labels) / train_seconds,
            peak_memory_bytes=peak_memory_bytes(device),
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            processes=world.size,
            forward_equivalents_per_step=method.forward_equivalents,
        ),
        versions=versions(),
        git_commit=git_commit(),
    )
