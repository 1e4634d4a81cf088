"""What is known of a run's noise beforehand, of which a method holds the part that it declares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# By name, what a method declares to be told it.
DECLARED_AS = {
    "noise_rate": "noise_rate",
    "noise_kind": "noise_kind",
    "noise_traits": "noise_kind",
    "transition_matrix": "transition_matrix",
}
INFORMATION = frozenset({"meta_set", *DECLARED_AS.values()})  # what a method may declare


def needs_fault(needs: Any) -> str | None:
    """What is wrong with what a method declares; None if nothing is."""
    if not isinstance(needs, set | frozenset):
        return f"needs is {needs!r}: give a frozenset of names"
    unknown = sorted(map(repr, needs - INFORMATION))
    return f"needs names {unknown[0]}; known: {', '.join(sorted(INFORMATION))}" if unknown else None


class UndeclaredError(RuntimeError):
    """A method asked for something it does not declare in ``needs``."""


class Priors(Mapping[str, Any]):
    """What a method declares of what is known, by name. The rest is not in it: asking for it raises.

    Args:
        known: values by name.
        needs: what the method declares.
    """

    def __init__(self, known: Mapping[str, Any], needs: frozenset[str]):
        self._told = {name: value for name, value in known.items() if DECLARED_AS.get(name) in needs}

    def __getitem__(self, name: str) -> Any:
        """The value.

        Raises:
            UndeclaredError: the method does not declare it.
            KeyError: nothing of this name is known of any run.
        """
        if name in self._told:
            return self._told[name]
        if name in DECLARED_AS:
            raise UndeclaredError(f"{name} is read but not declared: add {DECLARED_AS[name]!r} to the method's needs")
        raise KeyError(f"{name}; known: {', '.join(DECLARED_AS)}")

    def __contains__(self, name: object) -> bool:
        return name in self._told

    def __iter__(self) -> Iterator[str]:
        return iter(self._told)

    def __len__(self) -> int:
        return len(self._told)
