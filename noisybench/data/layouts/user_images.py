"""Anybody's own images: ``imagefolder:PATH`` and ``csv:FILE``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from noisybench.core import rng
from noisybench.core.shares import stratified_draw
from noisybench.data.listing import Listing, Part, Report
from noisybench.spec.cards import DatasetCard
from noisybench.spec.checked_labels import CheckedLabels
from noisybench.spec.user_images import class_folders, csv_rows

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
TEST_SHARE = 0.2  # of images that come without a test part


def read_imagefolder(card: DatasetCard, root: Path, checked: CheckedLabels | None, report: Report) -> Listing | None:
    """A folder for each class, below ``train`` (and ``test``) or directly."""
    if not (root / "train").is_dir():
        return _with_test(root, _class_folders(card, root, "", report), None, card, checked)
    train = _class_folders(card, root, "train/", report)
    has_test = (root / "test").is_dir()
    return _with_test(root, train, _class_folders(card, root, "test/", report) if has_test else None, card, checked)


def read_csv(card: DatasetCard, file: Path, checked: CheckedLabels | None, report: Report) -> Listing | None:
    """Columns path (relative to the CSV's folder), label (a name or a number) and, if there is one, split."""
    rows = csv_rows(file)
    ids = {name: number for number, name in enumerate(card.classes)}
    splits = np.array([row.get("split") or "train" for row in rows])
    strange = [split for split in splits if split not in ("train", "test")]
    if strange:
        report.problems.append(
            f"{len(strange)} of {len(rows)} rows have a split that is neither train nor test, the first {strange[0]!r}"
        )
        return None
    everything = Part([row["path"] for row in rows], np.array([ids[row["label"]] for row in rows], dtype=np.int64))
    train, test = (everything.take(np.flatnonzero(splits == name)) for name in ("train", "test"))
    return _with_test(file.parent, train, test if test.names else None, card, checked)


def image_names(folder: Path, report: Report) -> list[str]:
    """Sorted names of the images directly in a folder; other files are counted in a note."""
    files = sorted(entry.name for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))
    images = [name for name in files if Path(name).suffix.lower() in IMAGE_SUFFIXES]
    if len(images) < len(files):
        other = next(name for name in files if Path(name).suffix.lower() not in IMAGE_SUFFIXES)
        report.notes.append(f"{folder}: {len(files) - len(images)} files are no images and left out, e.g. {other}")
    return images


def _class_folders(card: DatasetCard, root: Path, below: str, report: Report) -> Part:
    names, labels = [], []
    strange = [folder for folder in class_folders(root / below) if folder not in card.classes]
    if strange:
        report.problems.append(f"{below}{strange[0]} is no class of the train part ({len(strange)} such folders)")
    for number, title in enumerate(card.classes):
        folder = root / below / title
        found = image_names(folder, report) if folder.is_dir() else []
        names += [f"{below}{title}/{file}" for file in found]
        labels += [number] * len(found)
    return Part(names, np.array(labels, dtype=np.int64))


def _with_test(root: Path, train: Part, test: Part | None, card: DatasetCard, checked: CheckedLabels | None) -> Listing:
    """Where there is no test part, a stratified fifth of the unchecked images is it, drawn with a fixed key.

    Its labels are as doubtful as all others.
    """
    if test is None:
        free = np.arange(len(train.names))
        if checked is not None:
            taken = set(checked.rows_of(train.names, root).tolist())
            free = np.array([row for row in free if row not in taken], dtype=np.int64)
        size = int(TEST_SHARE * len(free))
        drawn = free[stratified_draw(train.labels[free], size, rng.generator(0, "own-test"))] if size else free[:0]
        test = train.take(np.sort(drawn))
        train = train.take(np.setdiff1d(np.arange(len(train.names)), drawn))
    return Listing(root, {"train": train, "test": test})
