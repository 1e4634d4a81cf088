"""The configuration of one run: validated, unknown keys refused, resolved in layers, hashed to a run id.

Layers, later ones win: the defaults below < the dataset card's defaults < the method card's recipe for that dataset
(else its ``default`` recipe; then ``DATASET:PROTOCOL`` if there is one) < the method card's blind settings under that
ruleset < on a short track the dataset card's table of it, then the method card's recipe ``DATASET:TRACK`` if there is
one < what is given (a ``--config`` file, then the command line). The layers are applied whenever a :class:`RunConfig`
is built, so Python and the command line give the same run.
"""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from noisybench import registry
from noisybench.canonical import canonical_json
from noisybench.cards import DatasetCard
from noisybench.errors import UserError, unknown_name
from noisybench.files import file_sha256
from noisybench.track import STANDARD, TRACKS, Length, Track, scaled

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OptimizerConfig(_Strict):
    """The optimizer of a method's networks. ``lr`` is the rate at epoch 0; the schedule takes it from there."""

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: Positive = 0.02
    momentum: Fraction = Field(default=0.9, description="SGD's momentum; Adam's beta1")
    weight_decay: NonNegative = 5e-4
    nesterov: bool = False


class ScheduleConfig(_Strict):
    """The learning rate by epoch, set once at the start of each epoch (counted from 0)."""

    name: Literal["constant", "steps", "cosine", "cosine-restarts", "linear", "triangular"] = "cosine"
    steps: list[tuple[int, Positive]] = Field(default=[], description="steps: pairs (first epoch, learning rate)")
    start: int = Field(default=0, ge=0, description="linear: the epoch from which the rate falls to 0")
    period: int = Field(default=10, ge=1, description="cosine-restarts: epochs of one cycle")
    floor: NonNegative = Field(default=0.0, description="cosine, cosine-restarts: the lowest rate")
    warmup: int = Field(default=0, ge=0, description="triangular: the epoch at lr; up to it the rate rises, then falls")

    @model_validator(mode="after")
    def _steps_are_ordered(self):
        epochs = [epoch for epoch, _ in self.steps]
        if self.name == "steps" and (not epochs or epochs[0] != 0 or epochs != sorted(set(epochs))):
            raise ValueError("steps must be pairs (first epoch, learning rate), rising, the first from epoch 0")
        return self


class AugmentConfig(_Strict):
    """Training augmentation, drawn anew for each sample in each epoch."""

    crop_padding: int = Field(default=0, ge=0, description="zero-pad by so many pixels, then crop at random")
    horizontal_flip: bool = False
    vertical_flip: bool = False
    meta_set: bool = Field(default=True, description="augment the meta set's images too")


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
            merged = merge(merged, checked)
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
        from noisybench.noise import NOISES

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


ENVIRONMENT_FIELDS = {
    "data_path",
    "noise_file",
    "clean_labels",
    "memory_budget",
    "workers",
    "output",
    "checkpoint_steps",
    "checkpoint_minutes",
    "wandb",
    "sync_batchnorm",
}

# Added when run ids were in use: left out of them at this value, so that no earlier id moves. A configuration without
# one of them was run as this value says.
LATER_FIELDS = {"mixed_precision": "no", "channels_last": False, "track": STANDARD, "schedule": {"warmup": 0}}
LATER_SETTINGS = {"mslg": {"meta_every": 1}}  # of methods


def _later(config: dict[str, Any]) -> dict[str, Any]:
    return {**LATER_FIELDS, "settings": LATER_SETTINGS.get(str(config.get("method")), {})}


def with_later_fields(config: dict[str, Any]) -> dict[str, Any]:
    """A stored configuration with the fields that did not exist yet when it was stored."""
    return merge(_later(config), config)


def _science(config: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in config.items() if name not in ENVIRONMENT_FIELDS}
    return _without_later(kept, _later(config))


