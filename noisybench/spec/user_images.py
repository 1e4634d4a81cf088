"""Anybody's own images, ``imagefolder:PATH`` and ``csv:FILE``: their names, and cards built from what is there."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from noisybench.core.errors import UserError, one_line
from noisybench.core.file_names import composed, escaped, written_name
from noisybench.spec.cards import DatasetCard, SplitSizes
from noisybench.spec.csv_tables import read_rows

OWN_KINDS = ("imagefolder", "csv")
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
TEST_SHARE = 0.2  # of images that come without a test part
PART_FOLDERS = {"train", "training", "test", "testing", "val", "valid", "validation"}
NO_LABELS = {"nan", "<na>", "n/a", "#n/a", "null"}  # how tables write that there is none


def is_own(dataset: str) -> bool:
    """Whether a dataset's name is ``imagefolder:PATH`` or ``csv:FILE``."""
    return dataset.partition(":")[0] in OWN_KINDS and ":" in dataset


def own_path(dataset: str) -> Path:
    """The folder or file that the name of an own dataset points to.

    Raises:
        UserError: it names none.
    """
    named = dataset.partition(":")[2]
    if not named.strip():
        raise UserError(f"dataset {dataset!r}: no path after the colon")
    try:
        return Path(named).expanduser()
    except RuntimeError as error:
        raise UserError(f"dataset {dataset!r}: {one_line(error)[:-1].lower()}") from error


def own_card(dataset: str) -> DatasetCard:
    """A card for a user's own images.

    Raises:
        UserError: the folder or file is missing, or holds fewer than two classes.
    """
    kind, path = dataset.partition(":")[0], own_path(dataset)
    if kind == "imagefolder":
        classes = list(image_folder(path).train)
        hint = f"expected {path}/train/CLASS/*.jpg or {path}/CLASS/*.jpg"
    else:
        classes, hint = class_order({row.label for row in csv_rows(path)}), "expected columns path,label[,split]"
    if len(classes) < 2:
        raise UserError(f"dataset {dataset!r}: {len(classes)} classes found, at least 2 are needed; {hint}")
    return DatasetCard(
        name=dataset,
        title=f"Own images in {path}",
        source=kind,
        classes=classes,
        image_size=224,
        resize=256,
        channels=3,
        labels="unknown",
        mean=[0.485, 0.456, 0.406],
        std=[0.229, 0.224, 0.225],
        licence="the user's own",
        homepage="",
        splits=SplitSizes(meta_size=0, noisy_val_size=0, clean_val_size=0),
        defaults={
            "noise": "none",
            "model": "resnet18",
            "batch_size": 32,
            "epochs": 30,
            "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4},
            "schedule": {"name": "cosine"},
            "augment": {"horizontal_flip": True},
        },
    )


def own_train_size(dataset: str, checked: int) -> int:
    """How many training images a user's own images make, by their names alone.

    Args:
        checked: how many of them are checked: those never go to a test part that is drawn.
    """
    path = own_path(dataset)
    if dataset.partition(":")[0] == "csv":
        rows = csv_rows(path)
        size, has_test = len({row.path for row in rows if row.split == "train"}), any(r.split == "test" for r in rows)
    else:
        found = image_folder(path)
        size = sum(
            is_image(entry.name) and os.path.isfile(entry.path)
            for folder in found.train.values()
            for entry in entries(path / folder)
        )
        has_test = found.test is not None
    return size if has_test else size - drawn_test_size(size - checked)


def drawn_test_size(free: int) -> int:
    """Images of the test part that is drawn where none is given.

    Args:
        free: how many images it is drawn from.
    """
    return int(TEST_SHARE * max(free, 0))


def class_order(names: Iterable[str]) -> list[str]:
    """Names of classes in the order of their ids: by number if all are numbers, else by name."""
    names = sorted(names)
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else names


@dataclass(frozen=True)
class ImageFolder:
    """A folder of own images.

    Attributes:
        train: the folder of each class relative to the root, by the class's name, in the order of the ids.
        test: the same for the test part; None if there is none.
    """

    train: dict[str, str]
    test: dict[str, str] | None


