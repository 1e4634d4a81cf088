"""Symmetric noise, in the two meanings of its rate that the literature mixes."""

from __future__ import annotations

import numpy as np

from noisybench.noise.request import NoiseRequest
from noisybench.noise.transition import flip, symmetric_matrix


def symmetric(request: NoiseRequest) -> tuple[np.ndarray, str]:
    """Every other class is equally likely, the true one excluded."""
    matrix = symmetric_matrix(request.num_classes, request.rate)
    return flip(request, matrix, "rate/(C-1) to each other class, the true class excluded")


def symmetric_inclusive(request: NoiseRequest) -> tuple[np.ndarray, str]:
    """Every class is equally likely, the true one too."""
    matrix = symmetric_matrix(request.num_classes, request.rate, inclusive=True)
    return flip(request, matrix, "rate/C to every class, the true class included: rate*(C-1)/C really flip")
