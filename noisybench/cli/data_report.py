"""What ``noisybench data verify`` and ``noisybench data info`` do."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from rich.table import Table

from noisybench.core.console import console, literal, say
from noisybench.core.errors import UserError
from noisybench.core.files import replace_file
from noisybench.data.cifar_archives import find_batches
from noisybench.data.contact_sheet import contact_sheet
from noisybench.data.datasets import BUILT_IN, Dataset, open_dataset, order_fingerprint
from noisybench.data.decode import Preprocess
from noisybench.data.image_files import dataset_root, read_listing
from noisybench.data.listing import Report
from noisybench.data.pixels import StreamedPixels
from noisybench.spec import registry
from noisybench.spec.cards import DatasetCard

SHOWN = 20  # lines of images that do not decode


def verify(name: str, data_path: Path | None) -> bool:
    """Print what is there and what is wrong with it; whether all is well. Decodes every image."""
    card = registry.dataset_card(name)
    report = Report()
    parts = {}
    if card.source in (*BUILT_IN, "hub"):
        try:
            dataset = open_dataset(card, data_path=data_path, image_size=None)
            parts = {part: images.pixels for part, images in dataset.parts.items()}
        except UserError as error:
            report.problems.append(str(error))
    else:
        root = dataset_root(card, data_path)
        listing = read_listing(card, root, None, report)
        if listing is not None:
            parts = {part: listing.pixels(part, Preprocess.of(card, None)) for part in listing.parts}
    say(f"{card.name}: {card.title}")
    sizes = {"train": card.train_size, "test": card.test_size, "clean": card.clean_size}
    for part, pixels in parts.items():
        expected = "" if sizes[part] in (None, len(pixels)) else f" ({sizes[part]:,} in the full dataset)"
        say(f"  {part}: {len(pixels):,} images{expected}")
        broken = pixels.broken() if isinstance(pixels, StreamedPixels) else []
        # A missing file is counted among the problems of the listing already.
        broken = [line for line in broken if not line.endswith("(no such file)")]
        if broken:
            report.problems.append(f"{len(broken)} of {len(pixels)} {part} images do not decode:")
            report.problems += [f"  {line}" for line in broken[:SHOWN]]
            report.problems += [f"  and {len(broken) - SHOWN} more"] * (len(broken) > SHOWN)
    for note in report.notes:
        say(f"  note: {note}")
    for problem in report.problems:
        say(f"  problem: {problem}")
    if report.problems and card.obtain:
        say(f"  where to get it: {card.obtain} {card.homepage}")
    if not report.problems:
        say("  all there, all images decode")
    return not report.problems


def info(name: str, data_path: Path | None, output: Path | None) -> None:
    """Print class counts and the order of the labels, and write the contact sheet.

    Raises:
        UserError: the data is missing or wrong, or the sheet cannot be written.
    """
    card = registry.dataset_card(name)
    dataset = open_dataset(card, data_path=data_path, image_size=None)
    table = Table(title=literal(f"{card.name}: images by label as shipped", "table.title"))
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
    output = output or Path(re.sub(r"[^\w.-]+", "-", name) + "-sheet.png")
    try:
        with replace_file(output) as temporary:
            contact_sheet(dataset).save(temporary, format="PNG")
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
