"""What `noisybench methods|datasets|models|noises|…` print."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from pydantic import BaseModel
from rich.table import Table

from noisybench.core.console import console, literal, say
from noisybench.spec import registry
from noisybench.spec.extensions import NEEDED, description, own_parameters, summary


def print_list(kind: str) -> None:
    """All names of one kind with a line about each, and after the table what cannot be used."""
    broken = registry.broken(kind)
    rows, columns = LISTS[kind]() if kind in LISTS else _described(kind)
    table = Table(title=f"{kind}s")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*map(literal, row))
    console().print(table)
    for one in broken:
        say(f"not usable: {one.name} of {one.origin}: {one.reason}")


def _extensions(kind: str):
    """Name and summary of all extensions of a kind that can be used."""
    return [(name, summary(registry.load(kind, name))) for name in registry.usable_names(kind)]


def _methods():
    rows = []
    for name in registry.usable_names("method"):
        card = registry.method_card(name)
        source = f"{card.paper.venue} {card.paper.year}" if card.paper else ""
        rows.append((name, card.title, source, card.summary))
    return rows, ("name", "title", "published", "summary")


def _datasets():
    cards = [registry.dataset_card(name) for name in registry.card_names("datasets")]
    rows = [
        (
            c.name,
            " / ".join("?" if size is None else f"{size:,}" for size in (c.train_size, c.test_size)),
            str(len(c.classes)),
            f"{c.image_size}×{c.image_size}",
            c.title,
        )
        for c in cards
    ]
    return rows, ("name", "train / test", "classes", "pixels", "title")


def _noises():
    return _extensions("noise"), ("name", "what the rate means")


LISTS = {"method": _methods, "dataset": _datasets, "noise": _noises}


def _described(kind: str):
    return _extensions(kind), ("name", "what it is")


def print_card(kind: str, name: str) -> None:
    """One card, key by key."""
    card = CARDS[kind](name) if kind in CARDS else _extension_card(kind, name)
    for key, value in card.items():
        if value not in (None, "", [], {}):
            _print_entry(key, value, "")


def _print_entry(key: str, value: Any, indent: str) -> None:
    out = console()
    if isinstance(value, dict):
        say(f"{indent}{key}:", out)
        for inner, item in value.items():
            _print_entry(inner, item, indent + "  ")
    elif isinstance(value, list) and value and isinstance(value[0], dict | str) and len(str(value)) > 100:
        say(f"{indent}{key}:", out)
        for item in value:
            text = item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)
            say(f"{indent}  - {text}", out)
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        say(f"{indent}{key}: {text}", out)


def _method_card(name: str) -> dict[str, Any]:
    method = registry.load_method(name)
    card = registry.method_card(name).model_dump(exclude_defaults=True)
    information = {
        "clean labels": "meta_set" in method.needs,
        "noise rate": "noise_rate" in method.needs,
        "cost of a step, in forward passes": method.forward_equivalents,
    }
    return {**card, "information used": information, "settings": _settings(method.Settings)}


def _settings(model: type[BaseModel]) -> dict[str, str]:
    """Each setting's default, and what it is."""
    return {
        field: f"{info.default}" + (f"  ({info.description})" if info.description else "")
        for field, info in model.model_fields.items()
    }


def _extension_card(kind: str, name: str) -> dict[str, Any]:
    """What an extension says of itself in its docstring, and its settings."""
    found = registry.load(kind, name)
    if hasattr(found, "Settings"):
        settings = _settings(found.Settings)
    else:
        parameters = own_parameters(found) if callable(found) and not isinstance(found, type) else {}
        settings = {each: "needed" if default is NEEDED else f"{default}" for each, default in parameters.items()}
    return {"name": name, "summary": summary(found), "description": description(found), "settings": settings}


def _model_card(name: str) -> dict[str, Any]:
    from noisybench.models import model_facts

    return model_facts(name)


def _noise_card(name: str) -> dict[str, Any]:
    kind = registry.load("noise", name)
    return {
        "name": name,
        "summary": kind.summary,
        "takes a rate": kind.rated,
        "reads": kind.file,
        "known to methods that declare noise_kind": dataclasses.asdict(kind.traits),
    }


CARDS = {
    "method": _method_card,
    "dataset": lambda name: registry.dataset_card(name).model_dump(exclude_defaults=True),
    "model": _model_card,
    "noise": _noise_card,
}
