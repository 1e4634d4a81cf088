"""Tracks: how long, and under which optimizer and schedule, the runs of a board train.

On the standard track a run trains as the method's source says. A short track is a table of the dataset's card,
``[tracks.NAME]``, one for all methods. What a method counts in epochs or steps keeps its share of the run there; its
settings declare what they count by :data:`Epochs`, :data:`Steps` or :class:`Counts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field

ShortTrack = Literal["fast"]
Track = Literal["standard", ShortTrack]
STANDARD: Track = "standard"
TRACKS: tuple[str, ...] = get_args(Track)

Unit = Literal["epochs", "steps"]


@dataclass(frozen=True)
class Counts:
    """What a setting counts, said inside ``Annotated``.

    Attributes:
        unit: what it is a number of.
        least: the smallest value that still does something; a larger one is never scaled below it.
    """

    unit: Unit
    least: int = 1


Epochs = Annotated[int, Counts("epochs")]
Steps = Annotated[int, Counts("steps")]


class Length(BaseModel):
    """What says how long a run is; steps are in proportion to epochs / batch size."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)

    def share_of(self, other: Length) -> dict[Unit, Fraction]:
        """This run's epochs and steps over those of another."""
        epochs = Fraction(self.epochs, other.epochs)
        return {"epochs": epochs, "steps": epochs * Fraction(other.batch_size, self.batch_size)}


def scaled(settings: type[BaseModel], values: Mapping[str, Any], shares: Mapping[Unit, Fraction]) -> dict[str, Any]:
    """The settings that count epochs or steps, for a run of another length.

    Args:
        settings: a method's class of settings.
        values: those that are set; the class's default stands for every other.
        shares: the run's epochs and steps over those that ``values`` are for.
    """
    found = {}
    for name, field in settings.model_fields.items():
        counts = next((part for part in field.metadata if isinstance(part, Counts)), None)
        if counts is not None:
            value = values.get(name, field.get_default(call_default_factory=True))
            found[name] = _scaled(value, shares[counts.unit], counts.least)
    return found


def _scaled(value: Any, share: Fraction, least: int) -> Any:
    """A number or a list of them, scaled and rounded; what is no number (None, "never") stays."""
    if isinstance(value, list):
        return [_scaled(each, share, least) for each in value]
    if not isinstance(value, int | float):
        return value
    # Fractions are exact, so what is rounded does not hang on how a quotient rounds in binary.
    return max(round(value * share), min(least, value))


def phases_behind(settings: Mapping[str, Any], epochs: int) -> dict[str, int]:
    """The settings that end a phase in an epoch which a run does not reach, so that what follows is never run.

    Args:
        settings: a method's, by name; those that name an epoch or a number of them have ``epoch`` in their names.
        epochs: length of the run.
    """
    numbers = {name: value for name, value in settings.items() if "epoch" in name and type(value) is int}
    return {name: value for name, value in numbers.items() if value >= epochs}
