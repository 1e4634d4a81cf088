"""``--clean-labels``: a user's small checked subset, as a CSV file of path (or index) and label."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noisybench.core.errors import UserError, one_line
from noisybench.core.file_names import composed, shown_file, spellings
from noisybench.spec.cards import DatasetCard
from noisybench.spec.class_labels import UNKNOWN, class_ids, expected_labels
from noisybench.spec.csv_tables import read_rows
from noisybench.spec.user_images import relative_name


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

    def rows_of(self, names: Sequence[str] | None, root: Path | None) -> np.ndarray:
        """The row (int64) of each checked image in a list of names, −1 where it is not in it.

        A path matches a name that is written in another form of its letters, if only one is.

        Args:
            names: N paths relative to ``root``; None where images are no files.
        """
        if self.by == "index":
            return np.array([int(key) for key in self.keys], dtype=np.int64)
        if names is None:
            raise UserError(f"--clean-labels {self.file}: this dataset's images are no files; give columns index,label")
        rows = {name: row for row, name in enumerate(names)}
        alike: dict[str, list[str]] = {}
        for name in names:
            alike.setdefault(composed(name), []).append(name)

        def row(key: str) -> int:
            name = relative_name(key, root) if root is not None else key
            found = next((spelling for spelling in spellings(name) if spelling in rows), None)
            if found is None and len(alike.get(composed(name), [])) == 1:
                found = alike[composed(name)][0]
            return -1 if found is None else rows[found]

        return np.array([row(key) for key in self.keys], dtype=np.int64)

    def ids(self, card: DatasetCard) -> np.ndarray:
        """Class ids (int64).

        Raises:
            UserError: a label is no class.
        """
        found = class_ids(self.labels, card)
        bad = np.flatnonzero(found == UNKNOWN)
        if len(bad):
            raise UserError(
                f"--clean-labels {self.file}: line {bad[0] + 2} has label {self.labels[bad[0]]!r}, which is no class; "
                f"give {expected_labels(card)} ({len(bad)} such lines)"
            )
        return found

    def truth(self, num_rows: int, names: Sequence[str] | None, root: Path | None, card: DatasetCard) -> np.ndarray:
        """True labels of a train part (N int64), −1 where nothing was checked.

        Raises:
            UserError: an image is unknown, not in the train part, or checked twice.
        """
        rows = self.rows_of(names, root)
        outside = np.flatnonzero((rows < 0) | (rows >= num_rows))
        if len(outside):
            what = "is not in the train part" if self.by == "path" else f"is outside 0..{num_rows - 1}"
            raise UserError(
                f"--clean-labels {self.file}: line {outside[0] + 2}: '{shown_file(self.keys[outside[0]])}' {what} "
                f"({len(outside)} such lines)"
            )
        unique, counts = np.unique(rows, return_counts=True)
        if (counts > 1).any():
            twice = self.keys[int(np.flatnonzero(rows == unique[counts > 1][0])[0])]
            raise UserError(f"--clean-labels {self.file}: '{shown_file(twice)}' is named {counts.max()} times")
        truth = np.full(num_rows, UNKNOWN, dtype=np.int64)
        truth[rows] = self.ids(card)
        return truth


def read_checked(file: Path) -> CheckedLabels:
    """Read a CSV file with the columns path,label or index,label.

    Raises:
        UserError: it is missing, unreadable, empty, or has other columns.
    """
    name = f"--clean-labels {file}"
    columns, rows = read_rows(file, name)
    by = next((column for column in ("path", "index") if column in columns), None)
    if by is None or "label" not in columns:
        raise UserError(
            f"{name}: columns {', '.join(columns) or 'none'}; expected path,label or index,label, separated by commas"
        )
    if len(rows) < 2:
        raise UserError(f"{name}: {len(rows)} checked images; at least 2 are needed")
    bad = [row for row, cells in enumerate(rows) if not cells[by] or (by == "index" and not _is_index(cells[by]))]
    if bad:
        raise UserError(f"{name}: line {bad[0] + 2} has no proper {by} ({len(bad)} such lines)")
    return CheckedLabels(file, by, [row[by] for row in rows], [row["label"] for row in rows])


def _is_index(text: str) -> bool:
    return text.isdecimal() and len(text) < 16  # more digits are no row of anything, and overflow int64


def file_hash(file: Path) -> str:
    """sha256 of the file: it is part of what a run is."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except (OSError, ValueError) as error:
        raise UserError(f"--clean-labels {file}: cannot be read ({one_line(error)})") from error
