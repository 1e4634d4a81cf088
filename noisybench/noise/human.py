"""Human labels: CIFAR-10N and CIFAR-100N (Wei et al., ICLR 2022)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from noisybench.core.errors import UserError, one_line
from noisybench.noise.arrays import read_arrays
from noisybench.noise.label_files import matching_rows
from noisybench.noise.request import NoiseKind, NoiseRequest

SOURCE = (
    "github.com/UCSC-REAL/cifar-10-100n, data/CIFAR-10_human.pt or CIFAR-100_human.pt, or an npz of the same arrays"
)

# noise model -> names of its array, the upstream file's first
COLUMNS = {
    "human-aggregate": ("aggre_label", "aggre"),
    "human-random1": ("random_label1", "random1"),
    "human-random2": ("random_label2", "random2"),
    "human-random3": ("random_label3", "random3"),
    "human-worse": ("worse_label", "worse"),
    "human": ("noisy_label", "noisy"),
}
CLEAN = ("clean_label", "clean")


def human(kind: str) -> Callable[[NoiseRequest], tuple[np.ndarray, str]]:
    """The noise model of one set of human labels."""

    def make(request: NoiseRequest) -> tuple[np.ndarray, str]:
        file = request.needed_file
        arrays = read_labels(file)
        clean, noisy = _column(file, arrays, CLEAN, "clean"), _column(file, arrays, COLUMNS[kind], kind)
        if noisy.shape != clean.shape:
            raise UserError(f"{file}: {len(noisy)} labels for {kind!r}, {len(clean)} clean labels")
        if noisy.min() < 0 or noisy.max() >= request.num_classes:
            raise UserError(
                f"{file}: labels {noisy.min()}..{noisy.max()}; {request.card.name} has classes "
                f"0..{request.num_classes - 1}"
            )
        rows = matching_rows(str(file), clean, request)
        return noisy[rows], f"human annotators' labels as published, set {COLUMNS[kind][0]!r}"

    return make


def _kind(name: str) -> NoiseKind:
    dataset = "CIFAR-100N" if name == "human" else "CIFAR-10N"
    return NoiseKind(f"human labels of {dataset}, set {COLUMNS[name][0]}", human(name), rated=False, file=SOURCE)


AGGREGATE = _kind("human-aggregate")
RANDOM_1 = _kind("human-random1")
RANDOM_2 = _kind("human-random2")
RANDOM_3 = _kind("human-random3")
WORSE = _kind("human-worse")
CIFAR_100N = _kind("human")


def read_labels(file: Path) -> dict[str, np.ndarray]:
    """The integer arrays (N int64 each) of an npz, or of upstream's torch file.

    Raises:
        UserError: the file is missing or neither of the two.
    """
    if file.suffix in (".pt", ".pth"):
        found = _read_torch(file)
    else:
        found = read_arrays(file, "a file of human labels", f"get it from {SOURCE}")
    return {
        name: array.astype(np.int64) for name, array in found.items() if array.ndim == 1 and array.dtype.kind in "iu"
    }


def _read_torch(file: Path) -> dict[str, np.ndarray]:
    from noisybench.noise.torch_file import read_torch_arrays

    try:
        return {name: np.asarray(value) for name, value in read_torch_arrays(file).items()}
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file; get it from {SOURCE}") from error
    except Exception as error:  # whatever a pickle machine raises over bytes that were not made for it
        raise UserError(f"{file}: not a file of human labels ({one_line(error)[:150]})") from error


def _column(file: Path, arrays: dict[str, np.ndarray], names: tuple[str, ...], what: str) -> np.ndarray:
    for name in names:
        if name in arrays:
            return arrays[name]
    offered = [kind for kind, columns in COLUMNS.items() if any(column in arrays for column in columns)]
    hint = f"it serves {', '.join(offered)}" if offered else f"it holds {', '.join(arrays) or 'no label arrays'}"
    raise UserError(f"{file}: no labels for {what!r} ({' or '.join(names)}); {hint}")