def _without_later(values: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    kept = {}
    for name, value in values.items():
        if isinstance(value, dict) and isinstance(later.get(name), dict):
            kept[name] = _without_later(value, later[name])
        elif name not in later or value != later[name]:
            kept[name] = value
    return kept


def _first_of(recipes: dict[str, dict[str, Any]], names: list[str]) -> dict[str, Any]:
    return next((recipes[name] for name in names if name in recipes), {})


def _track_table(track: Any, protocol: Any, dataset_card: DatasetCard) -> dict[str, Any]:
    """The dataset card's table of a short track.

    Raises:
        UserError: there is no such track, the dataset has none, or the protocol has no use for it.
    """
    if track not in TRACKS:
        raise unknown_name("track", str(track), TRACKS)
    if protocol == "authors":
        raise UserError(
            f"track {track!r} with protocol 'authors', which is for comparing with a paper and so trains as the paper "
            "does: leave one of them out"
        )
    if track not in dataset_card.tracks:
        names = [name for name in registry.card_names("datasets") if track in registry.dataset_card(name).tracks]
        raise UserError(f"track {track!r}: dataset {dataset_card.name!r} has none; it is for {', '.join(names)}")
    return dataset_card.tracks[track]


def _on_track(
    standard: dict[str, Any],
    table: dict[str, Any],
    recipe: dict[str, Any],
    given: dict[str, Any],
    settings: type[BaseModel],
) -> dict[str, Any]:
    """What the cards say of a run on a short track.

    Args:
        standard: what they say on the standard track.
        table: the dataset card's, of the track.
        recipe: the method card's, for the dataset and the track.
        given: what is laid over all of it; the run's length is known only with it.
        settings: the method's class of settings.
    """
    # Whole tables are replaced, not merged: of a method's own schedule no part may stay in force.
    shorter = {**standard, **table}
    try:
        length = Length.model_validate(merge(merge(shorter, recipe), given))
    except ValidationError:
        return shorter  # given epochs or batch size are wrong: refused when the fields are read
    shares = length.share_of(Length.model_validate(standard))
    phases = scaled(settings, standard.get("settings", {}), shares)
    return merge(merge(shorter, {"settings": phases}), recipe)


def recipe_conditions(name: str) -> dict[str, str]:
    """What a run must be for a recipe, by its name: ``DATASET``, ``DATASET:PROTOCOL``, ``DATASET:TRACK`` or
    ``default``."""
    dataset, _, condition = name.partition(":")
    given = {} if dataset == "default" else {"dataset": dataset}
    return given | ({"track" if condition in TRACKS else "protocol": condition} if condition else {})


def _takes_rate(noise: Any) -> bool:
    from noisybench.noise import NOISES

    return noise not in NOISES or NOISES[noise].rated  # a name that is not known is refused later


def _with_noise_file(given: dict[str, Any]) -> dict[str, Any]:
    """``noise="KIND:FILE"`` taken apart, and the file's hash: what is in it, not its place, is part of a run."""
    noise, file = given.get("noise"), given.get("noise_file")
    if isinstance(noise, str) and ":" in noise:
        noise, _, named = noise.partition(":")
        if not named:
            raise UserError(f"noise {given['noise']!r}: no file after the colon")
        if file is not None and Path(file) != Path(named):
            raise UserError(f"noise {given['noise']!r} names another file than noise_file {file}; give one of them")
        given, file = {**given, "noise": noise, "noise_file": named}, named
    if file is None:
        return given
    found, stated = file_sha256(Path(file)), given.get("noise_file_sha256")
    if stated is not None and found != stated:
        raise UserError(f"noise_file {file}: the file was changed (sha256 {found[:16]}…, not {stated[:16]}…)")
    return {**given, "noise_file_sha256": found}


def run_id_of(config: dict[str, Any]) -> str:
    """The run id of a configuration stored as plain JSON values, with or without its environment fields.

    The stored values are hashed as they are: no card is read and no method imported, so the id of an old record does
    not move when a card does.
    """
    return hashlib.sha256(canonical_json(_science(config)).encode()).hexdigest()[:16]


def _of_checked_labels(file: Path, expected: str | None) -> dict[str, Any]:
    """A fifth of the checked images is clean validation, the rest the meta set; and the file's hash."""
    from noisybench.data.checked import content_hash, read_checked

    checked = len(read_checked(file))
    clean_val = checked // 5
    found = content_hash(file)
    if expected not in (None, found):
        raise UserError(f"--clean-labels {file}: not the file this configuration was made with (its hash differs)")
    return {
        "clean_labels_sha256": found,
        "meta_size": checked - clean_val,
        "clean_val_size": clean_val,
    }


def merge(lower: dict[str, Any], upper: dict[str, Any]) -> dict[str, Any]:
    """``upper`` laid over ``lower``: nested tables are merged, everything else is replaced."""
    merged = dict(lower)
    for name, value in upper.items():
        both_tables = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = merge(merged[name], value) if both_tables else value
    return merged


def read_config_file(path: Path) -> dict[str, Any]:
    """The content of a ``--config`` file (TOML)."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"--config {path}: no such file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"--config {path}: not a readable TOML file: {error}") from error


def parse_override(text: str) -> dict[str, Any]:
    """One ``--set KEY=VALUE``: ``"optimizer.lr=0.1"`` gives ``{"optimizer": {"lr": 0.1}}``.

    ``method.X`` names the method's own setting X. VALUE is a TOML value; a bare word is a string.
    """
    name, separator, value_text = text.partition("=")
    name = name.strip()
    if not separator or not name:
        raise UserError(f"--set {text!r}: write KEY=VALUE, for example --set optimizer.lr=0.1")
    try:
        value: Any = tomllib.loads(f"value = {value_text}")["value"]
    except tomllib.TOMLDecodeError:
        value = value_text
    parts = name.split(".")
    if parts[0] == "method" and len(parts) > 1:
        parts[0] = "settings"
    for part in reversed(parts):
        value = {part: value}
    return value


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
