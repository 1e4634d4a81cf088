"""The same picture in several places of a user's own images: in both parts, under two labels, checked and not."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from noisybench.core.file_names import shown_file
from noisybench.data.contents import Contents
from noisybench.data.listing import Listing, Part, Report

OF_TRAINING = "copies of another training image"
OF_TEST = "copies of a test image"
OF_CHECKED = "copies of a checked image"
IN_TEST = "copies of another image of the test part"
TWO_LABELS = "one picture under several labels"


def without_copies(listing: Listing, contents: dict[str, Contents], report: Report) -> dict[str, np.ndarray]:
    """Rows (int64, sorted) of each part that stay, so that no picture is there twice; the others are left out.

    A checked image stays before all others, a test image before those of the train part. A picture that stands under
    several labels, none of them checked, goes altogether: nobody knows which of them is right.

    Args:
        listing: a user's own images.
        contents: what the files of each part hold.
        report: files that are left out, and a problem where one picture is checked twice.
    """
    places = defaultdict(list)
    for name in listing.parts:
        for row, picture in enumerate(contents[name].pictures):
            places[picture.tobytes()].append((name, row))
    gone: dict[str, dict[int, str]] = {name: {} for name in listing.parts}
    for copies in places.values():
        if len(copies) > 1:
            _choose(listing, copies, gone, report)
    for name, part in listing.parts.items():
        for row, reason in sorted(gone[name].items()):
            report.leave_out(reason, part.names[row])
    return {name: np.setdiff1d(np.arange(len(part.names)), list(gone[name])) for name, part in listing.parts.items()}


def _choose(listing: Listing, copies: list[tuple[str, int]], gone: dict[str, dict[int, str]], report: Report) -> None:
    """Which of the places of one picture go, and why."""
    of_train = [row for name, row in copies if name == "train"]
    of_test = [row for name, row in copies if name == "test"]
    train, test = listing.parts["train"], listing.parts.get("test")
    checked = [row for row in of_train if train.truth[row] >= 0]
    if len(checked) > 1:
        first, second = (shown_file(train.names[row]) for row in checked[:2])
        report.problems.append(f"{first} and {second} are the same picture and both checked: leave one of them out")
    if checked:
        gone["train"] |= {row: OF_CHECKED for row in of_train if row not in checked}
        gone.get("test", {}).update({row: OF_CHECKED for row in of_test})
        return
    if test is not None and of_test and _one_label(test, of_test):
        gone["test"] |= dict.fromkeys(of_test[1:], IN_TEST)
        gone["train"] |= dict.fromkeys(of_train, OF_TEST)
        return
    gone.get("test", {}).update(dict.fromkeys(of_test, TWO_LABELS))
    if of_train:
        agree = _one_label(train, of_train)
        gone["train"] |= dict.fromkeys(of_train[1:], OF_TRAINING) if agree else dict.fromkeys(of_train, TWO_LABELS)


def _one_label(part: Part, rows: list[int]) -> bool:
    return len(set(part.labels[rows].tolist())) == 1


def pictures_in_both(hashes: dict[str, list[bytes | None]]) -> list[str]:
    """One line for each pair of a published dataset's parts that have pictures in common, pixel for pixel.

    Args:
        hashes: of the images of each part, in order.
    """
    lines, names = [], list(hashes)
    for place, name in enumerate(names):
        for other in names[place + 1 :]:
            here = {digest: row for row, digest in reversed(list(enumerate(hashes[name]))) if digest is not None}
            both = [(here[digest], row) for row, digest in enumerate(hashes[other]) if digest in here]
            if both:
                lines.append(
                    f"{len(both):,} images of the {other} part are in the {name} part too, pixel for pixel; the first "
                    f"is row {both[0][1]} there and row {both[0][0]} here"
                )
    return lines
