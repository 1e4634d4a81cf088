"""From labels that people write to class ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from noisybench.spec.cards import DatasetCard
from noisybench.spec.user_images import class_title, is_own

UNKNOWN = -1  # a label that is no class, or that nobody knows


def class_ids(labels: Sequence[str], card: DatasetCard) -> np.ndarray:
    """The class id (int64) of each label, UNKNOWN where it is no class of the card.

    A label is a class's name. It may be an id only where nobody can take it for a name or for the id of another order:
    the dataset is a published one (of own images the order is ours), and none of its classes is named by a number.
    """
    known = {class_title(name): number for number, name in enumerate(card.classes)}
    if ids_are_read(card):
        known |= {str(number): number for number in range(len(card.classes))}
    return np.array([known.get(class_title(label), UNKNOWN) for label in labels], dtype=np.int64)


def ids_are_read(card: DatasetCard) -> bool:
    """Whether a number stands for the class of this id."""
    return not is_own(card.name) and not any(name.isdecimal() for name in card.classes)


def expected_labels(card: DatasetCard) -> str:
    """What a label may be, for a message."""
    names = f"the name of a class, such as {card.classes[0]!r}"
    return f"{names}, or an id in 0..{len(card.classes) - 1}" if ids_are_read(card) else names
