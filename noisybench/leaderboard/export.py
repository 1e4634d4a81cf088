"""A view of a board as CSV or as a LaTeX table (booktabs): one metric, every row and cell."""

from __future__ import annotations

import csv
import io

import numpy as np

from noisybench.core.console import printable
from noisybench.core.errors import unknown_name
from noisybench.leaderboard import statistics
from noisybench.leaderboard.cells import Cell
from noisybench.leaderboard.standings import Row, Standings
from noisybench.leaderboard.tables import detected_by
from noisybench.spec.metrics import DETECTION, RULES, in_figures, titles, with_later_rules

FORMATS = ("csv", "latex")
SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "·": r"\textperiodcentered{}",
}
SPECIAL |= {character: f"\\{character}" for character in "&%$#_{}"}


def metric_named(name: str | None, standings: Standings) -> str:
    """A metric of records, by its own name or as a selection rule is typed; the board's headline if not given.

    Raises:
        UserError: there is none of this name.
    """
    if name is None:
        return standings.card.headline
    by_rule = {rule.name: metric for metric, rule in RULES.items()}
    metric = by_rule.get(name, name)
    if metric not in titles():
        raise unknown_name("metric", name, [*by_rule, *titles()])
    return metric


def values(row: Row, cell: Cell, metric: str) -> list[float]:
    """The metric's value of each run in a cell that has one, by seed."""
    found = (with_later_rules(record.metrics, record.curves).get(metric) for record in row.runs.get(cell, []))
    return [value for value in found if value is not None]


def board_csv(standings: Standings, metric: str) -> str:
    """One line for each row and cell with runs: numbers as they are, fractions as fractions."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ["board", "metric", "information", "method", "dataset", "noise", "noise_rate", "mean", "sd", "runs", "seeds"]
    writer.writerow([*head, *(["by"] if _detects(metric) else [])])
    for row in standings.rows:
        for cell in standings.covered:
            found = values(row, cell, metric)
            if not found:
                continue
            spread = statistics.spread(np.array(found))
            seeds = " ".join(str(record.config["seed"]) for record in row.runs[cell])
            line = [standings.card.name, metric, row.group, row.method, cell.dataset, cell.noise]
            line += ["" if cell.noise_rate is None else repr(cell.noise_rate), repr(float(np.mean(found)))]
            line += ["" if spread is None else repr(float(spread)), str(len(found)), seeds]
            writer.writerow(
                [_cell(text) for text in [*line, *([detected_by(row.runs[cell])] if _detects(metric) else [])]]
            )
    return out.getvalue()


def board_latex(standings: Standings, metric: str) -> str:
    r"""A ``tabular`` for ``\usepackage{booktabs}``: rows of equal information together, cells as mean ± deviation."""
    cells = standings.covered
    lines = [
        f"% {printable(standings.card.title)}: {titles()[metric]}, mean and standard deviation over seeds. Written by",
        f"% noisybench leaderboard export {standings.card.name} --format latex --metric {metric}",
        rf"\begin{{tabular}}{{l{'r' * len(cells)}}}",
        r"\toprule",
        " & ".join(["method", *(escaped(cell.label) for cell in cells)]) + r" \\",
    ]
    for group in dict.fromkeys(row.group for row in standings.rows):
        lines += [r"\midrule", rf"\multicolumn{{{len(cells) + 1}}}{{l}}{{\emph{{{escaped(group)}}}}} \\"]
        for row in standings.rows:
            if row.group == group:
                lines.append(" & ".join([escaped(row.method), *(_latex(row, cell, metric) for cell in cells)]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex(row: Row, cell: Cell, metric: str) -> str:
    found = values(row, cell, metric)
    if not found:
        return "--"
    spread = statistics.spread(np.array(found))
    mean = in_figures(metric, float(np.mean(found)))
    return mean if spread is None else rf"{mean} $\pm$ {in_figures(metric, float(spread))}"


def escaped(text: str) -> str:
    """Text that LaTeX shows as it is."""
    return "".join(SPECIAL.get(character, character) for character in " ".join(printable(text).split()))


def _cell(text: str) -> str:
    """What a spreadsheet would take for a formula is text."""
    return f"'{text}" if text[:1] in ("=", "+", "@") else text


def _detects(metric: str) -> bool:
    return metric in {known.name for known in DETECTION}
