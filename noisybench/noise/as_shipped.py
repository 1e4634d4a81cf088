"""No noise made here: the labels that a dataset comes with, right or wrong."""

from __future__ import annotations

import numpy as np

from noisybench.noise.request import NoiseKind, NoiseRequest, NoiseTraits


def as_shipped(request: NoiseRequest) -> tuple[np.ndarray, str]:
    """The labels themselves."""
    return request.labels.copy(), "labels as they are"


NONE = NoiseKind("labels as the dataset ships them", as_shipped, rated=False, traits=NoiseTraits(symmetric=True))
