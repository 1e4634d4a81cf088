"""Datasets read from the folders their authors distribute, without copying an image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from noisybench.data.layouts.animal10n import read_animal10n
from noisybench.data.layouts.clothing1m import read_clothing1m
from noisybench.data.layouts.food101n import read_food101n
from noisybench.data.layouts.user_images import read_csv, read_imagefolder
from noisybench.data.layouts.webvision import read_webvision
from noisybench.data.listing import Listing, Report
from noisybench.spec.cards import DatasetCard
from noisybench.spec.checked_labels import CheckedLabels

# A reader takes the card, the folder (or CSV file), the user's checked labels if there are any, and the report that
# it writes problems to; it returns None where they leave nothing to list.
Reader = Callable[[DatasetCard, Path, CheckedLabels | None, Report], Listing | None]

LAYOUTS: dict[str, Reader] = {
    "clothing1m": read_clothing1m,
    "food101n": read_food101n,
    "animal10n": read_animal10n,
    "webvision": read_webvision,
    "imagefolder": read_imagefolder,
    "csv": read_csv,
}

__all__ = ["LAYOUTS"]
