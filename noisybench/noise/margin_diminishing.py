"""Polynomial-margin-diminishing noise, types I to III: the smaller a clean model's margin between its two likeliest
classes, the likelier a flip from the first to the second.

Source: Zhang et al., "Learning with Feature-Dependent Label Noise: A Progressive Approach", ICLR 2021, section 4. The
polynomials are those of the released code, which made the published label files; the paper's print has others.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from noisybench.core import rng
from noisybench.core.errors import UserError
from noisybench.noise.predictions import FILE, read_predictions
from noisybench.noise.request import NoiseKind, NoiseRequest

# Flip probability as a function of the margin m in [0, 1], before it is scaled to the rate.
FLIP_PROBABILITIES: dict[int, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    1: ("1/2 - m^2/2", lambda m: 0.5 - 0.5 * m**2),
    2: ("1 - m^3", lambda m: 1 - m**3),
    3: ("1 - (m^3 + m^2 + m)/3", lambda m: 1 - (m**3 + m**2 + m) / 3),
}


def margin_diminishing(number: int) -> Callable[[NoiseRequest], tuple[np.ndarray, str]]:
    """The noise model of one type."""
    formula, flip_probability = FLIP_PROBABILITIES[number]

    def make(request: NoiseRequest) -> tuple[np.ndarray, str]:
        labels, count = request.labels, int(len(request.labels) * request.rate)
        eta = read_predictions(request)
        ranked = np.argsort(eta, axis=1, kind="stable")
        first, second = ranked[:, -1], ranked[:, -2]
        rows = np.arange(len(labels))
        margin = (eta[rows, first] - eta[rows, second]).astype(np.float64)
        tau = np.where(first == labels, flip_probability(margin), 0.0)
        possible = int((tau > 0).sum())
        if count > possible:
            raise UserError(
                f"{request.file}: only {possible} of {len(labels)} images can flip (label is the model's first choice, "
                f"margin below 1), noise rate {request.rate:g} needs {count}"
            )
        chosen = sample_exactly(scaled_to_sum(tau, count), rng.generator(request.seed, "noise", "margin-diminishing"))
        noisy = labels.copy()
        noisy[chosen] = second[chosen]
        return noisy, (
            f"int(N*rate) labels flip from the model's first choice to its second with probability proportional to "
            f"{formula}, m the margin between the two (at most 1 after scaling); images whose label is not the first "
            f"choice keep it; ties by stable sort, the highest class id first"
        )

    return make


def _kind(number: int) -> NoiseKind:
    formula, _ = FLIP_PROBABILITIES[number]
    return NoiseKind(
        f"polynomial-margin-diminishing, type {'I' * number} (Zhang et al. 2021): flips where a clean model's margin m "
        f"is small, by {formula}; exactly int(N*rate) flip",
        margin_diminishing(number),
        file=FILE,
    )


PMD_1, PMD_2, PMD_3 = map(_kind, FLIP_PROBABILITIES)


def scaled_to_sum(shares: np.ndarray, total: int) -> np.ndarray:
    """min(1, c·shares) (float64) with c such that the sum is ``total``.

    Args:
        shares: non-negative; at least ``total`` of them positive.
    """
    full = np.zeros(len(shares), dtype=bool)
    while True:
        rest = shares[~full].sum()
        missing = total - int(full.sum())
        probabilities = np.where(full, 1.0, shares * (missing / rest) if rest > 0 else 0.0)
        over = ~full & (probabilities >= 1)
        if not over.any():
            return probabilities
        full |= over


def sample_exactly(probabilities: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Rows (int64), each drawn with its own probability, exactly as many as the probabilities sum to.

    Systematic sampling over the rows in random order: one point in each unit of the cumulative sum.
    """
    order = generator.permutation(np.flatnonzero(probabilities))
    cumulative = probabilities[order].cumsum()
    points = generator.random() + np.arange(round(cumulative[-1]) if len(order) else 0)
    chosen = np.searchsorted(cumulative, points, side="right")
    return order[np.minimum(chosen, len(order) - 1)]
