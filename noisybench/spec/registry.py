"""Everything by its name: extensions through entry points, cards as TOML files.

``extensions.py`` says what can be added from outside and how it is found. A third-party package ships cards by naming
a package of TOML files in the entry-point group ``noisybench.cards``; that package holds ``methods/NAME.toml``,
``datasets/NAME.toml`` and ``benchmarks/NAME.toml``, as ``registry/`` does here. What is broken disables itself alone.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.resources
import tomllib
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from noisybench.core.errors import UserError, one_line, unknown_name
from noisybench.core.names import file_name_fault, shown_name
from noisybench.spec import extensions
from noisybench.spec.cards import BenchmarkCard, Card, DatasetCard, MethodCard
from noisybench.spec.extension_kinds import KINDS
from noisybench.spec.extensions import OWN_PACKAGE, Broken, Unusable, disabled, find, load, names
from noisybench.spec.tuning import check_settings
from noisybench.spec.user_images import is_own, own_card

CARDS_GROUP = "noisybench.cards"

AnyCard = TypeVar("AnyCard", bound=Card)

__all__ = [
    "Broken",
    "benchmark_card",
    "broken",
    "builtin_cards",
    "card_names",
    "dataset_card",
    "disabled",
    "find",
    "forget",
    "load",
    "load_method",
    "method_card",
    "method_entry_points",
    "method_names",
    "names",
    "parse_card",
    "usable_names",
]


def method_entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    """The entry point of every registered method, by name."""
    return extensions.entries("method")


def method_names() -> list[str]:
    """The names of all registered methods, sorted."""
    return names("method")


def load_method(name: str) -> Any:
    """The class of a method, by its registered name or as ``package.module:Class``.

    Raises:
        UserError: the name is not registered, or its module cannot be imported.
    """
    return extensions.import_target("method", name, name) if ":" in name else load("method", name)


def is_foreign(method: str) -> bool:
    """Whether a method is named by a module that no installed package registers: to load it runs that module's code.

    What somebody else wrote (a record, a card) is not loaded by such a name unless the user allows it.
    """
    return ":" in method and method not in {entry.value for entry in method_entry_points().values()}


def broken(kind: str) -> list[Broken]:
    """What cannot be used of a kind of extension, or of cards (``"dataset"``, ``"benchmark"``), sorted by name.

    What belongs to a method (its card, its settings) counts with it. Extensions of other packages are imported.
    """
    found = extensions.broken(kind) if kind in KINDS else []
    found += _broken_cards(f"{kind}s") if f"{kind}s" in CARDS else []
    return sorted({*found, *(_broken_settings() if kind == "method" else [])})


def _broken_settings() -> list[Broken]:
    # Imported when it is asked: it asks this module for methods.
    method_settings = importlib.import_module("noisybench.spec.method_settings").method_settings
    wrong = []
    for name, entry in method_entry_points().items():
        if not extensions.is_built_in(entry):
            try:
                method_settings(name)
            except Unusable:  # the method itself, which is named as such
                continue
            except UserError as error:
                wrong.append(Broken(name, extensions.package_of(entry), str(error)))
    return wrong


def usable_names(kind: str) -> list[str]:
    """The names of all extensions of a kind that can be used, sorted.

    noisybench's own are taken to be whole; those of other packages are imported.
    """
    refused = {one.name for one in broken(kind)}
    return [
        name for name in names(kind) if extensions.is_built_in(extensions.entries(kind)[name]) or name not in refused
    ]


def forget() -> None:
    """Look anew when next asked: packages were installed or removed since."""
    extensions.forget()
    for cached in (_found_cards, _broken_cards, method_card, _dataset_card, benchmark_card):
        cached.cache_clear()


@dataclass(frozen=True)
class CardFile:
    """Where a card is, and the package that brought it."""

    file: Traversable
    package: str


def builtin_cards() -> Path:
    """The folder of the built-in cards: inside the installed wheel, or ``registry/`` of the source tree."""
    package = Path(__file__).parents[1]
    shipped = package / "_cards"
    return shipped if shipped.is_dir() else package.parent / "registry"


@functools.cache
def _found_cards(folder: str) -> tuple[dict[str, CardFile], dict[str, list[Broken]], list[Broken]]:
    """Card files of one folder ("methods", "datasets", "benchmarks") by name, from all packages; the names that
    cannot be used; and the packages whose cards cannot be listed."""
    by_name: dict[str, list[CardFile]] = {}
    points, unreadable = extensions.entries_of(CARDS_GROUP)
    for own in (builtin_cards() / folder).iterdir():
        by_name[own.name] = [CardFile(own, OWN_PACKAGE)]
    for entry in points:
        package = extensions.package_of(entry)
        try:
            with extensions.foreign_import(entry.value):  # somebody's package is imported to find its files
                of_kind = importlib.resources.files(entry.value) / folder
                listed = list(of_kind.iterdir()) if of_kind.is_dir() else []
        except extensions.ForeignImportFailed as error:
            reason = f"its cards in {entry.value} cannot be found: {error}"
            unreadable.append(Broken(entry.name, package, reason))
            continue
        for found in listed:
            if found not in (known.file for known in by_name.get(found.name, [])):
                by_name.setdefault(found.name, []).append(CardFile(found, package))
    usable: dict[str, CardFile] = {}
    disabled: dict[str, list[Broken]] = {}
    for file_name, several in by_name.items():
        if not file_name.endswith(".toml"):
            continue
        name = file_name.removesuffix(".toml")
        fault = file_name_fault(name)
        if fault is not None:
            reason = f"the name {shown_name(name)} of a card cannot be used: it {fault}"
            disabled[name] = [Broken(name, each.package, reason) for each in several]
        elif len(several) == 1:
            (usable[name],) = several
        elif several[0].package == OWN_PACKAGE:
            usable[name] = several[0]
            reason = f"noisybench has a card {folder}/{file_name} of its own: rename this one"
            disabled[name] = [Broken(name, each.package, reason) for each in several[1:]]
        else:
            both = " and ".join(sorted(f"{each.file} of {each.package}" for each in several))
            reason = f"two cards of kind {folder} have the name {name!r}: {both}; rename one or uninstall its package"
            disabled[name] = [Broken(name, each.package, reason) for each in several]
    return usable, disabled, unreadable


@functools.cache
def _broken_cards(folder: str) -> list[Broken]:
    usable, disabled, unreadable = _found_cards(folder)
    wrong = [one for several in disabled.values() for one in several]
    for name, card in usable.items():
        if card.package != OWN_PACKAGE:  # noisybench's own are taken to be right
            try:
                _parse_found(name, card, CARDS[folder])
            except UserError as error:
                wrong.append(Broken(name, card.package, str(error)))
    return [*sorted(wrong), *unreadable]


def card_names(folder: str) -> list[str]:
    """The names of all cards of one folder ("methods", "datasets", "benchmarks") that can be used, sorted."""
    refused = {(one.name, one.origin) for one in _broken_cards(folder)}
    return sorted(name for name, card in _found_cards(folder)[0].items() if (name, card.package) not in refused)


def _load_card(folder: str, name: str, model: type[AnyCard]) -> AnyCard:
    usable, disabled, _ = _found_cards(folder)
    if name in usable:
        return _parse_found(name, usable[name], model)
    if name in disabled:
        raise UserError(disabled[name][0].reason)
    raise unknown_name(folder.removesuffix("s"), name, usable)


def _parse_found(name: str, found: CardFile, model: type[AnyCard]) -> AnyCard:
    card = parse_card(found.file, model)
    if card.name != name:  # it was asked for by its file's name
        raise UserError(f"card {found.file}: name: {card.name!r} is not the file's name")
    return card


def parse_card(file: Traversable, model: type[AnyCard]) -> AnyCard:
    """Read and validate one card file. Its name is the file's, unless it states one.

    Raises:
        UserError: the file is no TOML, or a key of it is unknown, missing or of a wrong type.
    """
    name = file.name.removesuffix(".toml")
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
        if "base" in content:
            content = _over_base(name, content)
        return model.model_validate({"name": name, **content})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"card {file} is not valid TOML: {one_line(error)}") from error
    except OSError as error:
        raise UserError(f"card {file} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"card {file}: {place}: {first['msg'].removeprefix('Value error, ')}") from error


def _over_base(name: str, content: dict[str, Any]) -> dict[str, Any]:
    """A dataset card's content over that of its base, which has none; tables are merged key by key."""
    named = content["base"]
    if not isinstance(named, str):
        return content  # refused with the other values
    known = _found_cards("datasets")[0].get(named)
    if known is not None and "base" in tomllib.loads(known.file.read_text(encoding="utf-8")):
        raise UserError(f"card {name!r}: base {named!r} has a base itself; name that one")
    base = _dataset_card(named).model_dump(exclude_unset=True, exclude={"name"})
    tables = {
        key: base[key] | value
        for key, value in content.items()
        if isinstance(value, dict) and isinstance(base.get(key), dict)
    }
    return base | content | tables


