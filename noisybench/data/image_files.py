"""Opening a dataset that is image files on disk: find the folder, read its layout, look at the files, refuse what is
wrong."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from noisybench.core import rng
from noisybench.core.errors import UserError
from noisybench.core.file_names import shown_file
from noisybench.core.shares import stratified_draw
from noisybench.data.contents import Contents, look
from noisybench.data.decode import RULES, Preprocess
from noisybench.data.duplicates import without_copies
from noisybench.data.layouts.read import read_layout
from noisybench.data.listing import Listing, Part, Report
from noisybench.data.pixels import ImageFiles, StreamedPixels, refuse_broken
from noisybench.spec.cards import DatasetCard
from noisybench.spec.checked_labels import CheckedLabels
from noisybench.spec.user_images import drawn_test_size, is_own, own_path


@dataclass
class OpenListing(Listing):
    """A listing whose images can be read.

    Attributes:
        contents: what the files of each part hold, once they were looked at.
    """

    contents: dict[str, Contents] = field(default_factory=dict)

    def pixels(self, name: str, preprocess: Preprocess) -> StreamedPixels:
        """One part's images, still encoded."""
        return StreamedPixels(ImageFiles(self.root, self.parts[name].names), preprocess, str(self.root))

    def take(self, rows: dict[str, np.ndarray]) -> OpenListing:
        """These rows of each part."""
        parts = {name: self.parts[name].take(kept) for name, kept in rows.items()}
        contents = {name: self.contents[name].take(kept) for name, kept in rows.items() if name in self.contents}
        return OpenListing(self.root, parts, contents)

    def with_test(self) -> OpenListing:
        """The same; where there is no test part, a stratified fifth of the unchecked images is it, drawn with a fixed
        key. Its labels are as doubtful as all others."""
        if "test" in self.parts:
            return self
        train = self.parts["train"]
        free = np.flatnonzero(train.truth < 0)
        size = drawn_test_size(len(free))
        drawn = np.sort(free[stratified_draw(train.labels[free], size, rng.generator(0, "own-test"))])
        rest = np.setdiff1d(np.arange(len(train.names)), drawn)
        both = OpenListing(self.root, {"train": train, "test": train}, {})
        if self.contents:
            both.contents = {"train": self.contents["train"], "test": self.contents["train"]}
        return both.take({"train": rest, "test": drawn})

    def look(self, preprocess: Preprocess, *, fresh: bool = False) -> dict[str, list[str]]:
        """Look at every file; one line for every image that cannot be used, by part."""
        self.contents = {
            name: look(self.root, part.names, preprocess.refused, fresh=fresh) for name, part in self.parts.items()
        }
        return {
            name: [f"{shown_file(self.parts[name].names[row])} {reason}" for row, reason in found.broken.items()]
            for name, found in self.contents.items()
        }

    def fingerprint(self) -> str:
        """sha256 over the sorted lines ``part, name, sha256 of the file, label, true label`` (tab separated)."""
        digest = hashlib.sha256(f"decoding rules {RULES}\n".encode())
        lines = []
        for name, part in self.parts.items():
            columns = (part.names, self.contents[name].hashes, part.labels.tolist(), part.truth.tolist())
            for file, found, label, truth in zip(*columns, strict=True):
                lines.append(f"{name}\t{file}\t{found.tobytes().hex()}\t{label}\t{truth}\n")
        for line in sorted(lines):
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


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
    if not os.path.isdir(data_path):
        raise UserError(f"--data-path {data_path}: no such folder; give the folder that holds {card.name}'s files")
    return data_path


def read_listing(card: DatasetCard, root: Path, checked: CheckedLabels | None, report: Report) -> OpenListing | None:
    """Read a layout and check it; problems go to the report. No image is decoded.

    Checked labels are the true labels of the train part then, and take the place of clean images of the dataset's own.

    Raises:
        UserError: a checked image is not there.
    """
    if checked is not None and checked.by == "index" and is_own(card.name):
        raise UserError(f"--clean-labels {checked.file}: own images have no fixed index; give columns path,label")
    listing = read_layout(card, root, checked, report)
    if listing is None:
        return None
    listing.check(card, report)
    parts = dict(listing.parts)
    if checked is not None:
        train = parts["train"]
        truth = checked.truth(len(train.names), train.names, listing.root, card)
        parts = {name: part for name, part in parts.items() if name != "clean"}
        parts["train"] = Part(train.names, train.labels, truth)
    return OpenListing(listing.root, parts)


def open_files(card: DatasetCard, data_path: Path | None, checked: CheckedLabels | None) -> tuple[OpenListing, Report]:
    """Read a layout by the names of its files alone.

    Raises:
        UserError: something is missing or wrong; one line with the first problem.
    """
    root = dataset_root(card, data_path)
    report = Report()
    listing = read_listing(card, root, checked, report)
    report.refuse(str(root), card.name)
    assert listing is not None  # else the report has a problem
    return listing, report


def look_at_files(listing: OpenListing, card: DatasetCard, preprocess: Preprocess, report: Report) -> OpenListing:
    """Look at every file of a listing, and of a user's own images leave out those that are there twice.

    Raises:
        UserError: some images cannot be used; names the first, and how many there are.
    """
    for name, lines in listing.look(preprocess).items():
        refuse_broken(str(listing.root), lines, len(listing.parts[name].names))
    if is_own(card.name):
        listing = listing.take(without_copies(listing, listing.contents, report)).with_test()
        listing.check(card, report)
        report.refuse(str(listing.root), card.name)
    return listing
