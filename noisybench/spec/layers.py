"""From what is asked for to what is run: the layers of cards under what is set, later ones on top.

Layers, later ones win: the defaults of :class:`RunConfig` < the dataset card's sizes and defaults < the method card's
recipe for that dataset (else its ``default`` recipe; then ``DATASET:PROTOCOL`` if there is one) < the method card's
blind settings under that ruleset < on a short track the dataset card's table of it, then the method card's recipe
``DATASET:TRACK`` if there is one < of a frozen run :data:`noisybench.spec.frozen.TABLE` with the dataset card's table
``frozen``, then the method card's recipes ``default:frozen`` and ``DATASET:frozen`` < the sizes that a ``clean_labels``
file gives < what is set in the configuration (on the command line: a ``--config`` file, then options). Python and the
command line give the same run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from noisybench.core.errors import UserError
from noisybench.core.files import file_sha256
from noisybench.core.nested import merge
from noisybench.spec import checked_labels, frozen, registry
from noisybench.spec.cards import DatasetCard
from noisybench.spec.config import ResolvedConfig, RunConfig
from noisybench.spec.extension_kinds import imported
from noisybench.spec.extension_settings import augmentation_settings, schedule_settings
from noisybench.spec.frozen import FROZEN
from noisybench.spec.invalid import as_user_error
from noisybench.spec.method_settings import method_settings
from noisybench.spec.schedule import learning_rate
from noisybench.spec.track import STANDARD, TRACKS, Length, scaled
from noisybench.spec.user_images import is_own, own_train_size

HASHES = {"noise_file_sha256", "clean_labels_sha256", "weights_sha256"}


def resolve(config: RunConfig) -> ResolvedConfig:
    """Fill a configuration in from the cards, read the hashes of its files, and check that all of it fits together.

    What is set in it wins, key by key, also within its tables; a resolved one is given back as it is.

    Raises:
        UserError: a name is unknown, a file is missing or was changed, or two values do not go together.
    """
    if isinstance(config, ResolvedConfig):
        return config
    given = _with_weights(_with_noise_file(_what_is_set(config)))
    dataset_card = registry.dataset_card(config.dataset)
    values = _of_cards(config, dataset_card, given)
    if config.clean_labels is not None:
        checked = _of_checked_labels(config.clean_labels, config.clean_labels_sha256)
        values = merge(values, _shrunk(checked, dataset_card, config.limit_train))
    values = merge(values, given)
    values = merge(values, _for_pretrained(values, dataset_card))
    noise = values.setdefault("noise", config.noise)
    if "noise_rate" not in given and not noise_kind(noise).rated:
        # Of labels as shipped it is what the card expects; of a file, what the file will show.
        values["noise_rate"] = (dataset_card.noise_rate or 0.0) if noise == "none" else 0.0
    resolved = _validated(values)
    release = noise_kind(noise).release
    filled = {
        "noise_release": release if release > 1 else None,
        "settings": _all_settings(config.method, resolved.settings),
        "augment": {**resolved.augment.model_dump(), "extra": augmentation_settings(resolved.augment.extra)},
        "schedule": {**resolved.schedule.model_dump(), "settings": schedule_settings(resolved.schedule)},
    }
    # From all of its values, so that every key counts as set: a table taken from the result is a whole one.
    resolved = _validated(resolved.model_dump() | filled)
    _check_that_it_fits(resolved, dataset_card)
    return resolved


def recipe_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run's method as the cards have them, as plain JSON values.

    Args:
        given: method, dataset, and what else decides which recipe is meant.

    Raises:
        UserError: no such method or dataset, or they do not go together.
    """
    try:
        config = RunConfig(**given)
    except ValidationError as error:
        raise as_user_error(error, RunConfig) from error
    what_is_set = _what_is_set(config)
    of_cards = merge(_of_cards(config, registry.dataset_card(config.dataset), what_is_set), what_is_set)
    return _all_settings(config.method, of_cards.get("settings", {}))


