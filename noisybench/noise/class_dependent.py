"""Class-dependent noise by a transition matrix of the user's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from noisybench.errors import UserError
from noisybench.noise.arrays import UNNAMED, read_arrays
from noisybench.noise.request import NoiseRequest
from noisybench.noise.transition import flip

SUM_TOLERANCE = 1e-6


def class_dependent(request: NoiseRequest) -> tuple[np.ndarray, str]:
    """Labels with the given matrix, realised by exact counts."""
    matrix = read_matrix(request.file, request.num_classes)
    return flip(request, matrix, "the share of class i with label j is the given matrix's entry (i, j)")


def read_matrix(file: Path, num_classes: int) -> np.ndarray:
    """Read a transition matrix (C×C float64; row: true class, column: given label) and check it.

    Args:
        file: a CSV of C rows of C numbers, an npy, or an npz that holds ``transition_matrix`` (as every noise artifact
            does).

    Raises:
        UserError: the file is missing, unreadable or no transition matrix of this size.
    """
    matrix = _read(file)
    if matrix.shape != (num_classes, num_classes):
        raise UserError(
            f"{file}: a matrix of {'×'.join(map(str, matrix.shape))}; a transition matrix over {num_classes} classes "
            f"has {num_classes}×{num_classes} entries"
        )
    wrong = ~(np.isfinite(matrix) & (matrix >= 0) & (matrix <= 1))
    if wrong.any():
        i, j = np.argwhere(wrong)[0]
        raise UserError(f"{file}: entry ({i}, {j}) is {matrix[i, j]:g}; a probability lies in [0, 1]")
    sums = matrix.sum(axis=1)
    worst = int(np.argmax(np.abs(sums - 1)))
    if abs(sums[worst] - 1) > SUM_TOLERANCE:
        transposed = np.allclose(matrix.sum(axis=0), 1, atol=SUM_TOLERANCE)
        hint = "; its columns do: transpose it" if transposed else ""
        raise UserError(f"{file}: row {worst} sums to {sums[worst]:.6g}; each row must sum to 1{hint}")
    return matrix / sums[:, None]


def _read(file: Path) -> np.ndarray:
    if file.suffix in (".npz", ".npy"):
        stored = read_arrays(file, "a matrix of numbers")
        found = stored.get("transition_matrix", stored.get(UNNAMED))
        if found is None or found.dtype.kind not in "fiu":
            raise UserError(f"{file}: holds {', '.join(stored) or 'nothing'}; no array of numbers 'transition_matrix'")
        return found.astype(np.float64)
    try:
        return np.loadtxt(file, delimiter=",", ndmin=2, dtype=np.float64, encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: not a matrix of numbers ({' '.join(str(error).split())})") from error
