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
from noisybench.models.data_config import (
    DataConfig,
    data_config_of,
    from_hub,
    hub_asked,
    is_on_hub,
    pretrained_configuration,
)
from noisybench.models.fingerprint import weights_hash
from noisybench.models.timm_names import check_tag, timm_name
from noisybench.models.weights import Weights, load_weights
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
    architecture = timm_name(name).split(".")[0]
    default = pretrained_configuration(name)
    return {
        "name": name,
        "summary": summary(entrypoint),
        "pretrained weights": sorted(timm.list_pretrained(f"{architecture}.*")),
        "input size": list(default["input_size"]) if default.get("architecture") else None,
    }


def data_config(name: str, channels: int) -> DataConfig | None:
    """How timm prepares images for a model's pretrained weights; None if it knows nothing of them.

    Args:
        channels: 3, or 1: then mean and std are the means over the three channels'.

    Raises:
        UserError: nobody knows the name, or the model is on the Hub, which cannot be asked.
    """
    _entrypoint(name)  # from here on timm knows it
    configuration = pretrained_configuration(name)
    return data_config_of(configuration, channels) if configuration else None


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
        if is_on_hub(name):
            return timm.model_entrypoint(from_hub(name)[1])
        architecture = timm_name(name).split(".")[0]
        if not timm.is_model(architecture):
            raise unknown_name("model", name, model_names())
        check_tag(name)
        return timm.model_entrypoint(architecture)
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
        name: any name timm knows, with or without a tag, or ``hf-hub:OWNER/NAME``.
        num_classes: C, its outputs.
        channels: 1 or 3, of the images.
        image_size: side of the images in pixels.
        pretrained: start from timm's published weights.
        weights: start from these.
        torch_default: start convolutions, linear layers and BatchNorm as torch does, not as the model's code does.
    """

    name: str
    num_classes: int
    channels: int
    image_size: int
    pretrained: bool = False
    weights: Weights | None = None
    torch_default: bool = False


def create_network(spec: NetworkSpec, *, seed: int, number: int = 0) -> nn.Module:
    """A network from timm, initialised under the key (seed, "init", number), on the CPU.

    Args:
        number: 0 for a run's first network, 1 for its second.

    Raises:
        UserError: the name is unknown, its weights cannot be had, or it cannot take such images.
    """
    network = _made(spec, seed, number)
    _refuse_no_logits(_check_takes(network, spec), spec, (1, "one image"))
    _refuse_no_logits(_in_training(network, spec), spec, (2, "two images in training"))
    return network


def _refuse_no_logits(outputs: object, spec: NetworkSpec, given: tuple[int, str]) -> None:
    rows, what = given
    if not isinstance(outputs, torch.Tensor) or outputs.shape != (rows, spec.num_classes):
        raise UserError(
            f"model {spec.name!r} gives {_said(outputs)} for {what}, where logits of shape ({rows}, "
            f"{spec.num_classes}) must be"
        )


@dataclass(frozen=True)
class Backbone:
    """A network without its classifier, to be used as it is.

    Attributes:
        module: in eval mode; from images N×C×H×W to features N×``num_features``.
        num_features: D.
        data: how its images are to be prepared for pretrained weights; None if nobody says.
        weights_sha256: of all its parameters and buffers.
    """

    module: nn.Module
    num_features: int
    data: DataConfig | None
    weights_sha256: str


def create_backbone(spec: NetworkSpec, *, seed: int = 0) -> Backbone:
    """A network without its classifier, on the CPU; without pretrained weights it is initialised as a run's first one.

    Args:
        spec: its ``num_classes`` does not matter.

    Raises:
        UserError: as of :func:`create_network`, or the model gives no features.
    """
    spec = replace(spec, num_classes=0)
    module = _made(spec, seed, 0)
    features = _check_takes(module, spec)
    if not isinstance(features, torch.Tensor) or features.dim() != 2 or len(features) != 1 or not features.shape[1]:
        raise UserError(
            f"model {spec.name!r} cannot be used without its classifier: made with num_classes=0 it gives "
            f"{_said(features)} for one image, where features of shape (1, D) must be"
        )
    return Backbone(module.eval(), features.shape[1], data_config(spec.name, spec.channels), weights_hash({"": module}))


def _made(spec: NetworkSpec, seed: int, number: int) -> nn.Module:
    name = spec.name
    arguments: dict[str, Any] = {"num_classes": spec.num_classes, "in_chans": spec.channels}
    if "img_size" in inspect.signature(_entrypoint(name)).parameters or _is_sized(name):
        arguments["img_size"] = spec.image_size
    with rng.torch_seeded(seed, "init", number):
        with hub_asked(f"{'pretrained weights for ' if spec.pretrained else ''}model {name!r}"):
            network = timm.create_model(timm_name(name), pretrained=spec.pretrained, **arguments)
        if spec.torch_default:
            for module in network.modules():
                if isinstance(module, nn.Linear | _ConvNd | _BatchNorm):
                    module.reset_parameters()
        if spec.weights is not None:
            load_weights(network, spec.weights, name)
    return network


def _said(outputs: object) -> str:
    return str(tuple(outputs.shape)) if isinstance(outputs, torch.Tensor) else type(outputs).__name__


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
    return bool(pretrained_configuration(name).get("fixed_input_size"))


def _check_takes(network: nn.Module, spec: NetworkSpec) -> object:
    try:
        network.eval()
        with torch.no_grad():
            outputs = network(torch.zeros(1, spec.channels, spec.image_size, spec.image_size))
    except Exception as error:  # whatever the first layer that does not fit raises
        raise UserError(
            f"model {spec.name!r} cannot take {spec.image_size}×{spec.image_size} images "
            f"({' '.join(str(error).split())[:120]}){_other_size(spec)}"
        ) from error
    network.train()
    return outputs


def _other_size(spec: NetworkSpec) -> str:
    """What to try where the size may be the cause, to be said after the reason; nothing where it cannot be."""
    default = timm.get_pretrained_cfg(timm_name(spec.name), allow_unregistered=True)
    made_for = default.input_size[-1] if default and default.architecture else None
    made = "" if made_for is None or made_for == spec.image_size else f"it was made for {made_for}×{made_for}"
    if spec.image_size < 32:
        return ": try a larger --image-size, for example 32 or 64" + (f" ({made})" if made else "")
    return f": {made}, so try --image-size {made_for}" if made else ""


def check_model_name(name: str) -> None:
    """Refuse the name of a model that nobody knows, with its tag, before any work.

    Raises:
        UserError: nobody knows it, or what is registered under it cannot be used.
    """
    _entrypoint(name)


@torch.no_grad()
def _in_training(network: nn.Module, spec: NetworkSpec) -> object:
    """What a network in train mode gives for two images: some give more than logits then. It is left as it was."""
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    images = torch.zeros(2, spec.channels, spec.image_size, spec.image_size)
    with torch.random.fork_rng(devices=[]):
        try:
            return network(images)
        except Exception:  # of too small a batch, which is none of a run
            return torch.zeros(2, spec.num_classes)
        finally:
            for name, buffer in network.named_buffers():
                buffer.copy_(buffers[name])
