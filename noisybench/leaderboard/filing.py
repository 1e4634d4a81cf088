"""What a board files of a run: its record without the places of the machine that it ran on.

The record's hash is taken anew over what is left. The run id stays: no place is part of it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

from noisybench.spec.config import RunConfig
from noisybench.spec.record import RunRecord

# An absolute path, a home, a drive or a share: as the whole text, also after a kind (``imagefolder:/photos``), or
# within a text where it has two parts or more.
WHOLE = re.compile(r"(?:[\w-]+:)?(?:~|/(?!/)|[A-Za-z]:[\\/]|\\\\)|file:")
WITHIN = re.compile(r"[\s:='\"(](?:~?/|[A-Za-z]:[\\/]|\\\\)[\w.-]+[\\/]")


def _path_fields() -> list[str]:
    return [name for name, field in RunConfig.model_fields.items() if Path in get_args(field.annotation)]


def as_filed(record: RunRecord) -> RunRecord:
    """The record as a board holds it: of its configuration, files and folders are left out."""
    places = {name: None for name in _path_fields() if name in record.config}
    return record.model_copy(update={"config": {**record.config, **places}})


def named_place(record: RunRecord) -> str | None:
    """Which value of a record names a place on somebody's machine; None if none does."""
    for name in _path_fields():
        if record.config.get(name) is not None:
            return f"config.{name} is a path"
    for place, text in texts(record.model_dump(mode="json")):
        if WHOLE.match(text) or WITHIN.search(text):
            return f"{place} holds a path"
    return None


def texts(value: Any, place: str = "") -> list[tuple[str, str]]:
    """Every text in nested tables and lists, with its dotted place."""
    if isinstance(value, str):
        return [(place, value)]
    if isinstance(value, dict):
        return [found for name, item in value.items() for found in texts(item, f"{place}.{name}" if place else name)]
    if isinstance(value, list):
        return [found for item in value for found in texts(item, place)]
    return []
