"""mini-WebVision: the Google images of the first 50 classes of WebVision 1.0 (Li et al. 2017)."""

from __future__ import annotations

from pathlib import Path

from noisybench.data.listing import Listing, Part, Report, inside, list_file, parse_labels
from noisybench.spec.cards import DatasetCard
from noisybench.spec.checked_labels import CheckedLabels

WEBVISION_CLASSES = 1000


def read_webvision(card: DatasetCard, root: Path, checked: CheckedLabels | None, report: Report) -> Listing | None:
    """Google's train list and the validation list, cut to the card's classes."""
    parts = {}
    for name, file, folder in (
        ("train", "info/train_filelist_google.txt", ""),
        ("test", "info/val_filelist.txt", "val_images_256/"),
    ):
        lines = list_file(root, card, file, report)
        if lines is None:
            continue
        pairs = [line.split() for line in lines]
        odd = [row for row, pair in enumerate(pairs) if len(pair) != 2]
        if odd:
            report.problems.append(f"{file}: {len(odd)} lines are not 'path label', the first is line {odd[0] + 1}")
            continue
        labels = parse_labels([label for _, label in pairs], WEBVISION_CLASSES, file, report)
        if labels is None:
            continue
        names = inside([folder + path for path, _ in pairs], file, report)
        kept = [row for row in range(len(names)) if labels[row] < len(card.classes)]
        parts[name] = Part([names[row] for row in kept], labels[kept])
    if report.problems:
        return None
    parts["test"].truth = parts["test"].labels
    return Listing(root, parts)