def resolve_dict(given: Mapping[str, Any]) -> ResolvedConfig:
    """The same from untyped input: a stored configuration, or what a file and a command line say.

    Raises:
        UserError: also where a key is unknown or a value is wrong; one line that names it.
    """
    try:
        config = RunConfig(**given)
    except ValidationError as error:
        raise as_user_error(error, RunConfig) from error
    return resolve(config)


def recipe_conditions(name: str) -> dict[str, Any]:
    """What a run must be for a recipe, by its name: ``DATASET``, ``DATASET:PROTOCOL``, ``DATASET:TRACK``,
    ``DATASET:frozen``, ``default`` or ``default:frozen``."""
    dataset, _, condition = name.partition(":")
    given: dict[str, Any] = {} if dataset == "default" else {"dataset": dataset}
    if condition == FROZEN:
        return given | {"frozen": True}
    return given | ({"track" if condition in TRACKS else "protocol": condition} if condition else {})


def noise_kind(name: str) -> Any:
    """The noise model of this name: whether it takes a rate (``rated``), and what the file it reads holds (``file``).

    Raises:
        UserError: there is none.
    """
    return registry.load("noise", name)


def _what_is_set(config: RunConfig) -> dict[str, Any]:
    """The keys set in a configuration and in its tables.

    None is as if not set where only the cards have a value, and for a hash that is found here.
    """
    found_here = {name for name, field in ResolvedConfig.model_fields.items() if field.is_required()} | HASHES
    return config.model_dump(exclude_unset=True, exclude={name for name in found_here if getattr(config, name) is None})


def _of_cards(config: RunConfig, dataset_card: DatasetCard, given: dict[str, Any]) -> dict[str, Any]:
    """What the cards say of a run.

    Args:
        dataset_card: the card of the configuration's dataset.
        given: what is laid over it.
    """
    method_card = registry.method_card(config.method)
    names = [config.dataset] if dataset_card.base is None else [config.dataset, dataset_card.base]
    recipe = _first_of(method_card.recipes, [*names, "default"])
    of_protocol = _first_of(method_card.recipes, [f"{name}:{config.protocol}" for name in names])
    layers = [_split_sizes(dataset_card, config.limit_train), dataset_card.defaults, recipe, of_protocol]
    if config.ruleset == "blind":
        layers.append(method_card.blind)
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = merge(merged, layer)
    if config.frozen:
        table = merge(frozen.TABLE, dataset_card.frozen)
        of_frozen = merge(
            method_card.recipes.get(f"default:{FROZEN}", {}),
            _first_of(method_card.recipes, [f"{name}:{FROZEN}" for name in names]),
        )
        return _on_track(merged, table, of_frozen, given, method_settings(config.method))
    if config.track == STANDARD:
        return merged
    table = _track_table(config.track, config.protocol, dataset_card)
    of_track = _first_of(method_card.recipes, [f"{name}:{config.track}" for name in names])
    return _on_track(merged, table, of_track, given, method_settings(config.method))


def _first_of(recipes: dict[str, dict[str, Any]], names: list[str]) -> dict[str, Any]:
    return next((recipes[name] for name in names if name in recipes), {})


def _split_sizes(card: DatasetCard, limit_train: int | None) -> dict[str, int]:
    """The sizes of the held-out parts, in proportion where not all training images are used."""
    sizes = card.splits.model_dump()
    if limit_train is None or card.train_size is None:
        return sizes
    return {name: round(size * limit_train / card.train_size) for name, size in sizes.items()}


def _track_table(track: str, protocol: str, dataset_card: DatasetCard) -> dict[str, Any]:
    """The dataset card's table of a short track.

    Raises:
        UserError: the dataset has none, or the protocol has no use for it.
    """
    if protocol == "authors":
        raise UserError(
            f"track {track!r} with protocol 'authors', which is for comparing with a paper and so trains as the paper "
            "does: leave one of them out"
        )
    if track not in dataset_card.tracks:
        names = [name for name in registry.card_names("datasets") if track in registry.dataset_card(name).tracks]
        raise UserError(f"track {track!r}: dataset {dataset_card.name!r} has none; it is for {', '.join(names)}")
    return dataset_card.tracks[track]


