"""The configuration of one run: validated, unknown keys refused, resolved in layers, hashed to a run id.

Layers, later ones win: the defaults below < the dataset card's defaults < the method card's recipe for that dataset
(else its ``default`` recipe; then ``DATASET:PROTOCOL`` if there is one) < the method card's blind settings under that
ruleset < on a short track the dataset card's table of it, then the method card's recipe ``DATASET:TRACK`` if there is
one < what is given (a ``--config`` file, then the command line). The layers are applied whenever a :class:`RunConfig`
is built, so Python and the command line give the same run.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from noisybench.core.errors import UserError, unknown_name
from noisybench.core.nested import merge
from noisybench.spec import registry
from noisybench.spec.identity import (
    _science,
    run_id_of,
)
from noisybench.spec.layers import (
    _first_of,
    _of_checked_labels,
    _on_track,
    _shrunk,
    _takes_rate,
    _track_table,
    _with_noise_file,
)
from noisybench.spec.track import STANDARD, Track
from noisybench.spec.values import (
    AugmentConfig,
    Fraction,
    NonNegative,
    OptimizerConfig,
    ScheduleConfig,
    _Strict,
)


class RunConfig(_Strict):
    """Everything one run depends on. Build it with what you want to change; cards supply the rest."""

    method: str = "ce"
    dataset: str = "digits"
    noise: str = Field(default="symmetric", description="a noise model; KIND:FILE also names the file it reads")
    noise_rate: Fraction = Field(default=0.4, description="0 where the noise model takes no rate")
    noise_file_sha256: str | None = Field(default=None, description="of the noise model's file")
    noise_seed: int | None = Field(default=None, ge=0, description="seed of the noise; the run's seed if not given")
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
    meta_size: int = Field(ge=0)
    noisy_val_size: int = Field(ge=0)
    clean_val_size: int = Field(ge=0)

    model: str = "noisybench_cnn8"
    pretrained: bool = False
    image_size: int | None = Field(default=None, ge=4, description="side in pixels; the dataset's own if not given")
    precision: Literal["float32", "float64"] = "float32"
    mixed_precision: Literal["no", "bf16"] = Field(
        default="no", description="bf16: networks compute in bfloat16; weights, losses and label state stay float32"
    )
    channels_last: bool = Field(
        default=False, description="lay convolutions out channels last: often faster, with other rounding"
    )
    epochs: int = Field(ge=1)
    batch_size: int = Field(default=128, ge=1, description="images per step, over all processes")
    order: Literal["shuffled", "sequential"] = Field(
        default="shuffled", description="sequential replays file order in every epoch, as the MSLG authors do"
    )
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    augment: AugmentConfig = AugmentConfig()
    settings: dict[str, Any] = Field(
        default={}, validate_default=True, description="the method's own settings, with its defaults filled in"
    )

    clean_labels_sha256: str | None = Field(
        default=None, description="content of the clean_labels file; found when the configuration is built"
    )

    # Where and how it runs: none of these may change a result, so they are no part of the run id.
    data_path: Path | None = None
    noise_file: Path | None = Field(default=None, description="the file that the noise model reads")
    clean_labels: Path | None = Field(default=None, description="CSV of checked images: path (or index) and label")
    memory_budget: int = Field(
        default=4096, ge=0, description="MiB of decoded images to keep in memory; larger sets are streamed"
    )
    workers: int = Field(default=4, ge=0, description="processes that decode streamed images")
    output: Path | None = None
    checkpoint_steps: int = Field(default=0, ge=0, description="save every so many training steps too; 0: not so")
    checkpoint_minutes: NonNegative = Field(
        default=10.0, description="save so long after the last checkpoint too; 0: only at the ends of epochs"
    )
    wandb: bool = False
    sync_batchnorm: bool = Field(
        default=False,
        description="several processes: BatchNorm over the whole batch, as one process has it, not over each part",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_from_cards(cls, given: Any) -> Any:
        """Put the cards' layers under what is given."""
        if not isinstance(given, dict):
            return given
        given = _with_noise_file(given)
        method = given.get("method", cls.model_fields["method"].default)
        dataset = given.get("dataset", cls.model_fields["dataset"].default)
        ruleset = given.get("ruleset", cls.model_fields["ruleset"].default)
        dataset_card = registry.dataset_card(dataset)
        method_card = registry.method_card(method)
        names = [dataset] if dataset_card.base is None else [dataset, dataset_card.base]
        recipe = _first_of(method_card.recipes, [*names, "default"])
        protocol = given.get("protocol", cls.model_fields["protocol"].default)
        of_protocol = _first_of(method_card.recipes, [f"{name}:{protocol}" for name in names])
        sizes = dataset_card.splits.model_dump()
        if given.get("limit_train") and dataset_card.train_size is not None:
            sizes = {name: round(size * given["limit_train"] / dataset_card.train_size) for name, size in sizes.items()}
        layers = [sizes, dataset_card.defaults, recipe, of_protocol]
        if ruleset == "blind":
            layers.append(method_card.blind)
        merged: dict[str, Any] = {}
        for layer in layers:
            merged = merge(merged, layer)
        track = given.get("track", cls.model_fields["track"].default)
        if track != STANDARD:
            table = _track_table(track, protocol, dataset_card)
            of_track = _first_of(method_card.recipes, [f"{name}:{track}" for name in names])
            merged = _on_track(merged, table, of_track, given, registry.load_method(method).Settings)
        if given.get("clean_labels") is not None:
            checked = _of_checked_labels(Path(given["clean_labels"]), given.get("clean_labels_sha256"))
            merged = merge(merged, _shrunk(checked, dataset_card, given.get("limit_train")))
        merged = merge(merged, given)
        noise = merged.get("noise", cls.model_fields["noise"].default)
        if "noise_rate" not in given and not _takes_rate(noise):
            # Of labels as shipped it is what the card expects; of a file, what the file will show.
            merged["noise_rate"] = (dataset_card.noise_rate or 0.0) if noise == "none" else 0.0
        return merged

    @field_validator("settings", mode="after")
    @classmethod
    def _settings_are_the_methods(cls, settings: dict[str, Any], info) -> dict[str, Any]:
        method = info.data.get("method")
        if method is None:
            return settings
        try:
            return registry.load_method(method).Settings(**settings).model_dump(mode="json")
        except ValidationError as error:  # a ValueError: left alone, pydantic would bury it in a message of its own
            raise UserError(_first_error(error, given=info.data, parents=["method"])) from error

    @model_validator(mode="after")
    def _fits_together(self):
        NOISES = importlib.import_module("noisybench.noise").NOISES

        if self.noise not in NOISES:
            raise unknown_name("noise", self.noise, NOISES)
        labels = registry.dataset_card(self.dataset).labels
        if self.noise != "none" and (labels == "noisy" or self.clean_labels is not None):
            raise UserError(
                f"noise {self.noise!r} on {self.dataset}, whose labels are noisy as they are: use --noise none"
            )
        if self.noise == "none" and self.noise_rate != 0 and labels == "clean":
            raise UserError(f"noise_rate {self.noise_rate} with noise 'none': give --noise-rate 0 or a noise")
        kind = NOISES[self.noise]
        if not kind.rated and self.noise != "none" and self.noise_rate != 0:
            raise UserError(
                f"noise_rate {self.noise_rate} with noise {self.noise!r}: its rate is that of its file; leave it out"
            )
        if kind.file is not None and self.noise_file is None:
            raise UserError(f"noise {self.noise!r} reads a file: give --noise {self.noise}:FILE ({kind.file})")
        if kind.file is None and self.noise_file is not None:
            raise UserError(f"noise_file {self.noise_file}: noise {self.noise!r} reads no file; leave it out")
        if self.mixed_precision == "bf16" and self.precision == "float64":
            raise UserError("mixed_precision bf16 is for precision float32, not float64")
        if self.optimizer.nesterov and self.optimizer.name != "sgd":
            raise UserError(f"optimizer.nesterov needs optimizer.name=sgd, not {self.optimizer.name}")
        return self

    def science(self) -> dict[str, Any]:
        """The resolved configuration without the fields that cannot change a result, as plain JSON values."""
        return _science(self.model_dump(mode="json"))

    @property
    def run_id(self) -> str:
        """16 hex digits: the sha256 of the canonical JSON of :meth:`science`."""
        return run_id_of(self.science())

    @property
    def noise_key(self) -> int:
        """The seed that the noise is drawn with."""
        return self.seed if self.noise_seed is None else self.noise_seed


