"""Food-101N (Lee et al., CVPR 2018): a folder for each class, and lists of verified images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from noisybench.core.errors import one_line
from noisybench.core.file_names import shown_file
from noisybench.data.listing import UNKNOWN, Listing, Part, Report, inside, list_file
from noisybench.data.promises import promised_entries
from noisybench.spec.cards import DatasetCard
from noisybench.spec.checked_labels import CheckedLabels

MOST_FOREIGN = 0.1  # share of verified images that may be missing in the image list; the published files lack one


def read_food101n(card: DatasetCard, root: Path, checked: CheckedLabels | None, report: Report) -> Listing | None:
    """Labels are folder names. True labels are known of the verified_train images flagged right.

    The test part is Food-101's test images; under the variants ``verified`` and ``authors`` the verified_val images
    flagged right, which then leave the train part. ``authors`` takes every verified_train image's label for true,
    whatever its flag, as the MSLG authors do.
    """
    listed = list_file(root, card, "meta/imagelist.tsv", report)
    verified = {
        name: _flags(list_file(root, card, f"meta/verified_{name}.tsv", report), f"meta/verified_{name}.tsv", report)
        for name in ("train", "val")
    }
    if listed is None or report.problems:
        return None
    keys = inside([line.strip() for line in listed[1:]], "meta/imagelist.tsv", report)
    labels = _labels(keys, card, "meta/imagelist.tsv", report)
    known = set(keys)
    for name, flags in verified.items():
        foreign = [key for key in flags if key not in known]
        if foreign:
            line = (
                f"meta/verified_{name}.tsv: {len(foreign)} of {len(flags)} images are not in imagelist.tsv, "
                f"the first {shown_file(foreign[0])}"
            )
            if len(foreign) > max(1, MOST_FOREIGN * len(flags)):
                report.problems.append(line)
            else:
                report.notes.append(f"{line}; what is said of them is ignored")
    tested = np.zeros(len(keys), dtype=bool)
    test = None
    if card.variant:
        tested = np.array([verified["val"].get(key) == 1 for key in keys])
    else:
        test = _food101_test(root, card, report)
    if report.problems:
        return None
    trusted = {1} if card.variant != "authors" else {0, 1}
    truth = np.where([verified["train"].get(key) in trusted for key in keys], labels, UNKNOWN)
    everything = Part([f"images/{key}" for key in keys], labels, truth)
    if test is None:
        test = everything.take(np.flatnonzero(tested))
        test.truth = test.labels
    return Listing(root, {"train": everything.take(np.flatnonzero(~tested)), "test": test})


def _flags(lines: list[str] | None, name: str, report: Report) -> dict[str, int]:
    """0 or 1 by key."""
    if lines is None:
        return {}
    cells = [line.split("\t") for line in lines[1:]]
    odd = [row for row, cell in enumerate(cells) if len(cell) != 2 or cell[1].strip() not in ("0", "1")]
    if odd:
        report.problems.append(
            f"{name}: {len(odd)} of {len(cells)} lines are not 'class/file<tab>0 or 1', the first is line {odd[0] + 2}"
        )
        return {}
    return dict(zip(inside([key for key, _ in cells], name, report), (int(flag) for _, flag in cells), strict=True))


def _labels(keys: list[str], card: DatasetCard, name: str, report: Report) -> np.ndarray:
    ids = {title: number for number, title in enumerate(card.classes)}
    labels = np.array([ids.get(key.partition("/")[0], UNKNOWN) for key in keys], dtype=np.int64)
    strange = np.flatnonzero(labels == UNKNOWN)
    if len(strange):
        report.problems.append(
            f"{name}: {len(strange)} of {len(keys)} images are in a folder that is no class, the first "
            f"{shown_file(keys[strange[0]])}"
        )
    return labels


def _food101_test(root: Path, card: DatasetCard, report: Report) -> Part | None:
    """Food-101's test images, in ``food-101`` in the folder or beside it."""
    within = root / "food-101"
    home = within if within.is_dir() or not (root.parent / "food-101").is_dir() else root.parent / "food-101"
    if not (home / "meta" / "test.txt").is_file():
        report.problems.append(
            "food-101/meta/test.txt is missing (Food-101's 25,250 test images): unpack Food-101 there or beside the "
            "folder, or use --dataset food101n-verified, which is tested on verified_val instead"
        )
        return None
    try:
        lines = (home / "meta" / "test.txt").read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        report.problems.append(f"food-101/meta/test.txt cannot be read ({one_line(error)})")
        return None
    expected = next(file.entries for file in card.files if file.path == "food-101/meta/test.txt")
    report.problems += promised_entries(len(lines), expected, "food-101/meta/test.txt")
    lines = inside(lines, "food-101/meta/test.txt", report)
    labels = _labels(lines, card, "food-101/meta/test.txt", report)
    prefix = "food-101" if home == within else "../food-101"
    return Part([f"{prefix}/images/{line}.jpg" for line in lines], labels, labels)
