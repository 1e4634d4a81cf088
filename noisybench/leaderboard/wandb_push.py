"""Publishing a board to Weights & Biases: tables, plots and the page itself, as one W&B run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisybench.errors import UserError
from noisybench.leaderboard.html import board_html
from noisybench.leaderboard.standings import RULES, Standings
from noisybench.leaderboard.store import Board
from noisybench.leaderboard.wandb_project import parse_project, unreachable

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
        UserError: the board has no records, or W&B cannot be reached.
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
        "runs": wandb.Table(columns=RUN_COLUMNS, data=run_rows(standings)),
        "mean_accuracy": wandb.plot.bar(headline, "method", "accuracy", title="Mean test accuracy over all cells"),
        "accuracy_by_noise_rate": rate_plot(standings, wandb),
        "page": wandb.Html(board_html(standings), inject=False),
    }


STANDING_COLUMNS = ["rule", "rank", "method", "cell", "information", "runs", "mean", "low", "high"]
STANDING_COLUMNS += ["paired_difference", "paired_low", "paired_high", "pairs", "probability_of_improvement"]
RUN_COLUMNS = ["run_id", "method", "cell", "seed", *RULES, "train_seconds", "noise_sha256", "split_sha256"]


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
                rules = [record.metrics[rule] for rule in RULES]
                lines.append([*start, *rules, record.cost.train_seconds, prints.noise, prints.split])
    return lines


def rate_plot(standings: Standings, wandb) -> wandb.plot.CustomChart:
    """Mean accuracy against the achieved noise rate, a line for each row."""
    xs, ys, keys = [], [], []
    for row in standings.rows:
        cells = [cell for cell in row.runs if None not in row.scores(cell, standings.card.headline)]
        points = []
        for cell in cells:
            scores = row.scores(cell, standings.card.headline)
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
