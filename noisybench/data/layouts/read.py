"""Reading a dataset by the layout that its card names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from noisybench.core.errors import UserError, one_line
from noisybench.data.listing import UNKNOWN, Listing, Report
from noisybench.spec import registry
from noisybench.spec.cards import DatasetCard
from noisybench.spec.checked_labels import CheckedLabels
from noisybench.spec.user_images import is_own


def read_layout(card: DatasetCard, root: Path, checked: CheckedLabels | None, report: Report) -> Listing | None:
    """What a dataset on disk holds; None where the report says why that cannot be told.

    Raises:
        UserError: the layout failed, or gave something else than a listing of this dataset's classes.
    """
    layout = registry.load("layout", card.source)
    try:
        listing = layout(card, root, checked, report)
        reason = _reason_against(listing, card, report)
    except UserError:
        raise
    except Exception as error:  # one of another package may raise anything
        raise UserError(
            f"layout {card.source!r} failed on {root}: {type(error).__name__}: {one_line(error)}"
        ) from error
    if reason is not None:
        raise UserError(f"layout {card.source!r} on {root}: {reason}")
    return listing


def _reason_against(listing: object, card: DatasetCard, report: Report) -> str | None:
    """What is wrong with what a layout gave; None if nothing is."""
    if listing is None and report.problems:
        return None
    if not isinstance(listing, Listing):
        return f"gave a {type(listing).__name__} and no problem, where a Listing was to be"
    # A user's own images may come without a test part.
    needed = ("train",) if is_own(card.name) else ("train", "test")
    missing = [name for name in needed if name not in listing.parts]
    if missing:
        return f"its listing has no part {missing[0]!r}"
    for name, part in listing.parts.items():
        truth = part.labels if part.truth is None else part.truth
        if not len(part.names) == len(part.labels) == len(truth):
            sizes = f"{len(part.names)} names, {len(part.labels)} labels and {len(truth)} true labels"
            return f"its part {name!r} has {sizes}"
        for what, labels, least in (("labels", part.labels, 0), ("true labels", truth, UNKNOWN)):
            wrong = np.flatnonzero((labels < least) | (labels >= len(card.classes)))
            if len(wrong):
                return f"{len(wrong)} {what} of its part {name!r} are outside {least}..{len(card.classes) - 1}"
    return None
