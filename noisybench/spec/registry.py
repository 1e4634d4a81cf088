"""Names: methods through the entry-point group ``noisybench.methods``, cards as TOML files.

Built-in methods are registered by the very entry points that a third party uses. Nothing is imported before it
is asked for: listing names needs no torch. A third-party package ships cards by naming a package of TOML files in
the entry-point group ``noisybench.cards``; that package holds ``methods/NAME.toml`` and so on, as ``registry/``
does here.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.resources
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from noisybench.core.errors import UserError, unknown_name
from noisybench.spec.cards import BenchmarkCard, Card, DatasetCard, MethodCard
from noisybench.spec.user_images import is_own, own_card

METHODS_GROUP = "noisybench.methods"
CARDS_GROUP = "noisybench.cards"

AnyCard = TypeVar("AnyCard", bound=Card)


def builtin_cards() -> Path:
    """The folder of the built-in cards: inside the installed wheel, or ``registry/`` of the source tree."""
    package = Path(__file__).parents[1]
    shipped = package / "_cards"
    return shipped if shipped.is_dir() else package.parent / "registry"


@functools.cache
def method_entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    """Every registered method by name. Two packages that register one name are an error that names both."""
    found: dict[str, importlib.metadata.EntryPoint] = {}
    for entry in importlib.metadata.entry_points(group=METHODS_GROUP):
        other = found.get(entry.name)
        if other is not None and other.value != entry.value:
            raise UserError(
                f"two methods are registered under the name {entry.name!r}: "
                f"{_origin(other)} and {_origin(entry)}; rename one of them or uninstall its package"
            )
        found[entry.name] = entry
    return found


def _origin(entry: importlib.metadata.EntryPoint) -> str:
    return f"{entry.value} of {entry.dist.name}" if entry.dist else entry.value


def method_names() -> list[str]:
    """The names of all registered methods, sorted."""
    return sorted(method_entry_points())


def load_method(name: str) -> Any:
    """The class of a method, by its registered name or as ``package.module:Class``.

    Raises:
        UserError: the name is not registered, or its module cannot be imported.
    """
    if ":" in name:
        return _import_class(name, name)
    entries = method_entry_points()
    if name not in entries:
        raise unknown_name("method", name, entries)
    return _import_class(name, entries[name].value)


def _import_class(name: str, target: str) -> Any:
    module_name, _, attribute = target.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # importing somebody's module may raise anything
        raise UserError(f"method {name!r} cannot be imported from {target}: {type(error).__name__}: {error}") from error
    base = importlib.import_module("noisybench.methods.base").Method
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UserError(f"method {name!r}: {target} is not a subclass of noisybench.methods.Method")
    return found


@functools.cache
def _card_files(kind: str) -> dict[str, object]:
    """Card files of one kind ("methods", "datasets", "benchmarks") by name, from all sources."""
    folders = [builtin_cards()]
    for entry in importlib.metadata.entry_points(group=CARDS_GROUP):
        try:
            folders.append(importlib.resources.files(entry.value))
        except ImportError as error:
            raise UserError(f"cards of {_origin(entry)} cannot be found: {error}") from error
    found: dict[str, object] = {}
    for folder in folders:
        of_kind = folder / kind
        if not of_kind.is_dir():
            continue
        for file in of_kind.iterdir():
            if not file.name.endswith(".toml"):
                continue
            name = file.name.removesuffix(".toml")
            if name in found:
                raise UserError(f"two cards of kind {kind} have the name {name!r}: {found[name]} and {file}")
            found[name] = file
    return found


def card_names(kind: str) -> list[str]:
    """The names of all cards of one kind, sorted."""
    return sorted(_card_files(kind))


def _load_card(kind: str, name: str, model: type[AnyCard]) -> AnyCard:
    files = _card_files(kind)
    if name not in files:
        raise unknown_name(kind.removesuffix("s"), name, files)
    return parse_card(files[name], model)


def parse_card(file, model: type[AnyCard]) -> AnyCard:
    """Read and validate one card file.

    Raises:
        UserError: the file is no TOML, or a key of it is unknown, missing or of a wrong type.
    """
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
        if "base" in content:
            content = _over_base(content)
        return model.model_validate({"name": file.name.removesuffix(".toml"), **content})
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"card {file} is not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"card {file}: {place}: {first['msg']}") from error


def _over_base(content: dict) -> dict:
    """A dataset card's content over that of its base; tables are merged key by key."""
    base = dataset_card(content["base"]).model_dump(exclude_unset=True, exclude={"name"})
    tables = {key: base[key] | value for key, value in content.items() if isinstance(value, dict) and key in base}
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
    if name not in _card_files("methods"):
        if name in method_entry_points() or ":" in name:
            return MethodCard(name=name, title=name)
        raise unknown_name("method", name, method_entry_points())
    return _load_card("methods", name, MethodCard)


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
