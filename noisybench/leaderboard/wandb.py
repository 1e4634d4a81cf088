"""A board and Weights & Biases: publishing one as tables, plots and its page, and filing a project's runs on one.

What comes back is checked as strictly as any stranger's file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisybench.core.errors import UserError, one_line
from noisybench.core.names import shown_name
from noisybench.leaderboard.html import board_html
from noisybench.leaderboard.standings import Standings, value_of
from noisybench.leaderboard.store import RECORD, Board
from noisybench.leaderboard.validate import read_record
from noisybench.spec.metrics import RULES
from noisybench.spec.record import MAX_BYTES, RunRecord, read_text

if TYPE_CHECKING:
    import wandb

TIMEOUT = 30.0  # seconds to reach the server


def push(board: Board, project: str) -> str:
    """Publish a board. With ``WANDB_MODE=offline`` it is written for a later ``wandb sync``.

    Args:
        project: ``ENTITY/PROJECT``.

    Returns:
        One line: where it went.

    Raises:
        UserError: the board has no records that are right, or W&B cannot be reached.
    """
    entity, name = parse_project(project)
    records = board.records()
    if not records:
        raise UserError(f"{board.runs}: no records to publish")
    standings = Standings(board.card, records)
    import wandb

    try:
        run = wandb.init(
            entity=entity,
            project=name,
            name=f"leaderboard-{board.card.name}",
            job_type="leaderboard",
            config={"board": board.card.model_dump(mode="json")},
            settings=wandb.Settings(init_timeout=TIMEOUT),
        )
        run.log(panels(standings, wandb))
        offline = f"written for `wandb sync` to {Path(run.dir).parent}"
        where = offline if run.offline else f"published at {run.url}"
        run.finish()
    except (wandb.Error, OSError) as error:
        raise unreachable(error, f"publishing to {project}") from error
    return f"{board.card.name}: {len(records)} runs, {where}"


def panels(standings: Standings, wandb) -> dict[str, Any]:
    """What the W&B run shows, by name."""
    rows = wandb.Table(columns=STANDING_COLUMNS, data=standing_rows(standings))
    headline = wandb.Table(
        columns=["method", "accuracy"],
        data=[[row[2], row[6]] for row in standing_rows(standings) if row[0] == standings.card.headline and not row[3]],
    )
    return {
        "standings": rows,
        "runs": wandb.Table(columns=run_columns(), data=run_rows(standings)),
        "mean_accuracy": wandb.plot.bar(headline, "method", "accuracy", title="Mean test accuracy over all cells"),
        "accuracy_by_noise_rate": rate_plot(standings, wandb),
        "page": wandb.Html(board_html(standings), inject=False),
    }


STANDING_COLUMNS = ["rule", "rank", "method", "cell", "information", "runs", "mean", "low", "high"]
STANDING_COLUMNS += ["paired_difference", "paired_low", "paired_high", "pairs", "probability_of_improvement"]


def run_columns() -> list[str]:
    """What a line of a run says."""
    return ["run_id", "method", "cell", "seed", *RULES, "train_seconds", "noise_sha256", "split_sha256"]


def standing_rows(standings: Standings) -> list[list[Any]]:
    """One line for each rule, row and cell; the cell is empty for the mean over all cells."""
    lines = []
    for rule in RULES:
        scopes = [("", standings.covered), *((cell.label, [cell]) for cell in standings.covered)]
        for label, cells in scopes:
            for number, score in standings.scope(cells, rule).scores.items():
                row, mean, difference = standings.rows[number], score.mean, score.difference
                paired = [None] * 3 if difference is None else [difference.value, difference.low, difference.high]
                start = [rule, score.rank, row.method, label, row.group, score.runs, mean.value, mean.low, mean.high]
                lines.append([*start, *paired, score.pairs, score.improvement])
    return lines


def run_rows(standings: Standings) -> list[list[Any]]:
    """One line for each run."""
    lines = []
    for row in standings.rows:
        for cell, records in row.runs.items():
            for record in records:
                start = [record.run_id, row.method, cell.label, record.config["seed"]]
                prints = record.fingerprints
                rules = [value_of(record, rule) for rule in RULES]
                lines.append([*start, *rules, record.cost.train_seconds, prints.noise, prints.split])
    return lines


def rate_plot(standings: Standings, wandb) -> wandb.plot.CustomChart:
    """Mean accuracy against the achieved noise rate, a line for each row."""
    xs, ys, keys = [], [], []
    for row in standings.rows:
        cells = [cell for cell in row.runs if None not in row.scores(cell, standings.card.headline)]
        points = []
        for cell in cells:
            scores = [score for score in row.scores(cell, standings.card.headline) if score is not None]
            rates = [record.noise["achieved_rate"] for record in row.runs[cell]]
            if None in rates:  # labels as shipped, of which nobody knows how many are wrong
                continue
            rate = sum(rates) / len(scores)
            points.append((rate, sum(scores) / len(scores)))
        if points:
            points.sort()
            xs.append([x for x, _ in points])
            ys.append([y for _, y in points])
            keys.append(f"{row.method} ({row.group})")
    return wandb.plot.line_series(xs, ys, keys=keys, title="Test accuracy against noise rate", xname="noise rate")


def parse_project(text: str) -> tuple[str, str]:
    """``ENTITY/PROJECT`` as its two names.

    Raises:
        UserError: the text has another form.
    """
    entity, separator, project = text.partition("/")
    if not separator or not entity or not project or "/" in project:
        raise UserError(f"--wandb {text!r}: write ENTITY/PROJECT, as in the project's address")
    return entity, project


def unreachable(error: Exception, doing: str) -> UserError:
    """The error for a missing login or network."""
    return UserError(
        f"W&B: {doing} failed ({one_line(error)}). Check the login (`wandb login`) and the network; "
        "the local board is complete without it"
    )


ANSWER_TIMEOUT = 30  # seconds for one answer of the server


def pull(board: Board, project: str, api: Any = None) -> list[str]:
    """File the records of a project's runs on a board.

    Args:
        project: ``ENTITY/PROJECT``.
        api: a ``wandb.Api``; one is made if not given.

    Returns:
        One line for each run: filed, known already, or refused with the reason; and one with the sum.

    Raises:
        UserError: W&B cannot be reached, or the board cannot be written. Nothing is filed in the first case.
    """
    entity, name = parse_project(project)
    found = list(_records(f"{entity}/{name}", api))
    right = [each for each in found if not isinstance(each, str)]
    told = iter(board.add_each(right) if right else [])
    filed, lines = 0, []
    for each in found:
        new, line = (False, each) if isinstance(each, str) else next(told)
        filed += new
        lines.append(line)
    return [*lines, f"{filed} filed, {len(lines) - filed} not"]


def _records(project: str, api: Any) -> Iterator[tuple[RunRecord, str] | str]:
    """Each run's record with where it is from; one line where there is none, or none that is right."""
    import requests
    import wandb

    try:
        api = api or wandb.Api(timeout=ANSWER_TIMEOUT)
        for run in api.runs(project):
            source = f"{project}/{shown_name(run.id)}"
            try:
                text = _text(run, source)
                yield (
                    f"{source}: no {RECORD}; not a finished noisybench run"
                    if text is None
                    else (
                        read_record(text, source),
                        source,
                    )
                )
            except UserError as error:
                yield f"refused: {error}"
            except requests.HTTPError as error:  # of this file alone
                yield f"refused: {source}: its {RECORD} cannot be had ({one_line(error)})"
    except (wandb.Error, requests.RequestException, ValueError) as error:
        raise unreachable(error, f"reading {project}") from error


def _text(run: Any, source: str) -> str | None:
    """The text of a run's record; None if it has none.

    Raises:
        UserError: it is too large, or no text.
    """
    files = [file for file in run.files(names=[RECORD]) if file.name == RECORD]
    if not files:
        return None
    size = files[0].size
    if not isinstance(size, int) or size > MAX_BYTES:
        raise UserError(f"{source}: its {RECORD} has {size!s:.20} bytes; it may have at most {MAX_BYTES:,}")
    with tempfile.TemporaryDirectory() as folder:
        files[0].download(root=folder, replace=True)
        try:
            return read_text(Path(folder) / RECORD)
        except UserError as error:
            raise UserError(f"{source}: its {RECORD} is not text of a record's size") from error
