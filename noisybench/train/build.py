"""A method, built for the data of a run, and the loader that feeds it what it declares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from noisybench.core.batches import smallest_batch
from noisybench.core.errors import MethodError, UserError
from noisybench.data.loader import BatchOrder, TrainLoader
from noisybench.methods.base import Method
from noisybench.methods.context import Context
from noisybench.methods.store import SampleStore
from noisybench.models import NetworkSpec, create_network
from noisybench.models.create import needs_two_images
from noisybench.models.sync_batchnorm import of_each_process, synchronize_batchnorm
from noisybench.noise import traits_of
from noisybench.parallel.world import World
from noisybench.spec import registry
from noisybench.spec.config import ResolvedConfig
from noisybench.train.prepare import RunData, Streams


@dataclass(frozen=True)
class Place:
    """Where a session computes: with which processes, on which device, in which float type."""

    world: World
    device: torch.device
    dtype: torch.dtype


def build(config: ResolvedConfig, data: RunData, streams: Streams, place: Place) -> tuple[Method, TrainLoader]:
    """The method and the loader that feeds it what it declares.

    Raises:
        UserError: the method, the model and the data do not fit together.
        MethodError: the method raised.
    """
    method_class = registry.load_method(config.method)
    _refuse_what_is_missing(config, data, streams, method_class)
    if config.batch_size < place.world.size:
        raise UserError(
            f"batch_size {config.batch_size} for {place.world.size} processes: give each at least one image"
        )
    loader = TrainLoader(
        streams.train,
        streams.meta if "meta_set" in method_class.needs else None,
        BatchOrder(
            config.batch_size,
            config.seed,
            shuffled=config.order == "shuffled",
            smallest=smallest_batch(config.batch_parts),
        ),
        views=method_class.views,
        world=place.world,
    )
    _refuse_batches_of_one(config, len(streams.train), _network_spec(config, data))
    context = _context(config, data, streams, place)
    try:
        method = method_class(method_class.Settings(**config.settings), context)
    except UserError:  # the model is unknown or does not take the images: not the method's fault
        raise
    except Exception as error:
        raise MethodError(config.method, 0, f"building it: {type(error).__name__}: {error}") from error
    if config.batch_parts == 1:
        _make_one_of_processes(config, method, place.world)
    method.set_mode(training=True)
    return method, loader


def _make_one_of_processes(config: ResolvedConfig, method: Method, world: World) -> None:
    """Let the modules of a method compute what those of one process would; of the run's model they do already.

    Raises:
        UserError: one of them cannot.
    """
    if world.size == 1:
        return
    for name, module in method.modules().items():
        synchronize_batchnorm(module, world)
        part = of_each_process(module)
        if part is not None:
            raise UserError(
                f"model {config.model!r} on {world.size} processes: {part} of {name} is another on each process than "
                f"on one; give --set batch_parts={world.size}, which is part of the run id, or use one process"
            )


def _refuse_what_is_missing(config: ResolvedConfig, data: RunData, streams: Streams, method: type[Method]) -> None:
    """Raise a UserError if the method declares what this run has not."""
    if "meta_set" in method.needs and streams.meta is None:
        raise UserError(
            f"method {config.method!r} needs a clean meta set, and meta_size is 0: give --meta-size, or --clean-labels "
            f"where true labels are unknown"
        )
    if data.true_labels is not None:
        return
    if "transition_matrix" in method.needs:
        raise UserError(
            f"method {config.method!r} needs the transition matrix, which nobody knows for the labels of "
            f"{config.dataset}"
        )
    if "noise_rate" in method.needs and data.noise_rate == 0:
        raise UserError(
            f"method {config.method!r} needs the noise rate, which is unknown for the labels of {config.dataset}: "
            f"give your estimate as --noise-rate"
        )


def _context(config: ResolvedConfig, data: RunData, streams: Streams, place: Place) -> Context:
    """What the method may know of its run."""
    matrix = data.train_transition_matrix()
    return Context(
        num_classes=data.dataset.num_classes,
        given_labels=streams.train.labels,
        epochs=config.epochs,
        device=place.device,
        dtype=place.dtype,
        store=SampleStore(len(streams.train), place.device, place.world),
        needs=registry.load_method(config.method).needs,
        optimizer_config=config.optimizer,
        seed=config.seed,
        world=place.world,
        train=streams.train,
        initialise=_initialiser(config, data, place.world),
        priors={
            "noise_rate": data.noise_rate,
            "noise_kind": data.noise.kind,
            "noise_traits": traits_of(data.noise.kind),
            "transition_matrix": torch.from_numpy(matrix) if matrix is not None else None,
        },
    )


def _initialiser(config: ResolvedConfig, data: RunData, world: World) -> Callable[[int], nn.Module]:
    """From k to the run's k-th network. The method holds it: it closes over plain values, not over data and paths."""
    seed, synchronized, mixed = config.seed, config.batch_parts == 1, config.mixed_precision != "no"
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    spec = _network_spec(config, data)

    def initialise(number: int) -> nn.Module:
        network = create_network(spec, seed=seed, number=number).to(memory_format=layout)
        if synchronized:
            synchronize_batchnorm(network, world)
        return world.prepare(network) if mixed else network

    return initialise


def _network_spec(config: ResolvedConfig, data: RunData) -> NetworkSpec:
    return NetworkSpec(
        config.model,
        num_classes=data.dataset.num_classes,
        channels=data.dataset.card.channels,
        image_size=data.dataset.train.pixels.shape[-1],
        pretrained=config.pretrained,
        torch_default=config.initialisation == "torch",
    )


def _refuse_batches_of_one(config: ResolvedConfig, size: int, spec: NetworkSpec) -> None:
    """Refuse training batches of one image for a network that cannot train on one.

    A last batch of one is none: it joins the one before it.

    Args:
        size: of the noisy train set.

    Raises:
        UserError: each process's part of a batch, or the whole set, is one image.
    """
    least = min(config.batch_size, size) // config.batch_parts
    if least > 1 or not needs_two_images(spec):
        return
    images = f"{size} training image{'s' * (size > 1)}"
    what = images if size <= config.batch_size else f"batch_size {config.batch_size}"
    parts = f" in {config.batch_parts} parts" if config.batch_parts > 1 else ""
    raise UserError(
        f"{what}{parts}: BatchNorm of model {config.model!r} needs at least two images at a time, so give "
        f"{2 * config.batch_parts} or more"
    )
