"""A method, built for the data of a run, and the loader that feeds it what it declares."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from noisybench.core.errors import MethodError, UserError
from noisybench.data.loader import BatchOrder, TrainLoader
from noisybench.methods.base import Method
from noisybench.methods.context import Context
from noisybench.methods.store import SampleStore
from noisybench.models import NetworkSpec, create_network, read_weights
from noisybench.models.sync_batchnorm import synchronize_batchnorm
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
        streams.meta if "meta_set" in method_class.needs else None,
        BatchOrder(config.batch_size, config.seed, shuffled=config.order == "shuffled"),
        views=method_class.views,
        world=place.world,
    )
    context = _context(config, data, streams, place)
    try:
        method = method_class(method_class.Settings(**config.settings), context)
    except UserError:  # the model is unknown or does not take the images: not the method's fault
        raise
    except Exception as error:
        raise MethodError(config.method, 0, f"building it: {type(error).__name__}: {error}") from error
    method.set_mode(training=True)
    return method, loader


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


class Initialiser:
    """From k to the run's k-th network. The method holds it: it keeps plain values and tensors, no data and no paths.

    Attributes:
        spec: which network.
    """

    def __init__(self, spec: NetworkSpec, config: ResolvedConfig, world: World):
        self.spec, self._seed, self._world = spec, config.seed, world
        self._synchronized, self._mixed = config.sync_batchnorm, config.mixed_precision != "no"
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


def _initialiser(config: ResolvedConfig, data: RunData, world: World) -> Initialiser:
    spec = NetworkSpec(
        config.model,
        num_classes=data.dataset.num_classes,
        channels=data.dataset.card.channels,
        image_size=data.dataset.train.pixels.shape[-1],
        pretrained=config.pretrained,
        weights=None if config.weights is None else read_weights(config.weights, config.weights_sha256),
    )
    return Initialiser(spec, config, world)
