"""The class of a method's own settings, without importing the method where its package allows that.

A method's class names its settings: ``Settings = MySettings``. Importing it imports torch, which a configuration does
not need. The package that registers a method may therefore name the settings too, under the method's name in the
entry-point group ``noisybench.settings``, as noisybench does for its own; it must be the very class that the method
names (``noisybench check`` looks).
"""

from __future__ import annotations

import contextlib
import importlib.metadata

from noisybench.core.errors import UserError
from noisybench.spec import extensions, registry
from noisybench.spec.values import Settings

SETTINGS_GROUP = "noisybench.settings"


def method_settings(method: str) -> type[Settings]:
    """The settings of a method, by its registered name or as ``package.module:Class``.

    Raises:
        UserError: there is no such method, or it or its settings cannot be imported.
    """
    registered = [entry for entry in extensions.entries("method").values() if method in (entry.name, entry.value)]
    if registered:
        entry = settings_entry_points().get((registered[0].name, extensions.package_of(registered[0])))
        if entry is not None:
            return _load(method, entry)
    return registry.load_method(method).Settings


def settings_entry_points() -> dict[tuple[str, str], importlib.metadata.EntryPoint]:
    """What is registered in the group, by the method's name and the package: no other package's word counts."""
    found, _ = extensions.entries_of(SETTINGS_GROUP)
    return {(entry.name, extensions.package_of(entry)): entry for entry in found}


def _load(method: str, entry: importlib.metadata.EntryPoint) -> type[Settings]:
    try:
        with contextlib.nullcontext() if extensions.is_built_in(entry) else extensions.foreign_import(entry.value):
            found = entry.load()
    except Exception as error:
        reason = extensions.reason_of(error)
        raise UserError(f"method {method!r}: its settings cannot be imported from {entry.value}: {reason}") from error
    if not (isinstance(found, type) and issubclass(found, Settings)):
        raise UserError(f"method {method!r}: {entry.value} is not a subclass of noisybench.methods.Settings")
    return found
