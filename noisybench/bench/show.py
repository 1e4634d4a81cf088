"""`noisybench bench plan`: the runs of a suite, how far each is, and what the rest will cost."""

from __future__ import annotations

import collections
import datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from noisybench.bench.estimate import Estimate, estimate, known_records
from noisybench.bench.plan import State, Suite, last_line


def print_plan(suite: Suite, console: Console) -> None:
    """Print a suite."""
    statuses = [suite.status(run) for run in suite.runs]
    records = known_records(suite, statuses)
    estimates = [estimate(suite, run, status, records) for run, status in zip(suite.runs, statuses, strict=True)]
    table = Table()
    for title in ("run id", "run", "state", "forward passes", "time", ""):
        table.add_column(title, justify="right" if title in ("forward passes", "time") else "left")
    for run, status, cost in zip(suite.runs, statuses, estimates, strict=True):
        passes = f"{cost.forward_images:.2e}" if cost.forward_images else ""
        table.add_row(
            run.run_id, escape(run.label), str(status.state), passes, _time(cost), escape(last_line(status.detail))
        )
    console.print(table)
    counts = collections.Counter(status.state for status in statuses)
    totals = ", ".join(f"{counts[state]} {state}" for state in State if counts[state])
    console.print(f"{len(suite.runs)} runs: {totals or 'none'}", highlight=False)
    console.print(_explained(estimates), highlight=False, soft_wrap=True)


def _explained(estimates: list[Estimate]) -> str:
    """The total, and what it is made of."""
    work = sum(cost.forward_images for cost in estimates)
    lines = [
        f"Left: {work:.2e} forward passes of one image = the methods' forward equivalents a step × steps × batch size; "
        f"evaluation and epochs of several passes are not counted."
    ]
    known = [cost for cost in estimates if cost.seconds]
    if known:
        total = datetime.timedelta(seconds=round(sum(cost.seconds for cost in known)))
        lines.append(f"Time left, one run after another: {total}, from:")
    bases = collections.Counter(cost.basis for cost in estimates if cost.basis)
    lines += [f"  {count} run{'s' if count > 1 else ''}: {basis}" for basis, count in sorted(bases.items())]
    return "\n".join(lines)


def _time(cost: Estimate) -> str:
    if cost.seconds is None:
        return "unknown"
    return str(datetime.timedelta(seconds=round(cost.seconds))) if cost.seconds else ""
