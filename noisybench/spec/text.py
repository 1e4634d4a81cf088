"""Configurations as people write them: TOML files and ``KEY=VALUE`` on the command line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from noisybench.core.errors import UserError, one_line
from noisybench.core.files import read_regular

MOST_BYTES = 2**24  # of a configuration file


def read_config_file(path: Path) -> dict[str, Any]:
    """The content of a ``--config`` file (TOML)."""
    try:
        return tomllib.loads(read_regular(path, MOST_BYTES).decode("utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"--config {path}: no such file") from error
    except UserError as error:
        raise UserError(f"--config {error}") from error
    except (ValueError, RecursionError) as error:  # of TOML, of UTF-8, or of numbers with thousands of digits
        raise UserError(f"--config {path}: not a readable TOML file: {one_line(error)[:200]}") from error


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
    except (ValueError, RecursionError) as error:  # a number with thousands of digits, or thousands of brackets
        raise UserError(f"--set {name[:100]}: the value cannot be read: {one_line(error)[:100]}") from error
    parts = name.split(".")
    if parts[0] == "method" and len(parts) > 1:
        parts[0] = "settings"
    for part in reversed(parts):
        value = {part: value}
    return value


def refuse_former_settings(given: dict[str, Any]) -> None:
    """Refuse what somebody asks for by a name of an earlier release, where this one does something else.

    Raises:
        UserError: names the setting of today.
    """
    if given.get("sync_batchnorm") is False:
        raise UserError(
            "sync_batchnorm=false is batch_parts now: give --set batch_parts=N for a run of N processes in which "
            "BatchNorm sees each process's own part of a batch, or leave it out"
        )
