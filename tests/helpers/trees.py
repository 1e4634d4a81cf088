"""Small datasets in the exact layouts their authors distribute, generated for tests."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image

from noisybench.spec import registry


def photo(file: Path, label: int, row: int, size: tuple[int, int] = (40, 30), *, spread: float = 0.0) -> None:
    """A JPEG whose colours depend on the label, with noise of its own; ``spread`` makes classes overlap."""
    file.parent.mkdir(parents=True, exist_ok=True)
    drawn = np.random.default_rng(1000 * label + row)
    colour = np.random.default_rng(label).integers(40, 216, 3) + drawn.normal(0, spread, 3)
    pixels = np.clip(colour + drawn.normal(0, 25, (size[1], size[0], 3)), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(file, quality=90)


def clothing1m(
    root: Path, *, noisy: int = 140, clean_val: int = 56, clean_test: int = 28, clean_train: int = 28
) -> Path:
    """Key lists, label files, and images/0/… ; class r mod 14; every third noisy label is one too high."""
    keys = {"noisy_train": noisy, "clean_val": clean_val, "clean_test": clean_test, "clean_train": clean_train}
    noisy_kv, clean_kv = [], []
    for part, size in keys.items():
        names = []
        for row in range(size):
            name = f"images/{row % 10}/{part}_{row}.jpg"
            photo(root / name, row % 14, row)
            names.append(name)
            if part == "noisy_train":
                noisy_kv.append(f"{name} {(row % 14 + (row % 3 == 0)) % 14}")
            else:
                clean_kv.append(f"{name} {row % 14}")
        (root / f"{part}_key_list.txt").write_text("\n".join(names) + "\n")
    (root / "noisy_label_kv.txt").write_text("\n".join(noisy_kv) + "\n")
    (root / "clean_label_kv.txt").write_text("\n".join(clean_kv) + "\n")
    return root


def food101n(root: Path, *, per_class: int = 3, food101: bool = True) -> Path:
    """Food-101N_release: the first image of each class is in verified_train (every fifth flagged 0), the second in
    verified_val (likewise); and Food-101's test list with one image of each class."""
    classes = registry.dataset_card("food101n").classes
    keys, verified = [], {"train": [], "val": []}
    for label, name in enumerate(classes):
        for row in range(per_class):
            key = f"{name}/{label}_{row}.jpg"
            photo(root / "images" / key, label, row)
            keys.append(key)
            if row < 2:
                verified["train" if row == 0 else "val"].append(f"{key}\t{int(label % 5 != 0)}")
    meta = root / "meta"
    meta.mkdir(parents=True)
    (meta / "imagelist.tsv").write_text("\n".join(["class_name/key", *keys]) + "\n")
    for part, lines in verified.items():
        (meta / f"verified_{part}.tsv").write_text("\n".join(["class_name/key\tverification_label", *lines]) + "\n")
    if food101:
        for label, name in enumerate(classes):
            photo(root / "food-101" / "images" / name / f"{label}.jpg", label, 99)
        (root / "food-101" / "meta").mkdir()
        (root / "food-101" / "meta" / "test.txt").write_text(
            "\n".join(f"{name}/{label}" for label, name in enumerate(classes)) + "\n"
        )
    return root


def animal10n(root: Path, *, train: int = 40, test: int = 20) -> Path:
    """training/ and testing/ with files LABEL_ID.jpg."""
    for folder, size in (("training", train), ("testing", test)):
        for row in range(size):
            photo(root / folder / f"{row % 10}_{row}.jpg", row % 10, row, (64, 64))
    return root


def webvision(root: Path, *, classes: int = 52) -> Path:
    """Google's train list and the validation list over the first 52 classes, of which 50 are used."""
    lists = {"train_filelist_google": [], "val_filelist": []}
    for label in range(classes):
        for row in range(2):
            name = f"google/q{label:04}/{row}.jpg"
            lists["train_filelist_google"].append(f"{name} {label}")
            if label < 50:
                photo(root / name, label, row)
        lists["val_filelist"].append(f"val{label:06}.jpg {label}")
        if label < 50:
            photo(root / "val_images_256" / f"val{label:06}.jpg", label, 9)
    (root / "info").mkdir()
    for name, lines in lists.items():
        (root / "info" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return root


def photos(
    root: Path, *, classes: int = 4, per_class: int = 60, wrong: float = 0.15, checked: int = 12, side: int = 32
) -> tuple[Path, Path, set[str]]:
    """A user's folder with planted label errors, and a CSV of checked images.

    Returns:
        (the folder, checked.csv, names of the wrongly labelled images that are not checked).
    """
    drawn = np.random.default_rng(5)
    planted, rows = set(), []
    for label in range(classes):
        for row in range(per_class):
            is_wrong = bool(drawn.random() < wrong)
            given = (label + 1 + int(drawn.integers(classes - 1))) % classes if is_wrong else label
            name = f"class{given}/{label}_{row}.jpg"
            photo(root / name, label, row, (side + 8, side), spread=20.0)
            if row < checked:
                rows.append((name, f"class{label}"))
            elif is_wrong:
                planted.add(name)
    file = root.parent / "checked.csv"
    with open(file, "w", newline="") as opened:
        csv.writer(opened).writerows([("path", "label"), *rows])
    return root, file, planted


def write_image_parquet(folder: Path, sizes: dict[str, int], *, num_classes: int = 10, side: int = 32) -> None:
    """A folder in the Hub's CIFAR-10 form (columns ``img`` and ``label``): class-dependent random PNGs."""
    import datasets
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    drawn = np.random.default_rng(0)
    features = datasets.Features({"img": datasets.Image(), "label": datasets.Value("int64")})
    for split, size in sizes.items():
        rows = {"img": [], "label": []}
        for row in range(size):
            label = row % num_classes
            pixels = drawn.integers(0, 100, (side, side, 3)) + 15 * label
            encoded = io.BytesIO()
            Image.fromarray(pixels.astype(np.uint8)).save(encoded, format="PNG")
            rows["img"].append({"bytes": encoded.getvalue(), "path": None})
            rows["label"].append(label)
        table = datasets.Dataset.from_dict(rows, features=features)
        table.to_parquet(folder / f"{split}-00000-of-00001.parquet")
