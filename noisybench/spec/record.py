"""The run record: everything a board needs to know of one run, as one JSON file."""

from __future__ import annotations

import collections
import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from noisybench.core.errors import UserError, one_line
from noisybench.core.files import canonical_json, read_regular, write_json

# 1: what a method logged stood among the benchmark's own curves. 2: it stands under ``method/``.
SCHEMA_VERSION = 2
READABLE = (1, 2)
LOGS_APART = 2  # the first version in which every curve without ``method/`` is a metric of the benchmark

MAX_BYTES = 16_000_000  # a run of 300 epochs takes about 100,000
DEEPEST = 20  # tables within tables; a record of a run has six
LARGEST = 2**63 - 1


class Fingerprints(BaseModel):
    """sha256 of what the run used and made."""

    model_config = ConfigDict(extra="forbid")

    dataset: str
    noise: str
    split: str
    weights: str | None = Field(description="the final weights of all networks")
    state: str | None = Field(
        default=None,
        description="the rest of the method's final state: per-sample columns, trained rows, optimizers, numbers; None "
        "in records of release 0.1",
    )

    @model_serializer(mode="wrap")
    def _as_stored(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A record of release 0.1 is stored again as it was, to the bit."""
        found = whole(self)
        if found["state"] is None:
            del found["state"]
        return found


class InformationUsed(BaseModel):
    """What a run knew beyond noisy images and labels."""

    model_config = ConfigDict(extra="forbid")

    clean_labels: int = Field(description="clean training labels the method saw")
    clean_labels_for_selection: int = Field(description="clean labels that only clean-validation selection used")
    noise_prior: list[str] = Field(description="noise_rate, noise_kind, transition_matrix: what the method was told")
    pretrained_weights: bool | str = Field(
        description="false: trained from scratch; else which: a model's name with its tag, or sha256:… of a file "
        "(in records of release 0.1: true)"
    )
    extra_data: bool = False
    tuning_trials: int = Field(default=0, description="trials of `noisybench tune` behind the recipes that it used")


class Cost(BaseModel):
    """What the run took."""

    model_config = ConfigDict(extra="forbid")

    wall_seconds: float
    train_seconds: float
    samples_per_second: float = Field(description="noisy training samples, over the training time")
    peak_memory_bytes: int = Field(description="device memory on a GPU, else the process's peak resident set")
    device: str
    processes: int
    forward_equivalents_per_step: float | None = None


class RunRecord(BaseModel):
    """The result of one run.

    ``metrics`` has the selection rules and the last epoch's value of some metrics (:mod:`noisybench.spec.metrics`); a
    rule that cannot be applied (no such validation set) is null. ``curves`` has one value per epoch for each metric,
    null where it was not defined, and for what the method logged, as ``method/NAME``.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA_VERSION
    status: Literal["completed", "failed"] = "completed"
    error: str | None = None
    run_id: str
    config: dict[str, Any]
    fingerprints: Fingerprints
    noise: dict[str, Any]
    metrics: dict[str, float | None] = Field(description="empty if the run failed before its first evaluation")
    heads: dict[str, dict[str, float | None]] = Field(description="the same metrics for every head, by its name")
    curves: dict[str, list[float | None]]
    information_used: InformationUsed
    cost: Cost
    versions: dict[str, str]
    git_commit: str | None

    def content(self) -> dict[str, Any]:
        """The record as it is stored: plain JSON values, and ``sha256`` over their canonical JSON."""
        content = self.model_dump(mode="json")
        return {**content, "sha256": content_hash(content)}

    def save(self, file: Path) -> None:
        """Write the record in one piece."""
        write_json(file, self.content())

    @classmethod
    def load(cls, file: Path) -> RunRecord:
        """Read a record.

        Raises:
            UserError: the file is missing or no record of a version this release reads.
        """
        return parse_record(read_text(file), str(file))


def read_text(file: Path, *, follow: bool = True) -> str:
    """The text of a record's file.

    Args:
        follow: a link to such a file will do too.

    Raises:
        UserError: there is no such file, or it is not text of a record's size.
    """
    try:
        return read_regular(file, MAX_BYTES, follow=follow).decode()
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file; give a result.json or the output folder of a finished run") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not readable as text ({error})") from error


def content_hash(content: dict[str, Any]) -> str:
    """sha256 of a record's canonical JSON, without the ``sha256`` field that this is stored in.

    It finds damage and edits. Whoever forges a record can compute it too: only running again finds that.
    """
    rest = {name: value for name, value in content.items() if name != "sha256"}
    return hashlib.sha256(canonical_json(rest).encode()).hexdigest()


def parse_record(text: str, source: str) -> RunRecord:
    """A record from its JSON text.

    Args:
        source: where the text is from, for the error.

    Raises:
        UserError: it is no record of a version this release reads, or was changed since it was written.
    """
    try:
        content = json.loads(text, parse_constant=_no_number, parse_int=_whole, object_pairs_hook=_once)
        if not isinstance(content, dict):
            raise ValueError("not an object")
        if _too_deep(content, DEEPEST):
            raise ValueError(f"nested more than {DEEPEST} deep")
        version = content.get("schema_version")
        if isinstance(version, bool) or version not in READABLE:
            newer = isinstance(version, int) and version > SCHEMA_VERSION
            hint = "; a newer noisybench wrote it: upgrade" if newer else ""
            what = f"a record of schema version {str(version)[:20]}"
            raise UserError(f"{source}: {what}; this release reads {' and '.join(map(str, READABLE))}{hint}")
        stated, found = content.pop("sha256", None), content_hash(content)
    except RecursionError as error:
        raise UserError(f"{source}: not a record's JSON (nested more than {DEEPEST} deep)") from error
    except ValueError as error:
        raise UserError(f"{source}: not a record's JSON ({one_line(error)})") from error
    if stated != found:
        raise UserError(
            f"{source}: the content does not match its sha256 (stated {str(stated)[:16]}, found {found[:16]}): "
            f"the record was changed or damaged; take the file that the run wrote"
        )
    try:
        return RunRecord.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])[:100]
        raise UserError(f"{source}: not a run record: {place}: {first['msg']}") from error


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON; every value must be finite")


def _whole(digits: str) -> int:
    if len(digits) > 20 or abs(int(digits)) > LARGEST:
        raise ValueError(f"the whole number {digits[:12]}… has {len(digits)} digits; the largest is {LARGEST}")
    return int(digits)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = collections.Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice[:40]!r} is given twice")
    return found


def _too_deep(value: Any, left: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return left == 0 or any(_too_deep(item, left - 1) for item in inner)
