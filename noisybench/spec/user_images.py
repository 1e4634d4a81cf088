"""Anybody's own images, ``imagefolder:PATH`` and ``csv:FILE``: their names, and cards built from what is there."""

from __future__ import annotations

import csv
from pathlib import Path

from noisybench.core.errors import UserError
from noisybench.spec.cards import DatasetCard, SplitSizes

KINDS = ("imagefolder", "csv")


def is_own(dataset: str) -> bool:
    """Whether a dataset's name is ``imagefolder:PATH`` or ``csv:FILE``."""
    return dataset.partition(":")[0] in KINDS and ":" in dataset


def own_path(dataset: str) -> Path:
    """The folder or file that the name of an own dataset points to."""
    return Path(dataset.partition(":")[2]).expanduser()


def own_card(dataset: str) -> DatasetCard:
    """A card for a user's own images.

    Raises:
        UserError: the folder or file is missing, or holds fewer than two classes.
    """
    kind, path = dataset.partition(":")[0], own_path(dataset)
    if kind == "imagefolder":
        if not path.is_dir():
            raise UserError(f"dataset {dataset!r}: no such folder")
        classes = class_folders(path / "train" if (path / "train").is_dir() else path)
        hint = f"expected {path}/train/CLASS/*.jpg or {path}/CLASS/*.jpg"
    else:
        classes, hint = _classes(csv_rows(path)), "expected columns path,label[,split]"
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


def class_folders(folder: Path) -> list[str]:
    """Sorted names of the folders in a folder, hidden ones left out."""
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def csv_rows(file: Path) -> list[dict[str, str]]:
    """The rows of a CSV file of images.

    Raises:
        UserError: it is missing or unreadable, or a column or a cell is missing.
    """
    try:
        with open(file, newline="", encoding="utf-8") as opened:
            reader = csv.DictReader(opened)
            missing = [name for name in ("path", "label") if name not in (reader.fieldnames or [])]
            if missing:
                raise UserError(
                    f"{file}: no column {missing[0]!r}; found {', '.join(reader.fieldnames or []) or 'none'}; "
                    "expected path,label[,split]"
                )
            rows = list(reader)
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file}: not a readable CSV file ({error})") from error
    short = [number for number, row in enumerate(rows) if not row["path"] or not row["label"]]
    if short:
        raise UserError(f"{file}: line {short[0] + 2} has no path or no label ({len(short)} such lines)")
    return rows


def _classes(rows: list[dict[str, str]]) -> list[str]:
    """Label names in order: by number if all are numbers."""
    names = {row["label"] for row in rows}
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else sorted(names)
