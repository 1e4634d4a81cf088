"""Running the checks, and saying what came out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from noisybench.conformance.checks import CHECKS, Subject, declarations, trains
from noisybench.conformance.finding import Finding
from noisybench.conformance.processes import check_processes, compare_here, refuse_too_few
from noisybench.core.console import console, literal, printable
from noisybench.core.errors import UserError
from noisybench.core.nested import merge
from noisybench.spec import registry
from noisybench.spec.text import parse_override

NOTHING_AFTER = ("declarations", "trains")  # what fails one of these cannot be trained further


@dataclass(frozen=True)
class CheckReport:
    """What the kit found of one method.

    Attributes:
        method: its name.
        problems: one for each check that failed.
        seconds: what the checks took.
    """

    method: str
    problems: list[Finding]
    seconds: float

    @property
    def passed(self) -> bool:
        return not self.problems

    def lines(self) -> list[str]:
        """One line for each problem, or one that says all is well."""
        if self.passed:
            return [f"{self.method}: passes all {len(CHECKS)} checks ({self.seconds:.1f} s)"]
        return [f"{self.method}: {finding}" for finding in self.problems]


def check_method(name: str, overrides: dict[str, Any] | None = None) -> CheckReport:
    """Check one method.

    Args:
        name: a registered name, or ``package.module:Class``.
        overrides: configuration above the method's card, e.g. ``{"settings": {"warmup_epochs": 1}}``.

    Raises:
        UserError: there is no such method, it cannot be imported, or an override is wrong.
    """
    started = time.perf_counter()
    subject = Subject(name, overrides or {})
    problems: list[Finding] = []
    for check in CHECKS:
        try:
            check(subject)
        except Finding as finding:
            problems.append(finding)
            if check in (declarations, trains):  # what follows builds configurations, or rests on a training
                break
    return CheckReport(name, problems, time.perf_counter() - started)


def check_all(overrides: dict[str, Any] | None = None) -> Iterator[CheckReport]:
    """Check every registered method, one after the other; those whose name cannot be used fail at once."""
    for one in registry.disabled("method"):
        yield CheckReport(f"{one.name} of {one.origin}", [Finding("loads", one.reason)], 0.0)
    for name in registry.method_names():
        started = time.perf_counter()
        try:
            yield check_method(name, overrides)
        except UserError as error:
            yield CheckReport(name, [Finding("loads", str(error))], time.perf_counter() - started)


def print_check(name: str, overrides: list[str], processes: int | None = None) -> bool:
    """Check one method and print what came out; whether it passed.

    Args:
        overrides: ``KEY=VALUE`` texts, as for a run.
        processes: compare one process with so many, too.
    """
    if processes is not None:
        refuse_too_few(processes)
    report = check_method(name, _given(overrides))
    print(*map(printable, report.lines()), sep="\n", flush=True)
    if processes is None or any(finding.check in NOTHING_AFTER for finding in report.problems):
        return report.passed
    finding = check_processes(name, overrides, processes)
    said = f"1 and {processes} processes train the same" if finding is None else str(finding)
    print(printable(f"{name}: {said}"))
    return report.passed and finding is None


def compare_processes(name: str, overrides: list[str], folder: Path) -> None:
    """What each of the processes that :func:`print_check` starts does."""
    compare_here(name, _given(overrides), folder)


def _given(overrides: list[str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for text in overrides:
        given = merge(given, parse_override(text))
    return given


def print_check_all(overrides: list[str]) -> bool:
    """Check every registered method and print what came out; whether all passed.

    Args:
        overrides: as of :func:`print_check`.
    """
    reports = []
    for report in check_all(_given(overrides)):
        print(*map(printable, report.lines()), sep="\n", flush=True)
        reports.append(report)
    console().print(summary(reports))
    return all(report.passed for report in reports)


def summary(reports: list[CheckReport]) -> Table:
    """One row per method: what came out, and the time it took."""
    table = Table(title=f"{sum(r.passed for r in reports)} of {len(reports)} methods pass")
    table.add_column("method")
    table.add_column("failed checks")
    table.add_column("seconds", justify="right")
    for report in reports:
        failed = ", ".join(dict.fromkeys(finding.check for finding in report.problems)) or "none"
        table.add_row(literal(report.method), literal(failed), f"{report.seconds:.1f}")
    table.add_section()
    table.add_row("all", "", f"{sum(r.seconds for r in reports):.1f}")
    return table
