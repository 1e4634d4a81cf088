"""One training: the method, its data and the steps of its epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from noisybench.core import rng
from noisybench.core.errors import MethodError, ProcessLost, UserError
from noisybench.data.loader import Batch, Pass, TrainLoader
from noisybench.methods.base import Method, StepOutput
from noisybench.methods.context import Context
from noisybench.methods.store import SampleStore
from noisybench.models import NetworkSpec, create_network
from noisybench.models.sync_batchnorm import synchronize_batchnorm
from noisybench.parallel.world import World
from noisybench.spec import registry
from noisybench.spec.config import RunConfig
from noisybench.spec.schedule import learning_rate
from noisybench.train.evaluate import accuracies, label_quality
from noisybench.train.prepare import RunData, Streams


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
    seed, synchronized, mixed = config.seed, config.sync_batchnorm, config.mixed_precision != "no"
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    spec = NetworkSpec(
        config.model,
        num_classes=data.dataset.num_classes,
        channels=card.channels,
        image_size=data.dataset.train.pixels.shape[-1],
        pretrained=config.pretrained,
    )

    def initialise(number: int):
        network = create_network(spec, seed=seed, number=number).to(memory_format=layout)
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
