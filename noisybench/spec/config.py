"""The configuration of one run: what is asked for, and the same with everything filled in.

:class:`RunConfig` is plain: building one checks types and ranges, reads no file and imports no method.
:func:`noisybench.spec.layers.resolve` puts the cards' layers under what was set in it and makes a
:class:`ResolvedConfig`. Run ids are made in ``identity.py``; TOML files and KEY=VALUE are read in ``text.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from noisybench.core.errors import unknown_name
from noisybench.spec.identity import run_id_of, science, without_former_fields
from noisybench.spec.track import STANDARD, TRACKS, Track
from noisybench.spec.values import (
    AugmentConfig,
    FeaturesConfig,
    Fraction,
    NonNegative,
    OptimizerConfig,
    PreprocessConfig,
    ScheduleConfig,
    Strict,
)


class RunConfig(Strict, frozen=True):
    """What one asks for: set what you want to change, and the cards supply the rest when it is resolved.

    What is not set holds the lowest layer's value, or None where only the cards have one.
    """

    method: str = "ce"
    dataset: str = "digits"
    noise: str = Field(default="symmetric", description="a noise model; KIND:FILE also names the file it reads")
    noise_rate: Fraction = Field(default=0.4, description="0 where the noise model takes no rate")
    noise_file_sha256: str | None = Field(
        default=None, description="of the noise model's file; found when it is resolved"
    )
    noise_seed: int | None = Field(default=None, ge=0, description="seed of the noise; the run's seed if not given")
    noise_release: int | None = Field(
        default=None, ge=2, description="always found anew: of a noise model whose draws have changed since release 0.1"
    )
    seed: int = Field(default=0, ge=0)
    protocol: Literal["sealed", "authors"] = "sealed"
    ruleset: Literal["paper", "blind"] = Field(
        default="paper", description="paper: the card's recipe; blind: the card's one setting for all noise"
    )
    track: Track = Field(
        default=STANDARD, description="fast: the dataset card's short schedule for all methods; phases keep their share"
    )
    limit_train: int | None = Field(
        default=None,
        ge=1,
        description="use so many training images (stratified); sizes of held-out parts that are not given shrink "
        "alike, where the dataset's card knows how many images there are",
    )
    meta_size: int | None = Field(default=None, ge=0)
    noisy_val_size: int | None = Field(default=None, ge=0)
    clean_val_size: int | None = Field(default=None, ge=0)

    model: str = "noisybench_cnn8"
    pretrained: bool = Field(default=False, description="start from the model's published weights")
    weights_sha256: str | None = Field(default=None, description="of the weights file; found when it is resolved")
    initialisation: Literal["model", "torch"] = Field(
        default="model",
        description="model: as the model's code has it (noisybench's own: Kaiming, fan out); torch: torch's default "
        "for convolutions, linear layers and BatchNorm",
    )
    frozen: bool = Field(
        default=False, description="the model is fixed and its features are computed once; a head is trained on them"
    )
    head: str = Field(default="linear", description="of a frozen run: linear, or mlp:WIDTH,… (hidden layers)")
    features: FeaturesConfig = FeaturesConfig()
    image_size: int | None = Field(
        default=None,
        ge=4,
        le=2048,
        description="side in pixels; if not given, the dataset's own, or with pretrained weights the model's",
    )
    preprocess: PreprocessConfig = PreprocessConfig()
    precision: Literal["float32", "float64"] = "float32"
    mixed_precision: Literal["no", "bf16"] = Field(
        default="no", description="bf16: networks compute in bfloat16; weights, losses and label state stay float32"
    )
    channels_last: bool = Field(
        default=False, description="lay convolutions out channels last: often faster, with other rounding"
    )
    epochs: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=128, ge=1, description="images per step, over all processes")
    batch_parts: int = Field(
        default=1,
        ge=1,
        description="1: any number of processes gives what one gives. N: for N processes alone, and BatchNorm sees "
        "each process's own part of a batch; dropout and bfloat16, which differ from one process anyhow, need it",
    )
    order: Literal["shuffled", "sequential"] = Field(
        default="shuffled", description="sequential replays file order in every epoch, as the MSLG authors do"
    )
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    augment: AugmentConfig = AugmentConfig()
    settings: dict[str, Any] = Field(default={}, description="the method's own settings")

    clean_labels_sha256: str | None = Field(
        default=None, description="content of the clean_labels file; found when it is resolved"
    )

    # Where and how it runs: none of these may change a result, so they are no part of the run id.
    data_path: Path | None = None
    noise_file: Path | None = Field(default=None, description="the file that the noise model reads")
    clean_labels: Path | None = Field(default=None, description="CSV of checked images: path (or index) and label")
    weights: Path | None = Field(default=None, description="file of weights to start from: safetensors, or .pth")
    memory_budget: int = Field(
        default=4096, ge=0, description="MiB of decoded images to keep in memory; larger sets are streamed"
    )
    workers: int = Field(default=4, ge=0, description="processes that decode streamed images")
    output: Path | None = None
    checkpoint_steps: int = Field(default=0, ge=0, description="save every so many training steps too; 0: not so")
    checkpoint_minutes: NonNegative = Field(
        default=10.0, description="save so long after the last checkpoint too; 0: only at the ends of epochs"
    )
    wandb: bool = Field(default=False, description="the tracker 'wandb', besides those of trackers")
    trackers: list[str] = Field(default=[], description="names from `noisybench trackers`")

    @model_validator(mode="before")
    @classmethod
    def _former_fields_are_read(cls, values: object) -> object:
        return without_former_fields(values) if isinstance(values, dict) else values

    @field_validator("track", mode="before")
    @classmethod
    def _track_is_known(cls, track: object) -> object:
        if track not in TRACKS:
            raise unknown_name("track", str(track), TRACKS)
        return track


class ResolvedConfig(RunConfig, frozen=True):
    """Everything one run depends on, filled in: what :func:`noisybench.spec.layers.resolve` makes.

    ``noise`` and ``noise_file`` are taken apart, the files' hashes are in, ``settings`` holds all of the method's.
    """

    meta_size: int = Field(ge=0)
    noisy_val_size: int = Field(ge=0)
    clean_val_size: int = Field(ge=0)
    epochs: int = Field(ge=1)

    def science(self) -> dict[str, Any]:
        """The configuration without the fields that cannot change a result, as plain JSON values."""
        return science(self.model_dump(mode="json"))

    @property
    def run_id(self) -> str:
        """16 hex digits: the sha256 of the canonical JSON of :meth:`science`."""
        return run_id_of(self.science())

    @property
    def side(self) -> int | None:
        """Of the images in pixels; None: as the dataset's card says."""
        return self.image_size or self.preprocess.input_size

    @property
    def all_trackers(self) -> list[str]:
        """The names of the run's trackers, each once."""
        return list(dict.fromkeys((["wandb"] if self.wandb else []) + self.trackers))

    @property
    def noise_key(self) -> int:
        """The seed that the noise is drawn with."""
        return self.seed if self.noise_seed is None else self.noise_seed
