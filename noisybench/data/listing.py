"""What a dataset on disk holds, read without decoding an image: names, labels, and what is wrong with them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from noisybench.core.errors import UserError
from noisybench.spec.cards import DatasetCard

UNKNOWN = -1  # a true label nobody knows


@dataclass
class Part:
    """One part of a dataset on disk.

    Attributes:
        names: N paths relative to the dataset's folder.
        labels: N int64, the labels the dataset ships.
        truth: N int64, true labels, UNKNOWN where nobody knows.
    """

    names: list[str]
    labels: np.ndarray
    truth: np.ndarray | None = None

    def __post_init__(self):
        self.labels = np.asarray(self.labels, dtype=np.int64)
        if self.truth is None:
            self.truth = np.full(len(self.labels), UNKNOWN)

    def take(self, rows: np.ndarray) -> Part:
        """The part of these rows, in this order."""
        return Part([self.names[row] for row in rows], self.labels[rows], self.truth[rows])


@dataclass
class Report:
    """What was found on disk: problems stop a run, notes do not."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def refuse(self, where: str, name: str) -> None:
        """Raise the first problem, if there is one.

        Raises:
            UserError: one line that says how many more there are and how to see them.
        """
        if not self.problems:
            return
        more = len(self.problems) - 1
        rest = f" (and {more} more; see `noisybench data verify {name}`)" if more else ""
        raise UserError(f"{where}: {self.problems[0]}{rest}")


@dataclass
class Listing:
    """A dataset on disk.

    Attributes:
        root: the folder that names are relative to.
        parts: ``"train"``, ``"test"`` and, where the dataset has its own clean images, ``"clean"``.
    """

    root: Path
    parts: dict[str, Part]

    def check(self, card: DatasetCard, report: Report) -> None:
        """Find empty classes, missing image files and images that are in two parts."""
        train = self.parts["train"]
        counts = np.bincount(train.labels, minlength=len(card.classes))
        empty = [f"{name!r}" for name, count in zip(card.classes, counts, strict=True) if not count]
        if empty:
            report.problems.append(
                f"{len(empty)} of {len(card.classes)} classes have no training image: {_some(empty)}"
            )
        if not self.parts["test"].names:
            report.problems.append("no test images")
        seen: dict[str, str] = {}
        for name, part in self.parts.items():
            missing = [file for file in part.names if not (self.root / file).is_file()]
            if missing:
                report.problems.append(
                    f"{len(missing)} of {len(part.names)} {name} images are missing, the first {missing[0]}"
                )
            twice = [file for file in part.names if seen.setdefault(file, name) != name]
            if twice:
                report.problems.append(
                    f"{len(twice)} images of the {name} part are in the {seen[twice[0]]} part too, the first {twice[0]}"
                )

    def fingerprint(self) -> str:
        """sha256 over the sorted lines ``part, name, size in bytes, label, true label`` (tab separated).

        It names the files and their sizes and reads none: hashing the pixels of a million photographs would cost a
        decode of them all at every start.
        """
        lines = []
        for name, part in self.parts.items():
            for file, label, truth in zip(part.names, part.labels.tolist(), part.truth.tolist(), strict=True):
                lines.append(f"{name}\t{file}\t{os.path.getsize(self.root / file)}\t{label}\t{truth}\n")
        digest = hashlib.sha256()
        for line in sorted(lines):
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def list_file(root: Path, card: DatasetCard, name: str, report: Report) -> list[str] | None:
    """The lines of one of the card's list files; None, and a problem, if it is missing."""
    expected = next(file for file in card.files if file.path == name)
    file = root / name
    try:
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError:
        count = "" if expected.entries is None else f", {expected.entries:,} entries expected"
        report.problems.append(f"{name} is missing ({expected.what}{count})")
        return None
    except (OSError, UnicodeDecodeError) as error:
        report.problems.append(f"{name} cannot be read ({error})")
        return None
    entries = len(lines) - expected.what.startswith("header")
    if expected.entries not in (None, entries):
        report.notes.append(f"{name}: {entries:,} entries, {expected.entries:,} in the full dataset")
    return lines


def parse_labels(texts: Sequence[str], num_classes: int, where: str, report: Report) -> np.ndarray | None:
    """Class ids from text (int64); None, and a problem with the count, if some are no ids of the dataset."""
    ids = {str(number): number for number in range(num_classes)}
    labels = [ids.get(text, UNKNOWN) for text in texts]
    bad = [row for row, label in enumerate(labels) if label == UNKNOWN]
    if bad:
        report.problems.append(
            f"{where}: {len(bad)} of {len(texts)} labels are outside 0..{num_classes - 1}, the first {texts[bad[0]]!r}"
        )
        return None
    return np.array(labels, dtype=np.int64)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
