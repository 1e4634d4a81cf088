"""Asymmetric noise: each class flips to one other class."""

from __future__ import annotations

import numpy as np

from noisybench.cards import DatasetCard
from noisybench.errors import UserError
from noisybench.noise.request import NoiseRequest
from noisybench.noise.transition import flip, mapped_matrix


def asymmetric(request: NoiseRequest) -> tuple[np.ndarray, str]:
    """The dataset's convention: look-alike classes of its card, or the next class of the same superclass."""
    card = request.card
    names = card.asymmetric or next_in_superclass(card)
    if not names:
        raise UserError(f"noise 'asymmetric': the card of dataset {card.name!r} names no class mapping")
    ids = {name: position for position, name in enumerate(card.classes)}
    matrix = mapped_matrix(request.num_classes, request.rate, {ids[i]: ids[j] for i, j in names.items()})
    if not card.asymmetric:
        return flip(request, matrix, "each class at the rate to the next one of its superclass, by class id")
    words = ", ".join(f"{source}->{target}" for source, target in names.items())
    return flip(request, matrix, f"each of these classes at the rate, the others clean: {words}")


def next_in_superclass(card: DatasetCard) -> dict[str, str]:
    """Each class to the next one (by id) of its superclass, the last to the first (Patrini et al. 2017, CIFAR-100)."""
    mapping: dict[str, str] = {}
    for superclass in dict.fromkeys(card.superclass.values()):
        classes = [name for name in card.classes if card.superclass.get(name) == superclass]
        if len(classes) > 1:
            mapping |= dict(zip(classes, [*classes[1:], classes[0]], strict=True))
    return mapping


def pair_flip(request: NoiseRequest) -> tuple[np.ndarray, str]:
    """Each class to the one with the next id, the last to the first (Han et al. 2018)."""
    mapping = {i: (i + 1) % request.num_classes for i in range(request.num_classes)}
    return flip(request, mapped_matrix(request.num_classes, request.rate, mapping), "each class to the next one")