def build_config(given: dict[str, Any]) -> RunConfig:
    """A :class:`RunConfig` from untyped input, with errors a user can act on.

    Raises:
        UserError: a key is unknown or a value is wrong; one line that names it.
    """
    try:
        return RunConfig(**given)
    except ValidationError as error:
        raise UserError(_first_error(error, given)) from error


def _first_error(error: ValidationError, given: dict[str, Any], parents: list[str] | None = None) -> str:
    first = error.errors()[0]
    place = [*(parents or []), *(str(part) for part in first["loc"])]
    name = ".".join(place)
    if first["type"] == "extra_forbidden":
        known = _known_keys(place[:-1], given)
        return str(unknown_name("configuration key", name, known))
    message = first["msg"].removeprefix("Value error, ")
    got = "" if first["type"] in ("missing", "value_error") else f", not {first['input']!r}"
    return f"{name or 'configuration'}: {message[0].lower()}{message[1:]}{got}"


def _known_keys(parents: list[str], given: dict[str, Any]) -> list[str]:
    """Dotted names of the keys that exist beside an unknown one."""
    if parents[:1] == ["method"]:
        model: type[BaseModel] = registry.load_method(given.get("method", "ce")).Settings
    else:
        model = RunConfig
        for parent in parents:
            model = model.model_fields[parent].annotation
    return [".".join([*parents, field]) for field in model.model_fields]
