"""How many labels each noise model flips where its rate makes no whole number of images, and by which rounding.

Three rules are promised: int(N·rate) over all images (feature-dependent, pmd-*); floor(n_i·T_ij) for each class and
label (the MSLG authors' draw); and largest remainders within each class (every matrix under the sealed protocol).
"""

from __future__ import annotations

import math

import numpy as np
import pytest

CLASSES = 10
MAPPING = {2: 7, 3: 8, 5: 6, 6: 5, 7: 1}  # of the digits card


def made(cli, folder, noise: str, *options) -> tuple[np.ndarray, np.ndarray]:
    """Clean and given labels of digits under a noise, through the command line."""
    file = folder / f"{len(list(folder.iterdir()))}.npz"
    code, _, err = cli("noise", "make", "--noise", noise, "--output", file, *map(str, options))
    assert code == 0, err
    stored = np.load(file)
    return stored["clean"], stored["noisy"]


def matrix(noise: str, rate: float) -> np.ndarray:
    """The transition matrix that a noise's rate stands for, as its description says."""
    if noise == "symmetric":
        return np.full((CLASSES, CLASSES), rate / 9) + np.eye(CLASSES) * (1 - rate - rate / 9)
    if noise == "symmetric-inclusive":
        return np.full((CLASSES, CLASSES), rate / 10) + np.eye(CLASSES) * (1 - rate)
    mapping = MAPPING if noise == "asymmetric" else {i: (i + 1) % CLASSES for i in range(CLASSES)}
    found = np.eye(CLASSES)
    for source, target in mapping.items():
        found[source, source], found[source, target] = 1 - rate, rate
    return found


def counted(clean: np.ndarray, noisy: np.ndarray) -> np.ndarray:
    table = np.zeros((CLASSES, CLASSES), dtype=int)
    np.add.at(table, (clean, noisy), 1)
    return table


def is_largest_remainder(counts: np.ndarray, shares: np.ndarray) -> bool:
    """Every share rounded down, and what is missing then added one by one where most was cut off."""
    floors = np.floor(shares + 1e-9).astype(int)
    added, cut_off = counts - floors, shares - floors
    if counts.sum() != round(shares.sum()) or not set(added) <= {0, 1}:
        return False
    return not (added == 1).any() or cut_off[added == 1].min() >= cut_off[added == 0].max(initial=0) - 1e-9


MATRIX_NOISES = ["symmetric", "symmetric-inclusive", "asymmetric", "pair-flip"]


@pytest.mark.parametrize("rate", [0.34, 0.43, 0.485])
@pytest.mark.parametrize("noise", MATRIX_NOISES)
def test_the_authors_draw_rounds_each_count_down(cli, tmp_path, noise, rate):
    clean, noisy = made(cli, tmp_path, noise, "--noise-rate", rate, "--protocol", "authors")
    table, shares = counted(clean, noisy), np.bincount(clean)[:, None] * matrix(noise, rate)
    others = ~np.eye(CLASSES, dtype=bool)
    cut_off = (shares - np.floor(shares))[others & (shares > 0)]
    assert (cut_off >= 0.5).any()  # else rounding to the nearest would do the same
    assert table[others].tolist() == np.floor(shares)[others].astype(int).tolist()
    assert table.sum(1).tolist() == np.bincount(clean).tolist()


@pytest.mark.parametrize("rate", [0.34, 0.43, 0.485])
@pytest.mark.parametrize("noise", MATRIX_NOISES)
def test_the_sealed_draw_rounds_by_largest_remainders(cli, tmp_path, noise, rate):
    clean, noisy = made(cli, tmp_path, noise, "--noise-rate", rate)
    for counts, shares in zip(counted(clean, noisy), np.bincount(clean)[:, None] * matrix(noise, rate), strict=True):
        assert is_largest_remainder(counts, shares), (counts, shares)


@pytest.mark.parametrize("protocol", ["sealed", "authors"])
def test_a_given_matrix_is_rounded_as_every_other(cli, tmp_path, protocol):
    drawn = np.random.default_rng(0).dirichlet(np.full(CLASSES, 0.7), CLASSES)
    np.savetxt(tmp_path / "matrix.csv", drawn, delimiter=",", fmt="%.17g")
    clean, noisy = made(cli, tmp_path, f"class-dependent:{tmp_path / 'matrix.csv'}", "--protocol", protocol)
    for i, (counts, shares) in enumerate(zip(counted(clean, noisy), np.bincount(clean)[:, None] * drawn, strict=True)):
        if protocol == "sealed":
            assert is_largest_remainder(counts, shares), (i, counts, shares)
        else:
            assert np.delete(counts, i).tolist() == np.floor(np.delete(shares, i)).astype(int).tolist(), i


@pytest.fixture
def predictions(cli, tmp_path):
    """A model's probabilities on digits' train images that puts the label first in most of them."""
    clean, _ = made(cli, tmp_path, "symmetric", "--noise-rate", 0)
    logits = np.random.default_rng(1).normal(size=(len(clean), CLASSES))
    logits[np.arange(len(clean)), clean] += 2.5
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.savez(tmp_path / "predictions.npz", probabilities=probabilities.astype(np.float32), clean=clean)
    return tmp_path / "predictions.npz"


@pytest.mark.parametrize(
    ("rate", "limit", "count"),
    [
        (0.4, 1437, 574),  # of 574.8
        (0.25, 1437, 359),  # of 359.25
        (0.1, 1437, 143),  # of 143.7
        (0.35, 250, 87),  # of 87.5
        (0.5, 333, 166),  # of 166.5, which rounding to even would not change
    ],
)
@pytest.mark.parametrize("noise", ["feature-dependent", "pmd-1", "pmd-2", "pmd-3"])
def test_noise_by_predictions_flips_the_whole_number_below(cli, tmp_path, predictions, noise, rate, limit, count):
    assert count == math.floor(limit * rate)
    given = ("--noise-rate", rate) if limit == 1437 else ("--noise-rate", rate, "--limit-train", limit)
    clean, noisy = made(cli, tmp_path, f"{noise}:{predictions}", *given)
    assert len(clean) == limit
    assert int((clean != noisy).sum()) == count
