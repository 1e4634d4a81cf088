"""``--clean-labels``: a user's small checked subset, as a CSV file of path (or index) and label."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noisybench.core.errors import UserError


@dataclass(frozen=True)
class CheckedLabels:
    """Checked images of the train part and their right labels.

    Attributes:
        file: where they were read.
        by: ``"path"`` or ``"index"``: what ``keys`` are.
        keys: one for each image, as written.
        labels: class names or ids, as written.
    """

    file: Path
    by: str
    keys: list[str]
    labels: list[str]

    def __len__(self) -> int:
        return len(self.keys)

    def rows_of(self, names: list[str] | None, root: Path | None) -> np.ndarray:
        """The row (int64) of each checked image in a list of names, −1 where it is not in it.

        Args:
            names: N paths relative to ``root``; None where images are no files.
        """
        if self.by == "index":
            return np.array([int(key) for key in self.keys], dtype=np.int64)
        if names is None:
            raise UserError(f"--clean-labels {self.file}: this dataset's images are no files; give columns index,label")
        rows = {name: row for row, name in enumerate(names)}
        absolute = root.resolve() if root is not None else None

        def row(key: str) -> int:
            path = Path(key)
            if path.is_absolute() and absolute is not None and path.resolve().is_relative_to(absolute):
                path = path.resolve().relative_to(absolute)
            return rows.get(path.as_posix(), -1)

        return np.array([row(key) for key in self.keys], dtype=np.int64)

    def ids(self, classes: list[str]) -> np.ndarray:
        """Class ids (int64).

        Raises:
            UserError: a label is neither a class's name nor its id.
        """
        known = {str(number): number for number in range(len(classes))}
        known |= {name: number for number, name in enumerate(classes)}
        bad = [row for row, label in enumerate(self.labels) if label not in known]
        if bad:
            raise UserError(
                f"--clean-labels {self.file}: line {bad[0] + 2} has label {self.labels[bad[0]]!r}, which is no class "
                f"and no id in 0..{len(classes) - 1} ({len(bad)} such lines)"
            )
        return np.array([known[label] for label in self.labels], dtype=np.int64)

    def truth(self, num_rows: int, names: list[str] | None, root: Path | None, classes: list[str]) -> np.ndarray:
        """True labels of a train part (N int64), −1 where nothing was checked.

        Raises:
            UserError: an image is unknown, not in the train part, or checked twice.
        """
        rows = self.rows_of(names, root)
        outside = np.flatnonzero((rows < 0) | (rows >= num_rows))
        if len(outside):
            what = "is not in the train part" if self.by == "path" else f"is outside 0..{num_rows - 1}"
            raise UserError(
                f"--clean-labels {self.file}: line {outside[0] + 2}: {self.keys[outside[0]]!r} {what} "
                f"({len(outside)} such lines)"
            )
        unique, counts = np.unique(rows, return_counts=True)
        if (counts > 1).any():
            twice = self.keys[int(np.flatnonzero(rows == unique[counts > 1][0])[0])]
            raise UserError(f"--clean-labels {self.file}: {twice!r} is named {counts.max()} times")
        truth = np.full(num_rows, -1, dtype=np.int64)
        truth[rows] = self.ids(classes)
        return truth


def read_checked(file: Path) -> CheckedLabels:
    """Read a CSV file with the columns path,label or index,label.

    Raises:
        UserError: it is missing, unreadable, empty, or has other columns.
    """
    name = f"--clean-labels {file}"
    try:
        with open(file, newline="", encoding="utf-8") as opened:
            reader = csv.DictReader(opened)
            columns = reader.fieldnames or []
            rows = list(reader)
    except FileNotFoundError as error:
        raise UserError(f"{name}: no such file") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{name}: not a readable CSV file ({error})") from error
    by = next((column for column in ("path", "index") if column in columns), None)
    if by is None or "label" not in columns:
        raise UserError(f"{name}: columns {', '.join(columns) or 'none'}; expected path,label or index,label")
    if len(rows) < 2:
        raise UserError(f"{name}: {len(rows)} checked images; at least 2 are needed")
    bad = [row for row, cells in enumerate(rows) if not cells[by] or (by == "index" and not cells[by].isdecimal())]
    if bad:
        raise UserError(f"{name}: line {bad[0] + 2} has no proper {by} ({len(bad)} such lines)")
    return CheckedLabels(file, by, [row[by] for row in rows], [row["label"] or "" for row in rows])


def content_hash(file: Path) -> str:
    """sha256 of the file: it is part of what a run is."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"--clean-labels {file}: cannot be read ({error.strerror})") from error
