"""What was measured, as records in a JSON file."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator

from noisybench.core.errors import UserError
from noisybench.core.files import reported, write_json

Part = Literal["steps", "loaders", "epoch", "scaling", "runs"]


class Hardware(BaseModel):
    """What it was measured on.

    Attributes:
        cpu: the model's name.
        cores: that this process may use.
        threads: of one operator.
        gpu: the model's name; None if the CPU was measured.
        torch: version.
        date: ISO, UTC, to the second; shared by the records of one command.
        keeps_freed_memory: whether the process does (:mod:`noisybench.core.machine`), as a run on a CPU. What is named
            "…, plain allocator" was measured in turns with it in a process that does not.
        load: the machine's mean number of waiting processes over the last minute, before the measurement.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu: str
    cores: int
    threads: int
    gpu: str | None
    torch: str
    date: str
    keeps_freed_memory: bool
    load: float


class Record(BaseModel):
    """One quantity of one thing.

    Attributes:
        part: which command measured it.
        name: what was measured.
        quantity: of it, e.g. ``step time``.
        unit: of the values; ``share`` is a part of 1.
        setup: under which circumstances; records of one setup and date were measured side by side.
        values: every single measurement.
        median, quartiles: of the values; the quartiles are the lower and the upper one.
        baseline: the name that it is compared with; None for what others are compared with.
        ratio: median over the baseline's median.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    part: Part
    name: str
    quantity: str
    unit: Literal["s", "min", "bytes", "samples/s", "share"]
    setup: dict[str, str | int | bool]
    values: list[float]
    median: float
    quartiles: tuple[float, float]
    baseline: str | None
    ratio: float | None
    hardware: Hardware

    @model_validator(mode="after")
    def _says_what_its_values_say(self):
        if not self.values or (self.median, self.quartiles) != spread(self.values):
            raise ValueError(f"{self.name}: median and quartiles are not those of its values")
        return self


def spread(values: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Median, and lower and upper quartile (linear interpolation between the values)."""
    if len(values) == 1:
        return values[0], (values[0], values[0])
    lower, middle, upper = statistics.quantiles(values, n=4, method="inclusive")
    return middle, (lower, upper)


@dataclass(frozen=True)
class Circumstances:
    """What records of one measurement share; the attributes are :class:`Record`'s."""

    part: Part
    setup: dict[str, str | int | bool]
    hardware: Hardware


def make_records(
    under: Circumstances,
    quantity: str,
    unit: str,
    values: dict[str, list[float]],
    baselines: dict[str, str | None],
) -> list[Record]:
    """Records of things that were measured side by side.

    Args:
        under: what they share.
        values: by name.
        baselines: the name of what each is compared with, by name.
    """
    found = {name: spread(each) for name, each in values.items()}
    return [
        Record(
            part=under.part,
            name=name,
            quantity=quantity,
            unit=unit,
            setup=under.setup,
            values=values[name],
            median=median,
            quartiles=quartiles,
            baseline=baselines[name],
            ratio=None if baselines[name] is None else median / found[baselines[name]][0],
            hardware=under.hardware,
        )
        for name, (median, quartiles) in found.items()
    ]


RECORDS = TypeAdapter(list[Record])


def read_records(file: Path) -> list[Record]:
    """The records of a file.

    Raises:
        UserError: it cannot be read or holds something else.
    """
    try:
        return RECORDS.validate_python(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or 'no text'})") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{file}: no JSON (line {error.lineno}: {error.msg})") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{file}: not written by `python -m benchmarks --json` ({place}: {first['msg']})") from error


class JsonFile:
    """The ``--json`` file: looked at before anything is measured, appended to afterwards.

    Raises:
        UserError: it holds something other than records, or its folder does not exist.
    """

    def __init__(self, file: Path | None):
        self._file = file
        if file is not None and not file.parent.is_dir():
            raise UserError(f"--json {file}: there is no folder {file.parent}")
        self._before = read_records(file) if file is not None and file.exists() else []

    def append(self, records: list[Record]) -> None:
        """Write the file anew, in one piece, with these records at its end."""
        if self._file is not None:
            with reported(self._file):
                write_json(self._file, RECORDS.dump_python([*self._before, *records], mode="json"))
