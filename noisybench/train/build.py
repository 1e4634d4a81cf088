"""A method, built for the data of a run, and the loader that feeds it what it declares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from noisybench.core.errors import MethodError, UserError
from noisybench.data.loader import BatchOrder, TrainLoader
from noisybench.methods.base import Method
from noisybench.methods.context import Context
from noisybench.methods.store import SampleStore
from noisybench.models import NetworkSpec, create_network
from noisybench.models.sync_batchnorm import synchronize_batchnorm
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
    if config.batch_size < place.world.size:
        raise UserError(
            f"batch_size {config.batch_size} for {place.world.size} processes: give each at least one image"
        )
    loader = TrainLoader(
        streams.train,
        streams.meta if "meta_set" in needs else None,
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


def _context(config: ResolvedConfig, data: RunData, streams: Streams, place: Place) -> Context:
    """What the method may know of its run."""
    needs = declared_needs(config.method)
    matrix = data.train_transition_matrix() if "transition_matrix" in needs else None
    return Context(
        num_classes=data.dataset.num_classes,
        given_labels=streams.train.labels,
        epochs=config.epochs,
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


def _initialiser(config: ResolvedConfig, data: RunData, world: World) -> Callable[[int], nn.Module]:
    """From k to the run's k-th network. The method holds it: it closes over plain values, not over data and paths."""
    seed, synchronized, mixed = config.seed, config.sync_batchnorm, config.mixed_precision != "no"
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    spec = NetworkSpec(
        config.model,
        num_classes=data.dataset.num_classes,
        channels=data.dataset.card.channels,
        image_size=data.dataset.train.pixels.shape[-1],
        pretrained=config.pretrained,
    )

    def initialise(number: int) -> nn.Module:
        network = create_network(spec, seed=seed, number=number).to(memory_format=layout)
        if synchronized:
            synchronize_batchnorm(network, world)
        return world.prepare(network) if mixed else network

    return initialise
