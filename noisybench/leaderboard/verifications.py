"""What running a record again came to: compared, and filed as ``verifications/RUN_ID.json`` beside the records."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from noisybench.core.errors import UserError, one_line
from noisybench.core.files import write_json
from noisybench.leaderboard.stored_config import config_fault
from noisybench.leaderboard.validate import text_fault
from noisybench.spec.metrics import RULES, under_method
from noisybench.spec.record import RunRecord, content_hash, read_text

FOLDER = "verifications"
TOLERANCE = 0.01  # of test accuracy, as a fraction: one point
DATA = ("dataset", "noise", "split")

Outcome = Literal["bit-equal", "within", "outside"]


class Verification(BaseModel):
    """One record, run again. It names no host and no user."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: str
    record: str = Field(description="sha256 of the record that was run again, as it states it")
    outcome: Outcome
    tolerance: float = Field(ge=0, le=1, description="of test accuracy, as a fraction: what 'within' means")
    difference: float = Field(ge=0, le=1, description="the largest one in test accuracy over the selection rules")
    metric: str = Field(description="the selection rule's metric that it is of")
    differs: list[str] = Field(description="which fingerprints, metrics and curves are not bit-equal")
    date: datetime.date
    machine: str = Field(description="the kind of machine: device, processor family and system")
    first_machine: str = Field(description="the device of the record")
    versions: dict[str, str]
    git_commit: str | None

    @property
    def line(self) -> str:
        """For people."""
        if self.outcome == "bit-equal":
            return f"bit-equal on {self.machine}, {self.date}"
        inside = "within" if self.outcome == "within" else "outside"
        return (
            f"{inside} {100 * self.tolerance:g} points on {self.machine}, {self.date}: {RULES[self.metric].title} "
            f"differs by {100 * self.difference:.2f}"
        )


def compared(old: RunRecord, new: RunRecord, tolerance: float = TOLERANCE) -> Verification:
    """A record beside what the same configuration gave when it was run again.

    Bit-equal: the fingerprints (final weights too), and every metric and curve that the record has. Else within the
    tolerance: no selection rule's test accuracy is off by more.

    Raises:
        UserError: they say nothing of each other: another configuration or other data, or one and the same run.
    """
    if old.run_id != new.run_id:
        raise UserError(f"run {new.run_id} is not run {old.run_id} again: their configurations differ")
    if old.cost == new.cost:  # no two runs take the same time to the last digit
        raise UserError(f"run {old.run_id}: this is the record's own run, not another; name a new folder by --output")
    before, after = old.fingerprints.model_dump(), new.fingerprints.model_dump()
    other = [name for name in DATA if before[name] != after[name]]
    if other:
        raise UserError(f"run {old.run_id}: another {' and '.join(other)} than the record's: nothing is said of it")
    # What a release has measured since is no difference; what it no longer measures is one.
    differs = [f"fingerprints.{name}" for name in before if before[name] != after.get(name)]
    differs += _different("metrics", old.metrics, new.metrics)
    # Logs had plain names once.
    differs += _different("curves", {under_method(name): values for name, values in old.curves.items()}, new.curves)
    gaps = {
        name: abs(value - again)
        for name, value in old.metrics.items()
        if name in RULES and value is not None and (again := new.metrics.get(name)) is not None
    }
    metric = max(gaps, key=lambda name: gaps[name])
    outcome: Outcome = "within" if gaps[metric] <= tolerance + 1e-12 else "outside"
    return Verification(
        run_id=old.run_id,
        record=content_hash(old.content()),
        outcome=outcome if differs else "bit-equal",
        tolerance=tolerance,
        difference=gaps[metric],
        metric=metric,
        differs=differs,
        date=datetime.date.today(),
        machine=f"{new.cost.device}, {platform.machine()}, {platform.system()}",
        first_machine=old.cost.device,
        versions=new.versions,
        git_commit=new.git_commit,
    )


def _different(place: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [f"{place}.{name}" for name in sorted(old) if name not in new or old[name] != new[name]]


def file_of(board: Path, run_id: str) -> Path:
    """Where the verification of a run lies in a board's folder."""
    return board / FOLDER / f"{run_id}.json"


def save(board: Path, verification: Verification) -> None:
    """File a verification; it takes the place of an earlier one.

    Raises:
        UserError: it cannot be written.
    """
    file = file_of(board, verification.run_id)
    try:
        file.parent.mkdir(exist_ok=True)
        write_json(file, verification.model_dump(mode="json"))
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({one_line(error)})") from error


def load_all(board: Path, records: list[RunRecord]) -> tuple[dict[str, Verification], list[str]]:
    """The verifications of these records by run id, and one line for each that is wrong or of another record."""
    found: dict[str, Verification] = {}
    problems = []
    for record in records:
        file = file_of(board, record.run_id)
        if not file.exists() and not file.is_symlink():
            continue
        try:
            found[record.run_id] = _read(file, record)
        except UserError as error:
            problems.append(str(error))
    return found, problems


def _read(file: Path, record: RunRecord) -> Verification:
    try:
        verification = Verification.model_validate_json(read_text(file, follow=False))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))[:100]
        raise UserError(f"{file}: no verification ({place}: {' '.join(first['msg'].split())})") from error
    if verification.run_id != record.run_id or verification.record != content_hash(record.content()):
        raise UserError(f"{file}: of another record than runs/{record.run_id}.json; verify that run again")
    texts = [verification.machine, verification.first_machine, *verification.differs, *verification.versions.values()]
    faults = [
        fault for text in [*texts, *verification.versions, verification.git_commit or ""] if (fault := text_fault(text))
    ]
    if faults or verification.metric not in RULES:
        raise UserError(f"{file}: {faults[0] if faults else 'metric is no selection rule'}")
    return verification


def summary(verifications: Mapping[str, Verification], runs: int) -> str | None:
    """One line on a board's verifications; None if there are none."""
    if not verifications:
        return None
    values = list(verifications.values())
    counts = {name: sum(each.outcome == name for each in values) for name in ("bit-equal", "within", "outside")}
    dates = sorted({each.date.isoformat() for each in values})
    days = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    points = " or ".join(sorted({f"{100 * each.tolerance:g}" for each in values}))
    worst = max(values, key=lambda each: each.difference)
    return (
        f"Run again from their own configuration: {len(values)} of {runs} runs ({days}): {counts['bit-equal']} "
        f"bit-equal, {counts['within']} within {points} points of test accuracy, {counts['outside']} outside; the "
        f"largest difference is {100 * worst.difference:.2f} points."
    )


def fault_of(record: RunRecord) -> str | None:
    """Why a record cannot be run again; None if it can."""
    if record.status != "completed":
        return f"the run failed ({record.error}); only a completed run can be compared"
    return config_fault(record.config)
