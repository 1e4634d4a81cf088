"""What of a method may be tuned: the ranges that cards state, over the one range that all methods share.

A range holds the recipe's own value, which is always tried first: it is widened where it would not.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from noisybench.core.errors import UserError, unknown_name
from noisybench.spec.config import ResolvedConfig, RunConfig

# Of all methods alike; a card's range of the same name wins.
LEARNING_RATE = "optimizer.lr"
FIRST_SEED = 100  # boards count from 0: what is tuned on other seeds has not seen theirs

# Nothing else is tuned: the data and the features of a run do not depend on these.
TABLES = ("optimizer", "schedule", "settings")
PLAIN = ("batch_size",)


class Range(BaseModel):
    """Where one setting may lie: ``low`` to ``high``, or one of ``choices``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: float | None = None
    high: float | None = None
    log: bool = False
    step: int | None = None
    share: bool = False
    choices: list[Any] | None = None

    @model_validator(mode="after")
    def _is_one_kind(self):
        bounds = self.low, self.high
        if self.choices is not None:
            if bounds != (None, None) or self.log or self.share or self.step is not None:
                raise ValueError("choices stand alone: leave out low, high, log, step and share")
            if len(self.choices) < 2 or not all(isinstance(one, str | int | float | bool) for one in self.choices):
                raise ValueError("choices must be two or more plain values")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give low and high, or choices")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"low {self.low:g} must be smaller than high {self.high:g}, both finite")
        if self.log and (self.low <= 0 or self.step is not None or self.share):
            raise ValueError("log is for ranges above 0, without step or share")
        if self.share and (self.step is not None or not 0 <= self.low < self.high <= 1):
            raise ValueError("share is a part of the run's epochs: low and high in [0, 1], without step")
        if self.step is not None and (self.step < 1 or self.low % 1 or self.high % 1):
            raise ValueError("step is for whole numbers: 1 or more, with whole low and high")
        return self


SHARED = {LEARNING_RATE: Range(low=0.002, high=0.2, log=True)}


class Tuned(BaseModel):
    """How a recipe was found by ``noisybench tune``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trials: int
    seeds: list[int]
    judge: str
    noise: str
    noise_rate: float | None = None


@dataclass(frozen=True)
class Space:
    """The range of one setting in one study.

    Attributes:
        recipe: the recipe's value, the first to be tried.
        low, high: None where there are choices.
        whole: only whole numbers, in steps of ``step`` from ``low``.
    """

    recipe: Any
    low: float | int | None = None
    high: float | int | None = None
    log: bool = False
    whole: bool = False
    step: int = 1
    choices: tuple[Any, ...] | None = None

    def at(self, part: float) -> Any:
        """The value at a part of the way, in [0, 1): of the range, of its logarithms, or of the choices in order."""
        if self.choices is not None:
            return self.choices[int(part * len(self.choices))]
        assert self.low is not None and self.high is not None
        if self.whole:
            count = int(self.high - self.low) // self.step + 1
            return int(self.low) + self.step * int(part * count)
        if self.log:
            return self.low * (self.high / self.low) ** part
        return self.low + (self.high - self.low) * part

    def content(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def text(self) -> str:
        """For people."""
        if self.choices is not None:
            return "one of " + ", ".join("left open" if one is None else str(one) for one in self.choices)
        steps = f", whole, in steps of {self.step}" if self.whole else ""
        return f"{self.low:g} to {self.high:g}{', logarithmic' if self.log else ''}{steps}"


def key_fault(key: str) -> str | None:
    """What is wrong with the name of a setting to tune, as far as it can be told without the method; None if nothing.

    Of the method's own settings it can not: :func:`check_settings`.
    """
    table, _, name = key.partition(".")
    if table == "settings" and name or key in PLAIN:
        return None
    if table not in TABLES:
        return f"{key!r} cannot be tuned: only {', '.join(f'{table}.NAME' for table in TABLES)} and {', '.join(PLAIN)}"
    fields = RunConfig.model_fields[table].annotation.model_fields  # type: ignore[union-attr]
    if name not in fields:
        return str(unknown_name("setting to tune", key, [f"{table}.{field}" for field in fields]))
    return None


def check_settings(method: str, ranges: dict[str, Range], settings: type[BaseModel]) -> None:
    """Refuse ranges of settings that a method has not.

    Raises:
        UserError: names the nearest that it has.
    """
    known = [f"settings.{name}" for name in settings.model_fields]
    for key in ranges:
        if key.startswith("settings.") and key not in known:
            raise UserError(f"card of method {method!r}: tune: {unknown_name('setting to tune', key, known)}")


def spaces(ranges: dict[str, Range], config: ResolvedConfig) -> dict[str, Space]:
    """The ranges of a study, by the setting's name.

    Args:
        ranges: the method card's.
        config: the run as its recipe has it.

    Raises:
        UserError: the recipe leaves a setting open that has a range of numbers.
    """
    values = config.model_dump(mode="json")
    found = {}
    for key, of in sorted({**SHARED, **ranges}.items()):
        table, _, name = key.partition(".")
        found[key] = _space(key, of, values[table][name] if name else values[table], config.epochs)
    return found


def _space(key: str, of: Range, recipe: Any, epochs: int) -> Space:
    if of.choices is not None:
        others = [one for one in of.choices if one != recipe or isinstance(one, bool) != isinstance(recipe, bool)]
        return Space(recipe, choices=(recipe, *others))
    if isinstance(recipe, bool) or not isinstance(recipe, int | float):
        raise UserError(f"{key} is {recipe!r} in the recipe, and its range is of numbers: give a number with --set")
    assert of.low is not None and of.high is not None
    if not (of.share or of.step):
        return Space(recipe, min(of.low, recipe), max(of.high, recipe), log=of.log and recipe > 0)
    step = of.step or 1
    low, high = (round(bound * epochs) if of.share else int(bound) for bound in (of.low, of.high))
    if of.low > 0:
        low = max(low, 1)
    # The recipe's value is on the grid, whatever that takes.
    known = int(recipe)
    low = known - step * ((known - low) // step) if known >= low else known
    high = max(low + (high - low) // step * step, known)
    return Space(known, low, high, whole=True, step=step)


def values_given(chosen: dict[str, Any], config: ResolvedConfig) -> dict[str, Any]:
    """What is to be set in a configuration for chosen values: nested tables.

    A schedule that states rates by epoch is brought to the learning rate that was chosen, its shape kept.

    Args:
        chosen: values by the setting's name.
        config: the run as its recipe has it.
    """
    given: dict[str, Any] = {}
    for key, value in chosen.items():
        table, _, name = key.partition(".")
        if name:
            given.setdefault(table, {})[name] = value
        else:
            given[table] = value
    rate = chosen.get(LEARNING_RATE, config.optimizer.lr)
    if config.schedule.name == "steps" and rate != config.optimizer.lr:
        steps = [[epoch, step * rate / config.optimizer.lr] for epoch, step in config.schedule.steps]
        given.setdefault("schedule", {})["steps"] = steps
    return given
