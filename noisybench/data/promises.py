"""A card's sizes are a promise: what is there must be the whole dataset, for every source alike."""

from __future__ import annotations

from collections.abc import Mapping

from noisybench.spec.cards import DatasetCard


def broken_promises(card: DatasetCard, sizes: Mapping[str, int]) -> list[str]:
    """One line for each part that has another size than the card says: found and promised number of images.

    A run on half a dataset would be filed under the run id of the whole one.

    Args:
        sizes: images of each part, by its name; parts whose size depends on the files are not promised.
    """
    promised = {"train": card.train_size, "test": card.test_size, "clean": card.clean_size}
    return [
        f"{sizes[part]:,} {part} images, and the card of {card.name} promises {size:,}: get it whole (and for fewer "
        "training images give --limit-train), or give what is there a card of its own"
        for part, size in promised.items()
        if size is not None and part in sizes and sizes[part] != size
    ]


def promised_entries(found: int, promised: int | None, what: str) -> list[str]:
    """The same for a list file or a folder that the card names."""
    if promised in (None, found):
        return []
    return [f"{what}: {found:,} entries where the card promises {promised:,}: it is cut or not the authors'"]
