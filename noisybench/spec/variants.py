"""Two settings of one method, as in an ablation: ``mslg[kappa=0]`` is mslg with one setting other than its recipe's.

Within the brackets stand the method's own settings. What else a run may change (optimizer, epochs) is no variant of the
method: on a board it is the same for all runs of a method.
"""

from __future__ import annotations

import functools
import json
from typing import Any

from noisybench.core.errors import UserError
from noisybench.core.nested import flatten, merge
from noisybench.spec import registry
from noisybench.spec.identity import with_later_fields
from noisybench.spec.layers import recipe_of
from noisybench.spec.text import parse_override


def split_methods(text: str) -> list[str]:
    """``"ce,mslg[kappa=0,inner_lr=1]"`` at the commas outside brackets."""
    found, depth = [""], 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if character == "," and depth == 0:
            found.append("")
        else:
            found[-1] += character
    return [name.strip() for name in found]


def parse_variant(text: str) -> tuple[str, dict[str, Any]]:
    """``"mslg[kappa=0]"`` as ``("mslg", {"settings": {"kappa": 0}})``, a part of a run's configuration.

    Raises:
        UserError: it is not written so.
    """
    method, bracket, rest = text.partition("[")
    if not bracket:
        return text, {}
    if not rest.endswith("]") or not method or not rest[:-1].strip():
        raise UserError(f"method {text!r}: write NAME or NAME[KEY=VALUE,…], for example mslg[kappa=0]")
    given: dict[str, Any] = {}
    for part in split_methods(rest[:-1]):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key or not value:
            raise UserError(f"method {text!r}: write KEY=VALUE within the brackets, not {part!r}")
        given = merge(given, parse_override(f"method.{key.removeprefix('method.')}={value}"))
    return method, given


def variant_name(method: str, differences: dict[str, Any]) -> str:
    """The name of a method with settings other than its recipe's, by their names; the method's own without any."""
    parts = [f"{name}={_written(value)}" for name, value in sorted(differences.items())]
    return f"{method}[{','.join(parts)}]" if parts else method


def _written(value: Any) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)  # 0, as people write it, where the setting is stored as 0.0
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def variant_of(config: dict[str, Any], required: dict[str, Any]) -> str:
    """What a board calls the method of a stored configuration: with its differences to the recipe that cards give.

    Args:
        config: as a record stores it.
        required: the configuration that every run of the board shares.

    The plain name where this machine does not know the recipe, as for a method that is not installed. A module that
    only the record names is not imported for it.
    """
    stored = with_later_fields(config)
    method, settings = str(stored["method"]), flatten(stored.get("settings") or {})
    if not settings or registry.is_foreign(method):
        return method
    # Phases of a recipe keep their share of the run's length, where that is not the recipe's own.
    given: dict[str, Any] = {
        **required,
        **{name: stored[name] for name in ("method", "dataset", "epochs", "batch_size") if name in stored},
    }
    recipe = _recipe(json.dumps(given, sort_keys=True))
    if recipe is None:
        return method
    return variant_name(method, {name: value for name, value in settings.items() if recipe.get(name) != value})


@functools.lru_cache(maxsize=4096)
def _recipe(given: str) -> dict[str, Any] | None:
    try:
        return flatten(recipe_of(json.loads(given)))
    except UserError:
        return None