def image_folder(root: Path) -> ImageFolder:
    """Find the class folders: below ``train`` and ``test``, or directly.

    Raises:
        UserError: the folder is missing or cannot be read, two folders have one name, or it is not to be told which
            folders are classes.
    """
    if not os.path.isdir(root):
        raise UserError(f"imagefolder:{root}: no such folder")
    folders = {entry.name for entry in entries(root) if os.path.isdir(entry.path)}
    if "train" in folders:
        return ImageFolder(_class_folders(root, "train/"), _class_folders(root, "test/") if "test" in folders else None)
    parts = sorted(name for name in folders if name.casefold() in PART_FOLDERS)
    if parts:
        raise UserError(
            f"imagefolder:{root}: holds {', '.join(parts)} and no folder train; expected {root}/train/CLASS (and "
            f"{root}/test/CLASS), or class folders alone"
        )
    return ImageFolder(_class_folders(root, ""), None)


def _class_folders(root: Path, below: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in entries(root / below):
        if entry.name.startswith(".") or not os.path.isdir(entry.path):
            continue
        title = class_title(written_name(entry.name))
        if title in found:
            other = posixpath.basename(found[title])
            raise UserError(
                f"{root / below}: the folders {ascii(other)} and {ascii(entry.name)} are one class (they differ in "
                "spaces or in the form of their letters alone): put their images together"
            )
        found[title] = f"{below}{entry.name}"
    return {title: found[title] for title in class_order(found)}


def class_title(name: str) -> str:
    """The name of a class as it is compared and written: composed, printable, without spaces around it."""
    return escaped(composed(name.strip()))


def entries(folder: Path) -> list[os.DirEntry]:
    """What is in a folder, by name.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({(error.strerror or str(error)).lower()})") from error


def is_image(name: str) -> bool:
    """Whether a file is read as an image, by its name."""
    return not name.startswith(".") and posixpath.splitext(name)[1].lower() in IMAGE_SUFFIXES


@dataclass(frozen=True)
class ImageRow:
    """A row of a CSV file of images.

    Attributes:
        path: relative to the CSV's folder, without detours; absolute where it is not below it.
        label: a class's name.
        split: ``"train"`` or ``"test"``.
        line: of the CSV file, counted from 1; where cells hold line breaks, of the table.
    """

    path: str
    label: str
    split: str
    line: int


def csv_rows(file: Path) -> list[ImageRow]:
    """The rows of a CSV file of images.

    Raises:
        UserError: it is missing or unreadable, or a column or a cell is missing or wrong.
    """
    columns, table = read_rows(file, str(file))
    missing = [name for name in ("path", "label") if name not in columns]
    if missing:
        raise UserError(
            f"{file}: no column {missing[0]!r}; found {', '.join(columns) or 'none'}; expected path,label[,split], "
            "separated by commas"
        )
    rows, wrong = [], []
    for line, cells in enumerate(table, start=2):
        split = (cells.get("split") or "train").casefold()
        if not cells["path"] or not cells["label"]:
            wrong.append(f"line {line} has no path or no label")
        elif cells["label"].casefold() in NO_LABELS:
            wrong.append(f"line {line} has label {cells['label']!r}, as tables write a missing one")
        elif split not in ("train", "test"):
            wrong.append(f"line {line} has split {cells['split']!r}, which is neither train nor test")
        else:
            path = relative_name(cells["path"], file.parent)
            rows.append(ImageRow(path, class_title(cells["label"]), split, line))
    if wrong:
        raise UserError(f"{file}: {wrong[0]} ({len(wrong)} of {len(table)} rows are wrong)")
    return rows


def relative_name(text: str, root: Path) -> str:
    """The name of a file as a list gives it, relative to the list's folder and without detours like ``./``."""
    name = posixpath.normpath(text)
    if posixpath.isabs(name):
        for base in (posixpath.abspath(root), posixpath.realpath(root)):
            if name.startswith(f"{base}/"):
                return name[len(base) + 1 :]
    return name
