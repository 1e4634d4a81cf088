"""What a noise model is asked, and what it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noisybench.core.errors import UserError
from noisybench.noise.artifact import NoiseArtifact
from noisybench.spec.cards import DatasetCard


@dataclass(frozen=True)
class NoiseRequest:
    """What a noise model may look at.

    Attributes:
        labels: N int64, clean labels of the official train part.
        num_classes: C.
        rate: requested rate, in [0, 1).
        seed: key of the draw.
        card: the dataset's card.
        authors: draw as the MSLG authors' code does, where that differs.
        file: what a noise model that reads a file reads.
        pixels_of: from rows (int64) of the official train part to their flattened pixels (rows×D float64, channel by
            channel, 0 to 255); called only by models that look at images.
    """

    labels: np.ndarray
    num_classes: int
    rate: float
    seed: int
    card: DatasetCard
    authors: bool = False
    file: Path | None = None
    pixels_of: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def needed_file(self) -> Path:
        """The file, for a model that reads one.

        Raises:
            UserError: none was given.
        """
        if self.file is None:
            raise UserError("the noise model reads a file, and none was given: --noise KIND:FILE")
        return self.file

    def pixels(self, rows: np.ndarray) -> np.ndarray:
        """The pixels of these rows (``pixels_of``), for a model that looks at images.

        Raises:
            UserError: there are no images to look at.
        """
        if self.pixels_of is None:
            raise UserError("the noise model looks at images, and none were given")
        return self.pixels_of(rows)


@dataclass(frozen=True)
class NoiseTraits:
    """What methods may know of a noise model besides its name, if they declare ``noise_kind``.

    Attributes:
        wrong_per_rate: the share of wrong labels to expect at a rate, divided by the rate.
        symmetric: whether wrong labels are spread evenly over all classes. Labels without noise count as symmetric.
    """

    wrong_per_rate: float = 1.0
    symmetric: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.wrong_per_rate <= 1:
            raise ValueError(f"wrong_per_rate is {self.wrong_per_rate}; it must lie in [0, 1]")


@dataclass(frozen=True)
class NoiseKind:
    """One noise model. An object of this class is registered in the entry-point group ``noisybench.noises``.

    Attributes:
        summary: what it does and what its rate means.
        make: from a request to noisy labels (N int64) and the rule in words; or to a finished artifact.
        rated: whether it takes a rate. Where it does not, the rate is a fact of the labels or the file.
        file: what the file it reads must hold; None if it reads none.
        traits: what methods may know of it.
        release: 1, or the number of its present draws if they have changed: part of what identifies a run.
    """

    summary: str
    make: Callable[[NoiseRequest], tuple[np.ndarray, str] | NoiseArtifact]
    rated: bool = True
    file: str | None = None
    traits: NoiseTraits = NoiseTraits()
    release: int = 1

    def __post_init__(self) -> None:
        if not (isinstance(self.summary, str) and callable(self.make) and isinstance(self.traits, NoiseTraits)):
            raise TypeError("a NoiseKind has a summary (text), make (a function) and traits (NoiseTraits)")
