"""A model's class probabilities on the train images, as a file: what feature-dependent noise is made from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from noisybench.core.errors import UserError
from noisybench.core.files import replace_file
from noisybench.noise.arrays import UNNAMED, read_arrays
from noisybench.noise.label_files import matching_rows
from noisybench.noise.request import NoiseRequest

# The second is the MSLG authors' name for their softmax outputs; their own file is an npy.
PROBABILITIES = ("probabilities", "student_logits", UNNAMED)
SUM_TOLERANCE = 1e-3
FILE = "npz with 'probabilities' (N×C) and 'clean' (N), as `noisybench noise student` writes"


def read_predictions(request: NoiseRequest) -> np.ndarray:
    """The probabilities (N×C, in the file's own float type) of the request's file, for the request's images.

    Raises:
        UserError: the file is missing or damaged, holds no probabilities over these classes, or was not made for
            these images in this order.
    """
    file, classes = request.needed_file, request.num_classes
    probabilities, clean = _read(file)
    if probabilities.ndim != 2 or probabilities.shape[1] != classes or probabilities.dtype.kind != "f":
        raise UserError(
            f"{file}: predictions of shape {'×'.join(map(str, probabilities.shape))} and type {probabilities.dtype}; "
            f"expected one row of {classes} floating-point probabilities per training image of {request.card.name}"
        )
    sums = probabilities.sum(axis=1, dtype=np.float64)
    wrong = ~(np.isfinite(sums) & (np.abs(sums - 1) < SUM_TOLERANCE) & (probabilities >= 0).all(axis=1))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UserError(f"{file}: row {row} is no probability distribution (sum {sums[row]:.4g}); give softmax outputs")
    if clean is None:
        _check_known(file, probabilities, request)
        clean = request.labels
    elif clean.shape != probabilities.shape[:1]:
        raise UserError(f"{file}: {len(probabilities)} predictions and {clean.size} clean labels")
    return probabilities[matching_rows(str(file), clean, request)]


def write_predictions(file: Path, probabilities: np.ndarray, clean: np.ndarray) -> None:
    """Write probabilities (N×C) with the clean labels (N) of the images in their order (npz, no pickles)."""
    with replace_file(file) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(stream, probabilities=probabilities, clean=clean.astype("<i8"))


def _read(file: Path) -> tuple[np.ndarray, np.ndarray | None]:
    stored = read_arrays(file, "a file of predictions", "`noisybench noise student` makes one")
    name = next((name for name in PROBABILITIES if name in stored), None)
    if name is None:
        raise UserError(f"{file}: holds {', '.join(stored) or 'nothing'}; no array {PROBABILITIES[0]!r}")
    return stored[name], stored["clean"].astype(np.int64) if "clean" in stored else None


def _check_known(file: Path, probabilities: np.ndarray, request: NoiseRequest) -> None:
    """A file without clean labels is accepted only if it is a published one whose order the dataset's card knows."""
    made_for = request.card.known_predictions.get(_sha256(probabilities))
    if made_for is None:
        raise UserError(
            f"{file}: does not say which images it was made for; add an array 'clean' with their clean labels in order"
        )
    if _sha256(request.labels) != made_for:
        order = request.card.orders.get(made_for, "another")
        raise UserError(
            f"{file}: made for all {len(probabilities)} training images of {request.card.title} in {order} order; the "
            f"data at hand are in another order, or limited: load all images in {order} order"
        )


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(array.astype(array.dtype.newbyteorder("<"), order="C").data).hexdigest()
