"""The kinds of values in a configuration, its tables, and the base of every method's own settings."""

from __future__ import annotations

from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


LARGEST = 2**63 - 1  # of whole numbers: what every part of a run can count with


def _fault(value: object) -> str | None:
    """What no value of a configuration may be, at any depth; None if it is none of that."""
    if isinstance(value, dict):
        return next((fault for part in value.items() for fault in map(_fault, part) if fault), None)
    if isinstance(value, list | tuple):
        return next(filter(None, map(_fault, value)), None)
    if isinstance(value, int) and abs(value) > LARGEST:
        return "input should be a whole number below 2^63"
    text = str(value) if isinstance(value, str | Path) else ""
    if "\0" in text:
        return f"input should be text without NUL, not {text[:60]!r}"
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        return f"input should be text in UTF-8, not {text[:60]!r}"
    return None


class Plain(BaseModel):
    """A table whose values can be written as JSON, and whose numbers are no truth values: ``true`` is not 1."""

    @field_validator("*", mode="before")
    @classmethod
    def _values_are_plain(cls, value: Any, info: ValidationInfo) -> Any:
        fault = _fault(value)
        if fault is None and isinstance(value, bool):
            kinds = _kinds(cls.model_fields[info.field_name or ""].annotation)
            if kinds & {int, float} and bool not in kinds:
                fault = f"input should be a number, not {str(value).lower()}"
        if fault is not None:
            raise ValueError(fault)
        return value


def _kinds(annotation: Any) -> set[Any]:
    """The types that an annotation is made of: those of ``int | None``, and of ``Annotated[float, …] | None``."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return set().union(*map(_kinds, get_args(annotation)))
    return {annotation}


class Strict(Plain, extra="forbid", frozen=True):
    """A table that refuses unknown keys and cannot be changed.

    Its subclasses say ``frozen=True`` again: type checkers read it from the class's own line alone.
    """


class Settings(Plain):
    """A method's own settings. Subclass it; unknown names are refused."""

    # Not frozen by the class's own line: type checkers would ask every subclass to repeat it.
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


class OptimizerConfig(Strict, frozen=True):
    """The optimizer of a method's networks. ``lr`` is the rate at epoch 0; the schedule takes it from there."""

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: Positive = 0.02
    momentum: Fraction = Field(default=0.9, description="SGD's momentum; Adam's beta1")
    weight_decay: NonNegative = 5e-4
    nesterov: bool = False
    backbone_lr_factor: Positive = Field(
        default=1.0, description="the rate of all but the classifier, as a multiple of the classifier's"
    )
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] | None = Field(
        default=None,
        description="the rate of a layer, as a multiple of that of the layer above; layers as timm counts them",
    )

    @property
    def layered(self) -> bool:
        """Whether layers have rates of their own."""
        return self.backbone_lr_factor != 1.0 or self.layer_decay not in (None, 1.0)


class ScheduleConfig(Strict, frozen=True):
    """The learning rate by epoch, set once at the start of each epoch (counted from 0)."""

    name: str = Field(default="cosine", description="a name from `noisybench schedules`")
    steps: list[tuple[int, Positive]] = Field(default=[], description="steps: pairs (first epoch, learning rate)")
    start: int = Field(default=0, ge=0, description="linear: the epoch from which the rate falls to 0")
    period: int = Field(default=10, ge=1, description="cosine-restarts: epochs of one cycle")
    floor: NonNegative = Field(default=0.0, description="cosine, cosine-restarts: the lowest rate")
    warmup: int = Field(default=0, ge=0, description="triangular: the epoch at lr; up to it the rate rises, then falls")
    settings: dict[str, Any] = Field(default={}, description="what a schedule of another package takes, by name")

    @model_validator(mode="after")
    def _steps_are_ordered(self) -> Self:
        epochs = [epoch for epoch, _ in self.steps]
        if self.name == "steps" and (not epochs or epochs[0] != 0 or epochs != sorted(set(epochs))):
            raise ValueError("steps must be pairs (first epoch, learning rate), rising, the first from epoch 0")
        return self


class PreprocessConfig(Strict, frozen=True):
    """What is done to every image once. With pretrained weights it is what these were trained for, by timm's data
    configuration of the model; what is not set otherwise is the dataset's."""

    input_size: int | None = Field(
        default=None,
        ge=4,
        description="found from pretrained weights: the side in pixels, where image_size is not set",
    )
    mean: list[float] | None = Field(default=None, description="of each channel, of values in [0, 1]")
    std: list[Positive] | None = Field(default=None, description="of each channel, of values in [0, 1]")
    interpolation: Literal["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"] | None = None
    crop_pct: Annotated[float, Field(gt=0.0, le=1.0)] | None = Field(
        default=None, description="images are resized to side / crop_pct, and their centre is cropped"
    )
    crop_mode: Literal["center", "squash"] | None = Field(
        default=None, description="center: resized by the shorter side; squash: both sides, whatever the shape was"
    )


class AugmentConfig(Strict, frozen=True):
    """Training augmentation, drawn anew for each sample in each epoch."""

    crop_padding: int = Field(default=0, ge=0, description="zero-pad by so many pixels, then crop at random")
    horizontal_flip: bool = False
    vertical_flip: bool = False
    meta_set: bool = Field(default=True, description="augment the meta set's images too")
    extra: dict[str, dict[str, Any]] = Field(
        default={}, description="further augmentations by name, each with its settings; applied last"
    )
    draws: Literal[2] | None = Field(
        default=None,
        description="always found anew; 2: each augmentation draws under its own key; None: nothing is augmented, or, "
        "in records of release 0.1, all drew from one table",
    )

    @model_validator(mode="after")
    def _draws_are_those_of_this_release(self):
        on = self.crop_padding or self.horizontal_flip or self.vertical_flip or self.extra
        object.__setattr__(self, "draws", 2 if on else None)
        return self


class FeaturesConfig(Strict, frozen=True):
    """How a frozen network turns images into vectors."""

    input_size: int | None = Field(
        default=None, ge=8, description="side at which the network sees images; its own if not given"
    )
    views: int = Field(
        default=0,
        ge=0,
        le=100,
        description="augmented views of each image and strength, from which each step draws one; 0: the image as it is",
    )
    standardise: bool = Field(
        default=True, description="bring each dimension to mean 0 and deviation 1 on the train part"
    )
    precision: Literal["float32", "bf16"] = Field(default="float32", description="in which the network computes")
    dtype: Literal["float16", "float32"] = Field(default="float16", description="in which features are kept")