@functools.cache
def method_card(name: str) -> MethodCard:
    """The card of a method. A method without a card of its own gets an empty one.

    ``package.module:Class`` has the card of the name this class is registered under.
    """
    if ":" in name:
        registered = [entry.name for entry in method_entry_points().values() if entry.value == name]
        if registered:
            return method_card(registered[0])
    usable, disabled, _ = _found_cards("methods")
    if name not in usable and name not in disabled:
        if name in method_entry_points() or ":" in name:
            return MethodCard(name=name, title=name)
        load("method", name)  # says what is wrong with the name
    card = _load_card("methods", name, MethodCard)
    if card.tune:
        # Imported when it is asked: it asks this module for methods.
        settings = importlib.import_module("noisybench.spec.method_settings").method_settings(name)
        check_settings(name, card.tune, settings)
    return card


@functools.cache
def _dataset_card(name: str) -> DatasetCard:
    return _load_card("datasets", name, DatasetCard)


def dataset_card(name: str) -> DatasetCard:
    """The card of a dataset; for ``imagefolder:PATH`` and ``csv:FILE`` it is built from what is there."""
    return own_card(name) if is_own(name) else _dataset_card(name)


@functools.cache
def benchmark_card(name: str) -> BenchmarkCard:
    """The card of a benchmark (a board)."""
    return _load_card("benchmarks", name, BenchmarkCard)


CARDS: dict[str, type[Card]] = {"methods": MethodCard, "datasets": DatasetCard, "benchmarks": BenchmarkCard}
