"""What a dataset on disk holds, read without decoding an image: names, labels, and what is wrong with them."""

from __future__ import annotations

import os
import posixpath
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from noisybench.core.errors import UserError, one_line
from noisybench.core.file_names import shown_file, written_name
from noisybench.core.files import open_regular
from noisybench.data.promises import broken_promises, promised_entries
from noisybench.spec.cards import DatasetCard
from noisybench.spec.class_labels import UNKNOWN


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
    truth: np.ndarray = None  # type: ignore[assignment]  # UNKNOWN throughout, if not given

    def __post_init__(self) -> None:
        self.labels = np.asarray(self.labels, dtype=np.int64)
        if self.truth is None:
            self.truth = np.full(len(self.labels), UNKNOWN)

    def take(self, rows: np.ndarray) -> Part:
        """The part of these rows, in this order."""
        return Part([self.names[row] for row in rows], self.labels[rows], self.truth[rows])


@dataclass
class Report:
    """What was found on disk: problems stop a run, notes do not.

    Attributes:
        problems, notes: one line each.
        left_out: names of files that are not read, by the reason.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, reason: str, name: str) -> None:
        """A file is not read."""
        self.left_out.setdefault(reason, []).append(name)

    def refuse(self, where: str, name: str) -> None:
        """Raise the first problem, if there is one.

        Raises:
            UserError: one line that says how many more there are and how to see them.
        """
        if not self.problems:
            return
        more = len(self.problems) - 1
        rest = f" (and {more} more; see {_verify(name)})" if more else ""
        left_out = f"; {self._counted()}" if self.left_out else ""
        raise UserError(f"{where}: {self.problems[0]}{rest}{left_out}")

    def told(self, name: str) -> tuple[str, ...]:
        """What a run says of it: the notes, and how many files are left out."""
        if not self.left_out:
            return tuple(self.notes)
        return (*self.notes, f"{self._counted()}; {_verify(name)} names them")

    def _counted(self) -> str:
        count = sum(map(len, self.left_out.values()))
        reasons = ", ".join(f"{len(names):,} {reason}" for reason, names in self.left_out.items())
        return f"{count:,} {'file is' if count == 1 else 'files are'} left out: {reasons}"


@dataclass
class Listing:
    """A dataset on disk.

    Attributes:
        root: the folder that names are relative to.
        parts: ``"train"``, ``"test"`` and, where the dataset has its own clean images, ``"clean"``. A user's own
            images may come without a test part; one is drawn then.
    """

    root: Path
    parts: dict[str, Part]

    def check(self, card: DatasetCard, report: Report) -> None:
        """Find parts of another size than promised, empty classes, missing image files, images in two parts."""
        report.problems += broken_promises(card, {name: len(part.names) for name, part in self.parts.items()})
        counts = np.bincount(self.parts["train"].labels, minlength=len(card.classes))
        empty = [f"'{name}'" for name, count in zip(card.classes, counts, strict=True) if not count]
        if empty:
            report.problems.append(
                f"{len(empty)} of {len(card.classes)} classes have no training image: {_some(empty)}"
            )
        if "test" in self.parts and not self.parts["test"].names:
            report.problems.append("no test images")
        seen: dict[str, str] = {}
        for name, part in self.parts.items():
            missing = [file for file in part.names if not os.path.isfile(self.root / file)]
            if missing:
                report.problems.append(
                    f"{len(missing)} of {len(part.names)} {name} images are missing, the first {shown_file(missing[0])}"
                )
            twice = [file for file in part.names if seen.setdefault(file, name) != name]
            if twice:
                report.problems.append(
                    f"{len(twice)} images of the {name} part are in the {seen[twice[0]]} part too, the first "
                    f"{shown_file(twice[0])}"
                )
            again = len(part.names) - len(set(part.names))
            if again:
                report.notes.append(f"{again} images of the {name} part are listed twice")


def list_file(root: Path, card: DatasetCard, name: str, report: Report) -> list[str] | None:
    """The lines of one of the card's list files; None, and a problem, if it is missing."""
    expected = next(file for file in card.files if file.path == name)
    file = root / name
    try:
        with open_regular(file) as opened:
            lines = [line for line in opened.read().decode("utf-8-sig").splitlines() if line.strip()]
    except FileNotFoundError:
        count = "" if expected.entries is None else f", {expected.entries:,} entries expected"
        report.problems.append(f"{name} is missing ({expected.what}{count})")
        return None
    except (OSError, UnicodeDecodeError, UserError) as error:
        report.problems.append(f"{name} cannot be read ({one_line(error)})")
        return None
    report.problems += promised_entries(len(lines) - expected.what.startswith("header"), expected.entries, name)
    return lines


def inside(names: Sequence[str], where: str, report: Report) -> list[str]:
    """The names of a list without detours like ``./``; a problem if some lead out of the dataset's folder."""
    plain = [posixpath.normpath(name) for name in names]
    out = [name for name in plain if posixpath.isabs(name) or name.startswith("../")]
    if out:
        report.problems.append(
            f"{where}: {len(out)} of {len(plain)} names lead out of the folder, the first {shown_file(out[0])}"
        )
    return plain


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


def _verify(name: str) -> str:
    return f"`noisybench data verify {shlex.quote(written_name(name))}`"


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