class _StandardRun(Length):
    settings: dict[str, Any] = {}


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
        before = _StandardRun.model_validate(standard)
        phases = scaled(settings, before.settings, length.share_of(before))
    except ValidationError:
        return shorter  # a card's value is wrong: refused when all the fields are read
    return merge(merge(shorter, {"settings": phases}), recipe)


def _with_noise_file(given: dict[str, Any]) -> dict[str, Any]:
    """``noise="KIND:FILE"`` taken apart, and the file's hash: what is in it, not its place, is part of a run."""
    noise, file = given.get("noise", ""), given.get("noise_file")
    if ":" in noise:
        noise, _, named = noise.partition(":")
        if not named:
            raise UserError(f"noise {given['noise']!r}: no file after the colon")
        if file is not None and file != Path(named):
            raise UserError(f"noise {given['noise']!r} names another file than noise_file {file}; give one of them")
        given, file = {**given, "noise": noise, "noise_file": named}, Path(named)
    if file is None:
        return given
    found, stated = file_sha256(file), given.get("noise_file_sha256")
    if stated is not None and found != stated:
        raise UserError(f"noise_file {file}: the file was changed (sha256 {found[:16]}…, not {stated[:16]}…)")
    return {**given, "noise_file_sha256": found}


def _with_weights(given: dict[str, Any]) -> dict[str, Any]:
    """With the hash of the file of weights: what is in it, not its place, is part of a run."""
    file, stated = given.get("weights"), given.get("weights_sha256")
    if file is None:
        if stated is not None:
            raise UserError(f"weights_sha256 {stated[:16]}…: give the file it is of (--weights FILE)")
        return given
    found = file_sha256(file)
    if stated is not None and found != stated:
        raise UserError(f"--weights {file}: the file was changed (sha256 {found[:16]}…, not {stated[:16]}…)")
    return {**given, "weights_sha256": found}


def _for_pretrained(values: dict[str, Any], card: DatasetCard) -> dict[str, Any]:
    """How images are prepared for the pretrained weights that a run starts from, where nothing else is said.

    Args:
        values: the merged layers.
        card: of the dataset.
    """
    model = values.get("model", RunConfig.model_fields["model"].default)
    if not values.get("pretrained") and values.get("weights") is None:
        return {}
    # By name: timm, which alone knows, needs torch. Who trains no pretrained model does not wait for it.
    found = imported("noisybench.models.create:data_config")(model, card.channels)
    if found is None:
        return {}
    asked = {
        "input_size": found.input_size if values.get("image_size") is None else None,
        "mean": list(found.mean),
        "std": list(found.std),
        "interpolation": found.interpolation,
        "crop_pct": found.crop_pct,
        "crop_mode": found.crop_mode,
    }
    of_features: dict[str, Any] = {}
    if values.get("frozen") and card.resize is None:
        # Small images stay as small as they are until they are about to go through the network.
        of_features = {"input_size": found.input_size}
        asked = {name: asked[name] for name in ("mean", "std", "interpolation")}
    tables = {"preprocess": asked, "features": of_features}
    return {
        table: {name: value for name, value in found.items() if values.get(table, {}).get(name) is None}
        for table, found in tables.items()
    }


def _of_checked_labels(file: Path, expected: str | None) -> dict[str, Any]:
    """A fifth of the checked images is clean validation, the rest the meta set; and the file's hash."""
    checked = len(checked_labels.read_checked(file))
    clean_val = checked // 5
    found = checked_labels.file_hash(file)
    if expected not in (None, found):
        raise UserError(f"--clean-labels {file}: not the file this configuration was made with (its hash differs)")
    return {
        "clean_labels_sha256": found,
        "meta_size": checked - clean_val,
        "clean_val_size": clean_val,
    }


