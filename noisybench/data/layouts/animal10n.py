"""ANIMAL-10N (Song et al., ICML 2019): two folders of images named LABEL_ID.jpg."""

from __future__ import annotations

import posixpath
from pathlib import Path

from noisybench.data.layouts.user_images import image_names
from noisybench.data.listing import Listing, Part, Report, parse_labels
from noisybench.data.promises import promised_entries
from noisybench.spec.cards import DatasetCard
from noisybench.spec.checked_labels import CheckedLabels


def read_animal10n(card: DatasetCard, root: Path, checked: CheckedLabels | None, report: Report) -> Listing | None:
    """``training`` is the noisy train part, ``testing`` the clean test part."""
    parts = {}
    for name, expected in zip(("train", "test"), card.files, strict=True):
        if not (root / expected.path).is_dir():
            report.problems.append(f"{expected.path}/ is missing ({expected.entries:,} {expected.what})")
            continue
        names = image_names(root, expected.path, report)
        report.problems += promised_entries(len(names), expected.entries, f"{expected.path}/")
        texts = [posixpath.basename(file).partition("_")[0] for file in names]
        labels = parse_labels(texts, len(card.classes), f"file names in {expected.path}/", report)
        if labels is not None:
            parts[name] = Part(names, labels)
    if report.problems:
        return None
    parts["test"].truth = parts["test"].labels
    return Listing(root, parts)
