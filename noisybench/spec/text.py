"""Configurations as people write them: TOML files and ``KEY=VALUE`` on the command line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from noisybench.core.errors import UserError


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
