"""How images are to be prepared for a model's pretrained weights: timm's data configuration of it."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import timm
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
from timm.data import resolve_data_config
from timm.models import load_model_config_from_hf

from noisybench.core.errors import UserError, one_line
from noisybench.models.timm_names import timm_name

ON_HUB = ("hf-hub:", "hf_hub:")


@dataclass(frozen=True)
class DataConfig:
    """How images are prepared.

    Attributes:
        input_size: side of the images in pixels.
        mean, std: of each channel's values in [0, 1].
        interpolation: that images are resized by: bilinear, bicubic, …
        crop_pct: the share of the resized image's side that the crop keeps.
        crop_mode: ``center`` (the shorter side is resized, then the centre cropped), ``squash`` or ``border``.
    """

    input_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_pct: float
    crop_mode: str


def data_config_of(configuration: Mapping[str, Any], channels: int) -> DataConfig:
    """How images are prepared by timm's configuration of a model.

    Args:
        channels: 3, or 1: then mean and std are the means over the three channels'.
    """
    found = resolve_data_config(pretrained_cfg=dict(configuration))
    mean, std = (tuple(float(value) for value in found[name]) for name in ("mean", "std"))
    if channels != len(mean):
        mean, std = ((sum(values) / len(values),) * channels for values in (mean, std))
    return DataConfig(
        input_size=int(found["input_size"][-1]),
        mean=mean,
        std=std,
        interpolation=str(found["interpolation"]),
        crop_pct=float(found["crop_pct"]),
        crop_mode=str(found["crop_mode"]),
    )


def weights_name(model: str) -> str:
    """Which weights a model's name alone means: the architecture with the tag that is timm's default."""
    configuration = pretrained_configuration(model)
    tag = configuration.get("tag")
    return f"{configuration['architecture']}.{tag}" if tag and not is_on_hub(model) else model


def is_on_hub(name: str) -> bool:
    """Whether a model's name says that the Hub has it."""
    return name.startswith(ON_HUB)


def pretrained_configuration(name: str) -> Mapping[str, Any]:
    """timm's configuration of a model that it knows; empty where it has none.

    Raises:
        UserError: the model is on the Hub, which cannot be asked.
    """
    if is_on_hub(name):
        return from_hub(name)[0]
    found = timm.get_pretrained_cfg(timm_name(name), allow_unregistered=True)
    return found.to_dict() if found is not None and found.architecture else {}


@functools.cache
def from_hub(name: str) -> tuple[Mapping[str, Any], str]:
    """The configuration of a model on the Hub, and its architecture's name in timm.

    Raises:
        UserError: the Hub cannot be asked, or does not have it.
    """
    with hub_asked(f"model {name!r}"):
        configuration, architecture, _ = load_model_config_from_hf(name.partition(":")[2])
    return configuration, architecture


@contextlib.contextmanager
def hub_asked(what: str) -> Iterator[None]:
    """Ask the Hub for something: its client prints nothing meanwhile, and what it raises is one line.

    Raises:
        UserError: ``what`` cannot be had.
    """
    client = logging.getLogger("huggingface_hub")
    before = client.level
    client.setLevel(logging.CRITICAL)
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # timm and the hub's client raise many kinds
        reason = one_line(error)[:200]
        if isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled):
            reason = "the Hugging Face Hub does not answer, and the files are not in its cache"
        raise UserError(f"{what} cannot be made: {reason}") from error
    finally:
        client.setLevel(before)
