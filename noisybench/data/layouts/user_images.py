"""Anybody's own images: ``imagefolder:PATH`` and ``csv:FILE``."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path

import numpy as np

from noisybench.core.file_names import shown_file, spellings
from noisybench.data.listing import Listing, Part, Report
from noisybench.spec.cards import DatasetCard
from noisybench.spec.checked_labels import CheckedLabels
from noisybench.spec.user_images import ImageRow, csv_rows, entries, image_folder, is_image

BELOW = "in folders that are not read"
HIDDEN = "hidden"
DANGLING = "links to nothing"
SPECIAL = "no regular files"
OTHER = "no image by their name"
BESIDE = "in no class's folder"
TWICE = "listed twice"


def read_imagefolder(card: DatasetCard, root: Path, checked: CheckedLabels | None, report: Report) -> Listing | None:
    """A folder for each class, below ``train`` (and ``test``) or directly."""
    found = image_folder(root)
    parts = {"train": _class_folders(card, root, found.train, report)}
    if found.test is not None:
        parts["test"] = _class_folders(card, root, found.test, report)
    read = {folder for part in (found.train, found.test or {}) for folder in part.values()}
    for below in {posixpath.dirname(folder) for folder in read} | {""}:
        _leave_out_beside(root, below, read | {posixpath.dirname(folder) for folder in read}, report)
    return Listing(root, parts)


def read_csv(card: DatasetCard, file: Path, checked: CheckedLabels | None, report: Report) -> Listing | None:
    """Columns path (relative to the CSV's folder), label (a class's name) and, if there is one, split."""
    ids = {name: number for number, name in enumerate(card.classes)}
    first: dict[str, ImageRow] = {}
    for row in csv_rows(file):
        path = next((name for name in spellings(row.path) if os.path.lexists(file.parent / name)), row.path)
        other = first.setdefault(path, row)
        if other is row:
            continue
        if (other.label, other.split) != (row.label, row.split):
            report.problems.append(
                f"{shown_file(path)} is listed twice: as {other.label!r} ({other.split}) in line {other.line} and as "
                f"{row.label!r} ({row.split}) in line {row.line}"
            )
        else:
            report.leave_out(TWICE, row.path)
    if report.problems:
        return None
    parts = {}
    for split in ("train", "test"):
        rows = {path: row for path, row in first.items() if row.split == split}
        if rows or split == "train":
            parts[split] = Part(list(rows), np.array([ids[row.label] for row in rows.values()], dtype=np.int64))
    return Listing(file.parent, parts)


def image_names(root: Path, below: str, report: Report) -> list[str]:
    """Sorted names, relative to the root, of the images directly in a folder; what else is there is left out."""
    names = []
    for entry in entries(root / below):
        name = posixpath.join(below, entry.name)
        if os.path.isdir(entry.path):
            _leave_out_below(root, name, HIDDEN if entry.name.startswith(".") else BELOW, report)
        elif entry.name.startswith("."):
            report.leave_out(HIDDEN, name)
        elif not os.path.exists(entry.path):
            report.leave_out(DANGLING, name)
        elif not os.path.isfile(entry.path):
            report.leave_out(SPECIAL, name)
        elif not is_image(entry.name):
            report.leave_out(OTHER, name)
        else:
            names.append(name)
    return names


def _class_folders(card: DatasetCard, root: Path, folders: dict[str, str], report: Report) -> Part:
    names, labels = [], []
    strange = [folder for title, folder in folders.items() if title not in card.classes]
    if strange:
        report.problems.append(f"{shown_file(strange[0])} is no class of the train part ({len(strange)} such folders)")
    for number, title in enumerate(card.classes):
        found = image_names(root, folders[title], report) if title in folders else []
        names += found
        labels += [number] * len(found)
    return Part(names, np.array(labels, dtype=np.int64))


def _leave_out_beside(root: Path, below: str, read: set[str], report: Report) -> None:
    """Leave out what lies beside the folders that are read."""
    for entry in entries(root / below):
        name = posixpath.join(below, entry.name)
        if name in read:
            continue
        if os.path.isdir(entry.path):
            _leave_out_below(root, name, HIDDEN if entry.name.startswith(".") else BELOW, report)
        else:
            report.leave_out(HIDDEN if entry.name.startswith(".") else BESIDE, name)


def _leave_out_below(root: Path, folder: str, reason: str, report: Report) -> None:
    """Leave out every file below a folder; a link to a folder is one of them, and not followed."""
    if os.path.islink(root / folder):
        report.leave_out(reason, folder)
        return
    for place, folders, files in os.walk(root / folder):
        below = posixpath.join(folder, os.path.relpath(place, root / folder))
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in sorted([*files, *links]):
            report.leave_out(reason, posixpath.normpath(posixpath.join(below, name)))
