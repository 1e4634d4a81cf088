"""What `noisybench methods|datasets|models|noises` print."""

from __future__ import annotations

import json
from typing import Any

from rich.table import Table

from noisybench.core.console import console, literal, say
from noisybench.core.errors import unknown_name
from noisybench.spec import registry


def print_list(kind: str) -> None:
    """All names of one kind with a line about each."""
    table = Table(title=kind)
    rows, columns = LISTS[kind]()
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*map(literal, row))
    console().print(table)


def _methods():
    rows = []
    for name in registry.method_names():
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


def _models():
    from noisybench.models import OWN_MODELS

    return sorted(OWN_MODELS.items()), ("name", "what it is")


def _noises():
    from noisybench.noise import NOISES

    return [(name, kind.summary) for name, kind in NOISES.items()], ("name", "what the rate means")


LISTS = {"methods": _methods, "datasets": _datasets, "models": _models, "noises": _noises}


def print_card(kind: str, name: str) -> None:
    """One card, key by key."""
    for key, value in CARDS[kind](name).items():
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
    settings = {
        field: f"{info.default}" + (f"  ({info.description})" if info.description else "")
        for field, info in method.Settings.model_fields.items()
    }
    information = {
        "clean labels": "meta_set" in method.needs,
        "noise rate": "noise_rate" in method.needs,
        "cost of a step, in forward passes": method.forward_equivalents,
    }
    return {**card, "information used": information, "settings": settings}


def _model_card(name: str) -> dict[str, Any]:
    from noisybench.models import model_facts

    return model_facts(name)


def _noise_card(name: str) -> dict[str, Any]:
    from noisybench.noise import NOISES

    if name not in NOISES:
        raise unknown_name("noise", name, NOISES)
    kind = NOISES[name]
    return {"name": name, "summary": kind.summary, "takes a rate": kind.rated, "reads": kind.file}


CARDS = {
    "methods": _method_card,
    "datasets": lambda name: registry.dataset_card(name).model_dump(exclude_defaults=True),
    "models": _model_card,
    "noises": _noise_card,
}
