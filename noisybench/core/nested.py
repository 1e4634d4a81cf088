"""Nested tables of settings: merged, flattened, compared."""

from __future__ import annotations

from typing import Any


def _overridden(wanted: dict[str, Any], config: dict[str, Any], prefix: str) -> str | None:
    for name, value in wanted.items():
        found = config.get(name)
        if isinstance(value, dict) and isinstance(found, dict):
            reason = _overridden(value, found, f"{prefix}{name}.")
            if reason is not None:
                return reason
        elif found != value:
            return f"{prefix}{name} is {found!r}; the board wants {value!r}"
    return None


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def merge(lower: dict[str, Any], upper: dict[str, Any]) -> dict[str, Any]:
    """``upper`` laid over ``lower``: nested tables are merged, everything else is replaced."""
    merged = dict(lower)
    for name, value in upper.items():
        both_tables = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = merge(merged[name], value) if both_tables else value
    return merged
