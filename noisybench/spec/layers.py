"""How a configuration is put together: the layers of cards under what is given, later ones on top."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from noisybench.core.errors import UserError, unknown_name
from noisybench.core.files import file_sha256
from noisybench.core.nested import merge
from noisybench.spec import registry
from noisybench.spec.cards import DatasetCard
from noisybench.spec.track import TRACKS, Length, scaled
from noisybench.spec.user_images import is_own, own_train_size


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
    NOISES = importlib.import_module("noisybench.noise").NOISES

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


def _of_checked_labels(file: Path, expected: str | None) -> dict[str, Any]:
    """A fifth of the checked images is clean validation, the rest the meta set; and the file's hash."""
    from noisybench.spec.checked_labels import content_hash, read_checked

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


def _shrunk(checked: dict[str, Any], dataset_card: DatasetCard, limit: Any) -> dict[str, Any]:
    """The same where ``limit_train`` leaves fewer checked images, as it shrinks all held-out parts.

    Raises:
        UserError: it leaves too few.
    """
    if type(limit) is not int or limit < 1:  # what else it may be is refused when the fields are read
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
