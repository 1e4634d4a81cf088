"""Opening a dataset that is image files on disk: find the folder, read its layout, refuse what is wrong."""

from __future__ import annotations

from pathlib import Path

from noisybench.core.errors import UserError
from noisybench.data.decode import Preprocess
from noisybench.data.layouts.read import read_layout
from noisybench.data.listing import Listing, Report
from noisybench.data.pixels import ImageFiles, StreamedPixels
from noisybench.spec.cards import DatasetCard
from noisybench.spec.checked_labels import CheckedLabels
from noisybench.spec.user_images import is_own, own_path


class OpenListing(Listing):
    """A listing whose images can be read."""

    def pixels(self, name: str, preprocess: Preprocess) -> StreamedPixels:
        """One part's images, still encoded."""
        return StreamedPixels(ImageFiles(self.root, self.parts[name].names), preprocess, str(self.root))


def dataset_root(card: DatasetCard, data_path: Path | None) -> Path:
    """The folder (or CSV file) a dataset on disk is read from.

    Raises:
        UserError: it is not given, given twice, or does not exist.
    """
    if is_own(card.name):
        if data_path is not None:
            raise UserError(f"--data-path {data_path}: dataset {card.name!r} names its folder itself; leave it out")
        return own_path(card.name)
    if data_path is None:
        raise UserError(f"dataset {card.name!r} is read from disk: give --data-path. {card.obtain}")
    if not data_path.is_dir():
        raise UserError(f"--data-path {data_path}: no such folder; give the folder that holds {card.name}'s files")
    return data_path


def read_listing(card: DatasetCard, root: Path, checked: CheckedLabels | None, report: Report) -> OpenListing | None:
    """Read a layout and check it; problems go to the report. No image is decoded."""
    if checked is not None and checked.by == "index" and is_own(card.name):
        raise UserError(f"--clean-labels {checked.file}: own images have no fixed index; give columns path,label")
    listing = read_layout(card, root, checked, report)
    if listing is None:
        return None
    listing.check(card, report)
    return OpenListing(listing.root, listing.parts)


def open_files(card: DatasetCard, data_path: Path | None, checked: CheckedLabels | None) -> OpenListing:
    """Read a layout.

    Raises:
        UserError: something is missing or wrong; one line with the first problem.
    """
    root = dataset_root(card, data_path)
    report = Report()
    listing = read_listing(card, root, checked, report)
    report.refuse(str(root), card.name)
    return listing
