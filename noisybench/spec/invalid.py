"""What pydantic refuses, as one line for the user."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from noisybench.core.errors import UserError, unknown_name


def as_user_error(error: ValidationError, model: type[BaseModel], prefix: str = "") -> UserError:
    """The first thing that is wrong, by the dotted name of its key; for an unknown key with the nearest known ones.

    Args:
        model: what was to be built.
        prefix: put before its keys, e.g. ``"method."``.
    """
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    name = prefix + ".".join(place)
    if first["type"] == "extra_forbidden":
        return unknown_name("configuration key", name, _keys_beside(place, model, prefix))
    message = first["msg"].removeprefix("Value error, ")
    got = "" if first["type"] in ("missing", "value_error") else f", not {first['input']!r}"
    return UserError(f"{name or 'configuration'}: {message[0].lower()}{message[1:]}{got}")


def _keys_beside(place: list[str], model: type[BaseModel], prefix: str) -> list[str]:
    """Dotted names of the keys that exist beside an unknown one."""
    table: Any = model
    for parent in place[:-1]:
        table = table.model_fields[parent].annotation
    return [prefix + ".".join([*place[:-1], field]) for field in table.model_fields]
