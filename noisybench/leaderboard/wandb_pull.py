"""Rebuilding records from Weights & Biases runs. What comes back is checked as strictly as any stranger's file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from noisybench.errors import UserError
from noisybench.leaderboard.store import Board, read_text
from noisybench.leaderboard.validate import MAX_CHARACTERS, read_record
from noisybench.leaderboard.wandb_project import parse_project, unreachable

RECORD = "result.json"
TIMEOUT = 30  # seconds for one answer of the server


def pull(board: Board, project: str, api: Any = None) -> list[str]:
    """File the records of a project's runs on a board.

    Args:
        project: ``ENTITY/PROJECT``.
        api: a ``wandb.Api``; one is made if not given.

    Returns:
        One line for each run: filed, known already, or refused with the reason; and one with the sum.

    Raises:
        UserError: W&B cannot be reached, or the board's own records are wrong. Nothing is filed then.
    """
    entity, name = parse_project(project)
    filed = board.filed()
    known = {record.run_id for record in board.records()}
    lines, accepted = [], []
    for source, text in _records(f"{entity}/{name}", api):
        if text is None:
            lines.append(f"{source}: no {RECORD}; not a finished noisybench run")
            continue
        try:
            record = read_record(text, source)
        except UserError as error:
            lines.append(f"refused: {error}")
            continue
        if record.run_id in known:
            lines.append(f"{source}: run {record.run_id} is on the board already")
            continue
        reason = filed.refusal(record)
        if reason is not None:
            lines.append(f"refused: {source}: {reason}")
            continue
        accepted.append((record, source))
        lines.append(f"{source}: run {record.run_id} filed")
    board.add_records(accepted)
    return [*lines, f"{len(accepted)} filed, {len(lines) - len(accepted)} not"]


def _records(project: str, api: Any) -> Iterator[tuple[str, str | None]]:
    """Each run's name and its record's text, None if it has none."""
    import requests
    import wandb

    try:
        api = api or wandb.Api(timeout=TIMEOUT)
        for run in api.runs(project):
            source = f"{project}/{run.id}"
            files = [file for file in run.files(names=[RECORD]) if file.name == RECORD]
            if not files:
                yield source, None
            elif files[0].size > MAX_CHARACTERS:
                raise UserError(f"{source}: its {RECORD} has {files[0].size:,} bytes; no record is that large")
            else:
                yield source, _download(files[0])
    except (wandb.Error, requests.RequestException, ValueError) as error:
        raise unreachable(error, f"reading {project}") from error


def _download(file: Any) -> str:
    with tempfile.TemporaryDirectory() as folder:
        file.download(root=folder, replace=True)
        return read_text(Path(folder) / RECORD)
