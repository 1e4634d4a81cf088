"""A method, built for the data of a run, and the loader that feeds it what it declares."""

from __future__ import annotations

import functools
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
from noisybench.models import HeadSpec, NetworkSpec, create_head, create_network, read_weights
from noisybench.models.create import needs_two_images
from noisybench.models.sync_batchnorm import of_each_process, synchronize_batchnorm
from noisybench.noise import traits_of
from noisybench.parallel.world import World
from noisybench.spec import registry
from noisybench.spec.config import ResolvedConfig
from noisybench.train.needs import declared_needs, refuse_an_unknown_rate, refuse_what_no_split_has
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
    method_class, needs = registry.load_method(config.method), declared_needs(config.method)
    refuse_what_no_split_has(config, data.splits, data.known)
    refuse_an_unknown_rate(config, data.noise_rate, known=data.true_labels is not None)
    if method_class.looks_ahead and config.optimizer.layered:
        raise UserError(
            f"method {config.method!r} looks ahead by a step of one rate for all layers: leave "
            "optimizer.backbone_lr_factor and optimizer.layer_decay out"
        )
    if config.batch_size < place.world.size:
        raise UserError(
            f"batch_size {config.batch_size} for {place.world.size} processes: give each at least one image"
        )
    loader = TrainLoader(
        streams.train,
        streams.meta if "meta_set" in needs else None,
        BatchOrder(
            config.batch_size,
            config.seed,
            shuffled=config.order == "shuffled",
            smallest=smallest_batch(config.batch_parts),
        ),
        views=method_class.views,
        world=place.world,
    )
    if not config.frozen:  # heads have no BatchNorm
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


def _context(config: ResolvedConfig, data: RunData, streams: Streams, place: Place) -> Context:
    """What the method may know of its run."""
    needs = declared_needs(config.method)
    matrix = data.train_transition_matrix() if "transition_matrix" in needs else None
    return Context(
        num_classes=data.dataset.num_classes,
        given_labels=streams.train.labels,
        epochs=config.epochs,
        batch_size=config.batch_size,
        device=place.device,
        dtype=place.dtype,
        store=SampleStore(len(streams.train), place.device, place.world),
        needs=needs,
        optimizer_config=config.optimizer,
        seed=config.seed,
        world=place.world,
        train=streams.train,
        initialise=_initialiser(config, data, place.world),
        priors={  # the context keeps what is declared
            "noise_rate": data.noise_rate,
            "noise_kind": data.noise.kind,
            "noise_traits": traits_of(data.noise.kind),
            "transition_matrix": torch.from_numpy(matrix) if matrix is not None else None,
        },
    )


class Initialiser:
    """From k to the run's k-th network. The method holds it: it keeps plain values and tensors, no data and no paths.

    Attributes:
        spec: which network.
    """

    def __init__(self, spec: NetworkSpec, config: ResolvedConfig, world: World):
        self.spec, self._seed, self._world = spec, config.seed, world
        self._synchronized, self._mixed = config.batch_parts == 1, config.mixed_precision != "no"
        self._layout = torch.channels_last if config.channels_last else torch.contiguous_format

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines that a user should read of the weights that the networks made so far started from."""
        weights = self.spec.weights
        return () if weights is None else tuple(f"weights {weights.name}: {note}" for note in weights.notes)

    def __call__(self, number: int) -> nn.Module:
        network = create_network(self.spec, seed=self._seed, number=number).to(memory_format=self._layout)
        if self._synchronized:
            synchronize_batchnorm(network, self._world)
        return self._world.prepare(network) if self._mixed else network


def _initialiser(config: ResolvedConfig, data: RunData, world: World) -> Callable[[int], nn.Module]:
    """From k to the run's k-th network."""
    if config.frozen:
        assert data.features is not None  # the streams are made of them
        return functools.partial(
            create_head, HeadSpec(config.head, data.features.width, data.dataset.num_classes), seed=config.seed
        )
    return Initialiser(_network_spec(config, data), config, world)


def _network_spec(config: ResolvedConfig, data: RunData) -> NetworkSpec:
    return NetworkSpec(
        config.model,
        num_classes=data.dataset.num_classes,
        channels=data.dataset.card.channels,
        image_size=data.dataset.train.pixels.shape[-1],
        pretrained=config.pretrained,
        weights=None if config.weights is None else read_weights(config.weights, config.weights_sha256),
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
