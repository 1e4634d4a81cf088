"""Creating a network by its timm name, and checking at once that it fits the images."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import timm
import torch
from timm.models import register_model
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from noisybench.core import rng
from noisybench.core.errors import UserError, unknown_name
from noisybench.spec import registry
from noisybench.spec.extensions import summary


def model_names() -> list[str]:
    """Every name that ``--model`` takes: those of entry points, then all others of timm's."""
    registered = registry.names("model")
    return [*registered, *(name for name in timm.list_models() if name not in registered)]


def model_facts(name: str) -> dict[str, Any]:
    """What is known of a model by its name, without making it.

    Raises:
        UserError: nobody knows the name.
    """
    entrypoint = _entrypoint(name)
    architecture = name.split(".")[0]
    default = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return {
        "name": name,
        "summary": summary(entrypoint),
        "pretrained weights": sorted(timm.list_pretrained(f"{architecture}.*")),
        "input size": list(default.input_size) if default and default.architecture else None,
    }


def reason_against_name(name: str) -> str | None:
    """Why a model of another package cannot have this name; None if it can. Asked before it is imported."""
    if "." in name:
        return "has a dot in its name, after which timm reads the tag of pretrained weights: rename it"
    if timm.is_model(name) and timm.model_entrypoint(name).__module__.startswith("timm."):
        return "has the name of a model of timm's: rename it"
    return None


def _entrypoint(name: str) -> Callable[..., nn.Module]:
    """The function that makes a model; timm knows it then.

    Raises:
        UserError: nobody knows the name, or what is registered under it cannot be used.
    """
    if name not in registry.names("model"):
        if not timm.is_model(name.split(".")[0]):
            raise unknown_name("model", name, model_names())
        return timm.model_entrypoint(name.split(".")[0])
    function = registry.load("model", name)
    if not timm.is_model(name):
        register_model(_renamed(function, name))
    known = timm.model_entrypoint(name)
    if inspect.unwrap(known) is not inspect.unwrap(function):
        raise UserError(f"model {name!r}: {known.__module__} has registered another one of this name with timm")
    return function


def _renamed(function: Callable[..., nn.Module], name: str) -> Callable[..., nn.Module]:
    """The function under the name that timm is to know it by, which is that of its entry point."""

    @functools.wraps(function)
    def make(*arguments, **more):
        return function(*arguments, **more)

    make.__name__, make.__module__ = name, __name__  # timm notes the name in the module, which is best this one
    return make


@dataclass(frozen=True)
class NetworkSpec:
    """Which network.

    Attributes:
        name: any name timm knows, with or without a tag.
        num_classes: C, its outputs.
        channels: 1 or 3, of the images.
        image_size: side of the images in pixels.
        pretrained: start from timm's published weights.
        torch_default: start convolutions, linear layers and BatchNorm as torch does, not as the model's code does.
    """

    name: str
    num_classes: int
    channels: int
    image_size: int
    pretrained: bool = False
    torch_default: bool = False


def create_network(spec: NetworkSpec, *, seed: int, number: int = 0) -> nn.Module:
    """A network from timm, initialised under the key (seed, "init", number), on the CPU.

    Args:
        number: 0 for a run's first network, 1 for its second.

    Raises:
        UserError: the name is unknown, its weights cannot be had, or it cannot take such images.
    """
    name = spec.name
    entrypoint = _entrypoint(name)
    arguments: dict[str, Any] = {"num_classes": spec.num_classes, "in_chans": spec.channels}
    if "img_size" in inspect.signature(entrypoint).parameters or _is_sized(name):
        arguments["img_size"] = spec.image_size
    with rng.torch_seeded(seed, "init", number):
        try:
            network = timm.create_model(name, pretrained=spec.pretrained, **arguments)
        except Exception as error:  # timm and its hub client raise many kinds
            what = "pretrained weights for " if spec.pretrained else ""
            raise UserError(f"{what}model {name!r} cannot be made: {' '.join(str(error).split())[:300]}") from error
        if spec.torch_default:
            for module in network.modules():
                if isinstance(module, nn.Linear | _ConvNd | _BatchNorm):
                    module.reset_parameters()
    outputs = _check_takes(network, spec)
    if not isinstance(outputs, torch.Tensor) or outputs.shape != (1, spec.num_classes):
        shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise UserError(
            f"model {name!r} gives {shape} for one image, where logits of shape (1, {spec.num_classes}) must be"
        )
    return network


def needs_two_images(spec: NetworkSpec) -> bool:
    """Whether a network cannot train on a batch of one image, as with a BatchNorm over rows alone.

    Raises:
        UserError: as :func:`create_network`.
    """
    network = create_network(replace(spec, pretrained=False), seed=0)
    try:
        with torch.no_grad():
            network(torch.zeros(1, spec.channels, spec.image_size, spec.image_size))
    except ValueError as error:
        if "more than 1 value per channel" in str(error):
            return True
        raise
    return False


def _is_sized(name: str) -> bool:
    """Whether a timm model is built for one image size (ViT, Swin and the like), so must be told ours."""
    configuration = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return bool(configuration and configuration.fixed_input_size)


def _check_takes(network: nn.Module, spec: NetworkSpec) -> object:
    try:
        network.eval()
        with torch.no_grad():
            outputs = network(torch.zeros(1, spec.channels, spec.image_size, spec.image_size))
    except Exception as error:  # whatever the first layer that does not fit raises
        raise UserError(
            f"model {spec.name!r} cannot take {spec.image_size}×{spec.image_size} images "
            f"({' '.join(str(error).split())[:120]}): try a larger --image-size, for example 32 or 64"
        ) from error
    network.train()
    return outputs
