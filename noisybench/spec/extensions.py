"""What can be added from outside: seven kinds of extension, each found through an entry-point group of its own.

noisybench's own extensions are registered by the very entry points that a third party uses. Nothing is imported
before it is asked for, and one that is broken disables itself alone: the others work, and it is named with the reason.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from noisybench.core.errors import RunStopped, UserError, one_line, unknown_name
from noisybench.core.names import file_name_fault, shown_name
from noisybench.core.time_limit import TookTooLong, seconds, time_limit
from noisybench.spec.extension_kinds import KINDS, Kind, imported

OWN_PACKAGE = "noisybench"
IMPORT_SECONDS = "NOISYBENCH_IMPORT_SECONDS"
_NOT_BACK: set[str] = set()  # what was imported and did not come back


class Broken(NamedTuple):
    """An extension or card that cannot be used.

    Attributes:
        name: as registered.
        origin: the package that brought it.
        reason: why, on one line.
    """

    name: str
    origin: str
    reason: str


class Unusable(UserError):
    """An extension was asked for that cannot be used.

    Attributes:
        reason: why, without its name.
    """

    def __init__(self, message: str, reason: str):
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Registered:
    """What is registered in one group.

    Attributes:
        entries: by name, what may be loaded.
        disabled: by name, what may not, whatever it holds: its name is no name, or is another's.
        unreadable: packages whose entry points cannot be read, so that nobody knows what they bring.
    """

    entries: dict[str, importlib.metadata.EntryPoint]
    disabled: dict[str, list[Broken]]
    unreadable: list[Broken]


def names(kind: str) -> list[str]:
    """The names of all registered extensions of a kind, sorted. None of them is imported."""
    return sorted(entries(kind))


def entries(kind: str) -> dict[str, importlib.metadata.EntryPoint]:
    """Every extension of a kind that may be loaded, by name."""
    return found_of(KINDS[kind]).entries


def find(kind: str, name: str) -> importlib.metadata.EntryPoint:
    """The entry point of one extension, which is not imported.

    Raises:
        UserError: nobody has registered the name, or two packages have.
    """
    found = found_of(KINDS[kind])
    if name in found.entries:
        return found.entries[name]
    if name in found.disabled:
        raise UserError(found.disabled[name][0].reason)
    raise unknown_name(kind, name, found.entries)


def load(kind: str, name: str) -> Any:
    """One extension.

    Raises:
        UserError: nobody has registered the name, two packages have, or what it names cannot be imported or is no
            such extension.
    """
    find(kind, name)
    return _load(kind, name)


@functools.cache
def _load(kind: str, name: str) -> Any:
    entry, check_name = entries(kind)[name], KINDS[kind].check_name
    if check_name is not None and not is_built_in(entry):
        reason = imported(check_name)(name)
        if reason is not None:
            raise Unusable(f"{kind} {name!r} {reason}", reason)
    return import_target(kind, name, entry.value)


def import_target(kind: str, name: str, target: str) -> Any:
    """What ``module:attribute`` names, if it is an extension of this kind.

    Raises:
        UserError: it cannot be imported, or is something else.
    """
    base = KINDS[kind].base
    if base is not None:
        imported(base)  # first: what noisybench itself imports is none of somebody's time
    try:
        with foreign_import(target) if not target.startswith(f"{OWN_PACKAGE}.") else contextlib.nullcontext():
            found = imported(target)
    except Exception as error:
        reason = f"cannot be imported from {target}: {reason_of(error)}"
        raise Unusable(f"{kind} {name!r} {reason}", reason) from error
    against = KINDS[kind].reason_against(found, target)
    if against is not None:
        raise Unusable(f"{kind} {name!r} {against}", against)
    return found


class ForeignImportFailed(Exception):
    """Somebody's module could not be imported. Its message is the reason, on one line."""


@contextlib.contextmanager
def foreign_import(target: str) -> Iterator[None]:
    """Import somebody's module, which may raise anything, want to end the process, or never come back.

    Args:
        target: which; one that did not come back is not tried again.

    Raises:
        ForeignImportFailed: it does any of it.
    """
    limit = seconds(IMPORT_SECONDS, 20.0)
    still = f"after {limit:g} seconds it was still being imported ({IMPORT_SECONDS} changes the limit)"
    if target in _NOT_BACK:
        raise ForeignImportFailed(still)
    try:
        with time_limit(limit):
            yield
    except (KeyboardInterrupt, RunStopped):
        raise
    except TookTooLong:
        _NOT_BACK.add(target)
        raise ForeignImportFailed(still) from None
    except BaseException as error:
        raise ForeignImportFailed(f"{type(error).__name__}: {one_line(error)[:300]}") from error


def reason_of(error: Exception) -> str:
    """Why an import failed, on one line."""
    return str(error) if isinstance(error, ForeignImportFailed) else f"{type(error).__name__}: {one_line(error)[:300]}"


def broken(kind: str) -> list[Broken]:
    """Every extension of a kind that cannot be used, sorted by name.

    To find out, those of other packages are imported; noisybench's own are taken to be whole.
    """
    wrong = disabled(kind)
    for name, entry in entries(kind).items():
        if not is_built_in(entry):
            try:
                load(kind, name)
            except UserError as error:
                wrong.append(Broken(name, package_of(entry), getattr(error, "reason", str(error))))
    return sorted(wrong)