def _shrunk(checked: dict[str, Any], dataset_card: DatasetCard, limit: int | None) -> dict[str, Any]:
    """The same where ``limit_train`` leaves fewer checked images, as it shrinks all held-out parts.

    Raises:
        UserError: it leaves too few.
    """
    if limit is None:
        return checked
    count = checked["meta_size"] + checked["clean_val_size"]
    whole = own_train_size(dataset_card.name, count) if is_own(dataset_card.name) else dataset_card.train_size
    if whole is None or limit >= whole:
        return checked
    left = count * limit // whole
    if left < 2:
        raise UserError(
            f"--limit-train {limit} with --clean-labels: of {count} checked images among {whole} it leaves {left}, and "
            f"at least 2 are needed; make it {-(-2 * whole // count)} or more"
        )
    return checked | {"meta_size": left - left // 5, "clean_val_size": left // 5}


def _validated(values: dict[str, Any]) -> ResolvedConfig:
    try:
        return ResolvedConfig.model_validate(values)
    except ValidationError as error:  # a card's fault: what is given was checked before
        raise as_user_error(error, ResolvedConfig) from error


def _all_settings(method: str, settings: dict[str, Any]) -> dict[str, Any]:
    """All of a method's settings, as plain JSON values."""
    model = method_settings(method)
    try:
        return model.model_validate(settings).model_dump(mode="json")
    except ValidationError as error:
        raise as_user_error(error, model, "method.") from error


def _check_that_it_fits(config: ResolvedConfig, dataset_card: DatasetCard) -> None:
    """Refuse values that are right one by one and do not go together."""
    _check_frozen(config)
    kind, labels = noise_kind(config.noise), dataset_card.labels
    if config.noise != "none" and (labels == "noisy" or config.clean_labels is not None):
        raise UserError(
            f"noise {config.noise!r} on {config.dataset}, whose labels are noisy as they are: use --noise none"
        )
    if config.noise == "none" and config.noise_rate != 0 and labels == "clean":
        raise UserError(f"noise_rate {config.noise_rate} with noise 'none': give --noise-rate 0 or a noise")
    if not kind.rated and config.noise != "none" and config.noise_rate != 0:
        raise UserError(
            f"noise_rate {config.noise_rate} with noise {config.noise!r}: its rate is that of its file; leave it out"
        )
    if kind.file is not None and config.noise_file is None:
        raise UserError(f"noise {config.noise!r} reads a file: give --noise {config.noise}:FILE ({kind.file})")
    if kind.file is None and config.noise_file is not None:
        raise UserError(f"noise_file {config.noise_file}: noise {config.noise!r} reads no file; leave it out")
    if config.pretrained and config.weights is not None:
        raise UserError(f"--weights {config.weights} with --pretrained: networks start from one of them; leave one out")
    for name in ("mean", "std"):
        values = getattr(config.preprocess, name)
        if values is not None and len(values) != dataset_card.channels:
            raise UserError(
                f"preprocess.{name} has {len(values)} values; {config.dataset} has {dataset_card.channels} channels"
            )
    for tracker in config.all_trackers:
        registry.find("tracker", tracker)
    for epoch in (0, config.epochs - 1):  # a schedule that cannot be computed is found before a run begins
        learning_rate(config.optimizer.lr, config.schedule, epoch, config.epochs)
    if config.mixed_precision == "bf16" and config.precision == "float64":
        raise UserError("mixed_precision bf16 is for precision float32, not float64")
    if config.pretrained and config.initialisation != "model":
        raise UserError(f"initialisation {config.initialisation!r} with pretrained weights: leave one of them out")
    if config.optimizer.nesterov and config.optimizer.name != "sgd":
        raise UserError(f"optimizer.nesterov needs optimizer.name=sgd, not {config.optimizer.name}")


def _check_frozen(config: ResolvedConfig) -> None:
    """Refuse what is said of a head or of features where no model is frozen, and what has no meaning where one is."""
    if not config.frozen:
        for name in ("head", "features"):
            if getattr(config, name) != RunConfig.model_fields[name].default:
                raise UserError(f"{name} is set, and the run trains its whole network: add --frozen, or leave it out")
        return
    frozen.head_widths(config.head)
    if config.track != STANDARD:
        raise UserError(f"track {config.track!r} with --frozen, which has a length of its own: leave one of them out")
    if config.mixed_precision != "no":
        raise UserError(
            f"mixed_precision {config.mixed_precision} with --frozen: heads are trained in {config.precision}; for the "
            f"backbone, --set features.precision={config.mixed_precision}"
        )
