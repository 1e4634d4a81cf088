"""What ``noisybench data verify`` and ``noisybench data info`` do."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from rich.table import Table

from noisybench.core.console import console, literal, say
from noisybench.core.errors import UserError
from noisybench.core.file_names import shown_file
from noisybench.core.files import replace_file
from noisybench.core.own_outputs import CONTACT_SHEET
from noisybench.data.cifar_archives import find_batches
from noisybench.data.contact_sheet import contact_sheet
from noisybench.data.datasets import BUILT_IN, Dataset, open_dataset, order_fingerprint
from noisybench.data.decode import Preprocess
from noisybench.data.duplicates import pictures_in_both, without_copies
from noisybench.data.image_files import dataset_root, read_listing
from noisybench.data.listing import Report
from noisybench.spec import registry
from noisybench.spec.cards import DatasetCard
from noisybench.spec.user_images import is_own

SHOWN = 20  # names of one kind
SHEET_NAME = 40  # characters of a dataset's name in that of its contact sheet: a path may be long


def verify(name: str, data_path: Path | None) -> bool:
    """Print what is there, what is wrong with it and what is left out; whether all is well. Decodes every image."""
    card = registry.dataset_card(name)
    report = Report()
    if card.source in (*BUILT_IN, "hub"):
        sizes = _verify_table(card, data_path, report)
    else:
        sizes = _verify_files(card, data_path, report)
    say(f"{shown_file(card.name)}: {card.title}")
    for part, size in sizes.items():
        say(f"  {part}: {size:,} images")
    for reason, files in report.left_out.items():
        say(f"  left out, {reason}: {len(files):,}")
        for file in files[:SHOWN]:
            say(f"    {shown_file(file)}")
        if len(files) > SHOWN:
            say(f"    and {len(files) - SHOWN:,} more")
    for note in report.notes:
        say(f"  note: {note}")
    for problem in report.problems:
        say(f"  problem: {problem}")
    if report.problems and card.obtain:
        say(f"  where to get it: {card.obtain} {card.homepage}")
    if not report.problems:
        say("  all there, all images decode")
    return not report.problems


def _verify_table(card: DatasetCard, data_path: Path | None, report: Report) -> dict[str, int]:
    """Images of each part of a dataset whose images are no files."""
    try:
        dataset = open_dataset(card, data_path=data_path)
    except UserError as error:
        report.problems.append(str(error))
        return {}
    hashes = {}
    for part, images in dataset.parts.items():
        found = images.pixels.examine()
        _count_broken(part, [line for line in found if isinstance(line, str)], len(images), report)
        hashes[part] = [None if isinstance(digest, str) else digest for digest in found]
    report.notes += pictures_in_both(hashes)
    return {part: len(images) for part, images in dataset.parts.items()}


def _verify_files(card: DatasetCard, data_path: Path | None, report: Report) -> dict[str, int]:
    """Images of each part of a dataset of files; of a user's own images those that are read."""
    listing = read_listing(card, dataset_root(card, data_path), None, report)
    if listing is None:
        return {}
    for part, lines in listing.look(Preprocess.of(card), fresh=True).items():
        # A missing file is counted among the problems of the listing already.
        broken = [line for line in lines if not line.endswith("(no such file)")]
        _count_broken(part, broken, len(listing.parts[part].names), report)
    if is_own(card.name) and not report.problems:
        listing = listing.take(without_copies(listing, listing.contents, report)).with_test()
        listing.check(card, report)
    elif not is_own(card.name):
        found = {part: [picture.tobytes() for picture in kept.pictures] for part, kept in listing.contents.items()}
        for part, kept in listing.contents.items():
            found[part] = [None if row in kept.broken else picture for row, picture in enumerate(found[part])]
        report.notes += pictures_in_both(found)
    return {part: len(kept.names) for part, kept in listing.parts.items()}


def _count_broken(part: str, lines: list[str], size: int, report: Report) -> None:
    if lines:
        report.problems.append(f"{len(lines)} of {size} {part} images do not decode:")
        report.problems += [f"  {line}" for line in lines[:SHOWN]]
        report.problems += [f"  and {len(lines) - SHOWN} more"] * (len(lines) > SHOWN)


def info(name: str, data_path: Path | None, output: Path | None, *, force: bool = False) -> None:
    """Print class counts and the order of the labels, and write the contact sheet.

    Args:
        output: the contact sheet's file; named after the dataset if not given.
        force: also over a file that is no contact sheet of this tool's.

    Raises:
        UserError: the data is missing or wrong, or the sheet cannot be written.
    """
    card = registry.dataset_card(name)
    output = output or Path(re.sub(r"[^\w.-]+", "-", name)[-SHEET_NAME:] + "-sheet.png")
    CONTACT_SHEET.refuse_foreign(output, force=force)
    dataset = open_dataset(card, data_path=data_path)
    table = Table(title=literal(f"{shown_file(card.name)}: images by label as shipped", "table.title"))
    table.add_column("id", justify="right")
    table.add_column("class")
    counts = [np.bincount(part.labels, minlength=dataset.num_classes) for part in dataset.parts.values()]
    for part in dataset.parts:
        table.add_column(part, justify="right")
    for number, title in enumerate(card.classes):
        table.add_row(str(number), literal(title), *(f"{of_part[number]:,}" for of_part in counts))
    table.add_row("", "all", *(f"{of_part.sum():,}" for of_part in counts))
    console().print(table)
    known = int((dataset.truth >= 0).sum())
    say(f"true labels known of {known:,} of {len(dataset.train):,} train images")
    say(f"decoded: {dataset.decoded_bytes() / 2**20:.0f} MiB of {card.image_size}×{card.image_size} pixels")
    say(_order(card, dataset, data_path))
    for note in dataset.notes:
        say(note)
    try:
        with replace_file(output) as temporary:
            contact_sheet(dataset).save(temporary, format="PNG", pnginfo=CONTACT_SHEET.png_text())
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written ({error.strerror})") from error
    say(f"{output}: contact sheet, one row for each class")


def _order(card: DatasetCard, dataset: Dataset, data_path: Path | None) -> str:
    """One line on the order of the train part."""
    fingerprint = order_fingerprint(dataset.train.labels)
    title = card.orders.get(fingerprint, "no order on the card" if card.orders else "")
    if data_path is not None and find_batches(card, data_path) is not None:
        title = title or "the original archive's"
    return f"order of the train labels: {fingerprint}" + (f" ({title})" if title else "")