def disabled(kind: str) -> list[Broken]:
    """Those that cannot be used whatever they hold, by the metadata of their packages alone, sorted by name."""
    found = found_of(KINDS[kind])
    return sorted([one for several in found.disabled.values() for one in several] + found.unreadable)


def summary(found: object) -> str:
    """What an extension says of itself in a line: its ``summary``, else the first paragraph of its docstring."""
    said = getattr(found, "summary", None)
    if not isinstance(said, str):
        said = _docstring(found)
    return " ".join(said.strip().split("\n\n")[0].split())


def description(found: object) -> str:
    """The rest of its docstring, indentation removed."""
    own = isinstance(found, type) or callable(found)  # else the docstring is that of its class
    return inspect.cleandoc(_docstring(found)).partition("\n\n")[2] if own else ""


def _docstring(found: object) -> str:
    text = found.__dict__.get("__doc__") if isinstance(found, type) else found.__doc__  # not that of a base class
    return text if isinstance(text, str) else ""


NEEDED = inspect.Parameter.empty


def own_parameters(function: Any) -> dict[str, Any]:
    """The keyword-only parameters of a function, which are its settings: each default, :data:`NEEDED` without one."""
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}


@functools.cache
def found_of(kind: Kind) -> Registered:
    """What is registered of a kind, by the metadata of the installed packages alone."""
    usable: dict[str, importlib.metadata.EntryPoint] = {}
    disabled: dict[str, list[Broken]] = {}
    registered, unreadable = entries_of(kind.group)
    by_name: dict[str, dict[str, importlib.metadata.EntryPoint]] = {}
    for entry in registered:
        # An editable install beside a wheel of the same package registers one thing twice.
        by_name.setdefault(entry.name, {}).setdefault(entry.value, entry)
    for name, several in by_name.items():
        own = [entry for entry in several.values() if is_built_in(entry)]
        fault = file_name_fault(name)  # it becomes part of commands, configurations and file names
        if fault is not None:
            reason = f"the name {shown_name(name)} cannot be used: it {fault}"
            disabled[name] = [Broken(name, package_of(entry), reason) for entry in several.values()]
        elif name in kind.reserved:
            reason = f"noisybench uses the name {name!r} itself: rename this {kind.name}"
            disabled[name] = [Broken(name, package_of(entry), reason) for entry in several.values()]
        elif len(several) == 1:
            (usable[name],) = several.values()
        elif own:
            usable[name] = own[0]
            reason = f"noisybench has a {kind.name} {name!r} of its own: rename this one, or uninstall its package"
            disabled[name] = [Broken(name, package_of(entry), reason) for entry in several.values() if entry != own[0]]
        else:
            both = " and ".join(sorted(origin_of(entry) for entry in several.values()))
            reason = (
                f"two {kind.plural} are registered under the name {name!r}: {both}; "
                "rename one of them or uninstall its package"
            )
            disabled[name] = [Broken(name, package_of(entry), reason) for entry in several.values()]
    return Registered(usable, disabled, unreadable)


def entries_of(group: str) -> tuple[list[importlib.metadata.EntryPoint], list[Broken]]:
    """All entry points of a group, and the packages whose list of entry points cannot be read."""
    try:
        return list(importlib.metadata.entry_points(group=group)), []
    except Exception:  # one package's list is damaged: read them one by one
        pass
    found: dict[str, list[importlib.metadata.EntryPoint]] = {}
    unreadable = []
    for distribution in importlib.metadata.distributions():
        package = _name_of(distribution)
        if package in found:  # as importlib.metadata does: the first one on the path
            continue
        try:
            found[package] = list(distribution.entry_points.select(group=group))
        except Exception as error:
            found[package] = []
            reason = f"its list of entry points cannot be read: {type(error).__name__}: {one_line(error)}"
            unreadable.append(Broken("entry_points.txt", package, reason))
    return [entry for several in found.values() for entry in several], unreadable


def is_built_in(entry: importlib.metadata.EntryPoint) -> bool:
    """Whether noisybench itself registers it."""
    return package_of(entry) == OWN_PACKAGE


def package_of(entry: importlib.metadata.EntryPoint) -> str:
    """The name of the package that registers it."""
    return _name_of(entry.dist) if entry.dist is not None else entry.value.partition(":")[0]


def origin_of(entry: importlib.metadata.EntryPoint) -> str:
    """What it names, and its package, for messages."""
    return f"{entry.value} of {_name_of(entry.dist)}" if entry.dist is not None else entry.value


@functools.cache
def _name_of(distribution: importlib.metadata.Distribution) -> str:
    try:
        return distribution.metadata["Name"] or "a package without a name"
    except Exception:  # somebody's damaged metadata
        return "a package without a name"


def forget() -> None:
    """Look anew when next asked: packages were installed or removed since."""
    _NOT_BACK.clear()
    for cached in (_load, found_of, _name_of):
        cached.cache_clear()
