"""Creating a network by its timm name, and checking at once that it fits the images."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import nn

from noisybench.core import rng
from noisybench.core.errors import UserError, unknown_name

OWN_MODELS = {
    "noisybench_cnn4": "4-layer CNN with BatchNorm for small grey images (the default for digits)",
    "noisybench_cnn8": "the MSLG paper's CIFAR-10 network: 6 convolutions (64, 128, 196) and 2 linear layers",
    "noisybench_mlp": "two hidden layers of 256, no BatchNorm",
    "noisybench_preact_resnet18": "pre-activation ResNet-18 for 32×32 images",
    "noisybench_preact_resnet32": "pre-activation ResNet of depth 32 (32, 64, 128) for 32×32 images",
    "noisybench_resnet18": "ResNet-18 with a 3×3 stem for 32×32 images",
    "noisybench_resnet20": "the CIFAR ResNet of depth 20 (16, 32, 64)",
    "noisybench_resnet32": "the CIFAR ResNet of depth 32 (16, 32, 64)",
    "noisybench_resnet34": "ResNet-34 with a 3×3 stem for 32×32 images",
}


def model_names() -> list[str]:
    """Every name that ``--model`` takes: noisybench's own, then all of timm's."""
    others = [name for name in timm.list_models() if name not in OWN_MODELS]
    return [*sorted(OWN_MODELS), *others]


def model_facts(name: str) -> dict[str, Any]:
    """What is known of a model by its name, without making it.

    Raises:
        UserError: nobody knows the name.
    """
    architecture = name.split(".")[0]
    if not timm.is_model(architecture):
        raise unknown_name("model", name, model_names())
    default = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return {
        "name": name,
        "summary": OWN_MODELS.get(name, (timm.model_entrypoint(architecture).__doc__ or "").strip()),
        "pretrained weights": sorted(timm.list_pretrained(f"{architecture}.*")),
        "input size": list(default.input_size) if default and name not in OWN_MODELS else None,
    }


@dataclass(frozen=True)
class NetworkSpec:
    """Which network.

    Attributes:
        name: any name timm knows, with or without a tag.
        num_classes: C, its outputs.
        channels: 1 or 3, of the images.
        image_size: side of the images in pixels.
        pretrained: start from timm's published weights.
    """

    name: str
    num_classes: int
    channels: int
    image_size: int
    pretrained: bool = False


def create_network(spec: NetworkSpec, *, seed: int, number: int = 0) -> nn.Module:
    """A network from timm, initialised under the key (seed, "init", number), on the CPU.

    Args:
        number: 0 for a run's first network, 1 for its second.

    Raises:
        UserError: the name is unknown, its weights cannot be had, or it cannot take such images.
    """
    name = spec.name
    if not timm.is_model(name.split(".")[0]):
        raise unknown_name("model", name, model_names())
    arguments: dict[str, Any] = {"num_classes": spec.num_classes, "in_chans": spec.channels}
    if "img_size" in inspect.signature(timm.model_entrypoint(name.split(".")[0])).parameters or _is_sized(name):
        arguments["img_size"] = spec.image_size
    with rng.torch_seeded(seed, "init", number):
        try:
            network = timm.create_model(name, pretrained=spec.pretrained, **arguments)
        except Exception as error:  # timm and its hub client raise many kinds
            what = "pretrained weights for " if spec.pretrained else ""
            raise UserError(f"{what}model {name!r} cannot be made: {' '.join(str(error).split())[:300]}") from error
    _check_takes(network, spec)
    return network


def _is_sized(name: str) -> bool:
    """Whether a timm model is built for one image size (ViT, Swin and the like), so must be told ours."""
    configuration = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return bool(configuration and configuration.fixed_input_size)


def _check_takes(network: nn.Module, spec: NetworkSpec) -> None:
    network.eval()
    try:
        with torch.no_grad():
            network(torch.zeros(1, spec.channels, spec.image_size, spec.image_size))
    except Exception as error:  # whatever the first layer that does not fit raises
        raise UserError(
            f"model {spec.name!r} cannot take {spec.image_size}×{spec.image_size} images "
            f"({' '.join(str(error).split())[:120]}): try a larger --image-size, for example 32 or 64"
        ) from error
    network.train()
