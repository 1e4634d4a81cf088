"""Clothing1M (Xiao et al., CVPR 2015): key lists, and files of path and label."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from noisybench.core import rng
from noisybench.core.file_names import shown_file
from noisybench.data.listing import UNKNOWN, Listing, Part, Report, inside, list_file, parse_labels
from noisybench.spec.cards import DatasetCard
from noisybench.spec.checked_labels import CheckedLabels


def read_clothing1m(card: DatasetCard, root: Path, checked: CheckedLabels | None, report: Report) -> Listing | None:
    """Noisy list = train part, clean validation list = clean part, clean test list = test part.

    Variants: ``50k`` adds the clean train list, and any train image with a clean label gets that one. ``balanced``
    keeps m images of each noisy class, m being the size of the smallest class over all of noisy_label_kv.txt (the MSLG
    authors keep the first m of a shuffled list; the draw here has a fixed key of its own).
    """
    listed = {
        name: list_file(root, card, f"{name}_key_list.txt", report)
        for name in ("noisy_train", "clean_val", "clean_test", *(("clean_train",) if card.variant == "50k" else ()))
    }
    noisy = _labels(root, card, "noisy_label_kv.txt", report)
    clean = _labels(root, card, "clean_label_kv.txt", report)
    keys: dict[str, list[str]] = {}
    if not report.problems:
        keys = {name: inside(lines or [], f"{name}_key_list.txt", report) for name, lines in listed.items()}
    if report.problems:
        return None

    train, truth = keys["noisy_train"], np.full(len(keys["noisy_train"]), UNKNOWN)
    shipped = noisy
    if card.variant == "50k":
        train = list(dict.fromkeys(train + keys["clean_train"]))
        truth = np.array([clean.get(key, UNKNOWN) for key in train], dtype=np.int64)
        shipped = noisy | clean
    train_labels = _look_up(train, shipped, "noisy_train_key_list.txt", "label file", report)
    clean_labels = _look_up(keys["clean_val"], clean, "clean_val_key_list.txt", "clean_label_kv.txt", report)
    test_labels = _look_up(keys["clean_test"], clean, "clean_test_key_list.txt", "clean_label_kv.txt", report)
    if report.problems:
        return None
    part = Part(train, train_labels, truth)
    if card.variant == "balanced":
        smallest = np.bincount(list(noisy.values()), minlength=len(card.classes)).min()
        part = part.take(_balanced(train_labels, int(smallest), len(card.classes)))
    return Listing(
        root,
        {
            "train": part,
            "test": Part(keys["clean_test"], test_labels, test_labels),
            "clean": Part(keys["clean_val"], clean_labels, clean_labels),
        },
    )


def _labels(root: Path, card: DatasetCard, name: str, report: Report) -> dict[str, int]:
    lines = list_file(root, card, name, report)
    if lines is None:
        return {}
    pairs = [line.split() for line in lines]
    odd = [row for row, pair in enumerate(pairs) if len(pair) != 2]
    if odd:
        report.problems.append(f"{name}: {len(odd)} lines are not 'path label', the first is line {odd[0] + 1}")
        return {}
    labels = parse_labels([label for _, label in pairs], len(card.classes), name, report)
    if labels is None:
        return {}
    found: dict[str, int] = {}
    changed = []
    for key, label in zip(inside([key for key, _ in pairs], name, report), labels.tolist(), strict=True):
        if found.get(key, label) != label:
            changed.append(key)
        found[key] = label
    if changed:
        report.notes.append(
            f"{name}: {len(changed)} images have two labels, the first {shown_file(changed[0])}; the later one is taken"
        )
    return found


def _look_up(keys: list[str], labels: dict[str, int], list_name: str, label_name: str, report: Report):
    without = [key for key in keys if key not in labels]
    if without:
        report.problems.append(
            f"{list_name}: {len(without)} of {len(keys)} keys have no label in the {label_name}, the first "
            f"{shown_file(without[0])}"
        )
        return None
    return np.array([labels[key] for key in keys], dtype=np.int64)


def _balanced(labels: np.ndarray, size: int, num_classes: int) -> np.ndarray:
    """Rows (sorted) of ``size`` images of each class, or of all where there are fewer, by a fixed key."""
    order = rng.permutation(len(labels), 0, "clothing1m-balanced")
    kept = [order[labels[order] == number][:size] for number in range(num_classes)]
    return np.sort(np.concatenate(kept))
