"""What ``noisybench noise`` prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from noisybench.core.console import console, literal, say
from noisybench.core.errors import UserError
from noisybench.core.names import shown_name
from noisybench.core.own_outputs import HEAT_MAP
from noisybench.noise.artifact import NoiseArtifact, transition_matrix
from noisybench.noise.estimate import ESTIMATORS, noise_rate, wilson_interval
from noisybench.noise.heat_map import heat_map

if TYPE_CHECKING:
    from noisybench.train.prepare import RunData

from dataclasses import dataclass

# A network that learned its labels by heart predicts them, and so finds no noise.
NOT_AS_CHECKED = ", which the checked labels contradict: rely on those"
LARGEST_TABLE = 20  # classes; a wider matrix is unreadable as text


def print_summary(artifact: NoiseArtifact, source: str) -> None:
    """A noise artifact in a few lines."""
    wrong = int(np.sum(artifact.clean != artifact.noisy))
    say(
        f"{source}: {shown_name(artifact.kind)} noise over {len(artifact.clean)} images, {artifact.num_classes} classes"
    )
    say(f"rule: {artifact.rule}")
    if artifact.kind == "none":
        say(f"rate: no noise was added; which of the labels were wrong before is not known here; seed {artifact.seed}")
        say(f"sha256 {artifact.sha256}")
        return
    say(
        f"rate: requested {artifact.requested_rate:.4f}, achieved {artifact.achieved_rate:.4f} ({wrong} wrong labels); "
        f"seed {artifact.seed}"
    )
    say(f"sha256 {artifact.sha256}")


def print_noise(artifact: NoiseArtifact, source: str) -> None:
    """A noise artifact in full: summary, rate of each class, transition matrix, largest confusions."""
    print_summary(artifact, source)
    if artifact.kind == "none":
        return
    names = class_names(artifact)
    rates = Table(title="wrong labels by class")
    for column in ("class", "images", "wrong", "rate"):
        rates.add_column(column, justify="left" if column == "class" else "right")
    sizes = np.bincount(artifact.clean, minlength=artifact.num_classes)
    for name, size, rate in zip(names, sizes, per_class_rates(artifact), strict=True):
        wrong = "0" if np.isnan(rate) else str(round(rate * size))
        rates.add_row(literal(name), str(size), wrong, "-" if np.isnan(rate) else f"{rate:.4f}")
    console().print(rates)
    title = "realised transition matrix (row: true class, column: given label)"
    print_matrix(title, artifact.transition_matrix(), names)
    found = largest_confusions(artifact)
    if found:
        confusions = Table(title="largest confusions")
        for column in ("true", "given", "labels", "share of the class"):
            confusions.add_column(column, justify="left" if column in ("true", "given") else "right")
        for cell in found:
            confusions.add_row(literal(cell.true), literal(cell.given), str(cell.count), f"{cell.share:.4f}")
        console().print(confusions)


def print_matrix(title: str, matrix: np.ndarray, names: list[str]) -> None:
    """A C×C matrix as a table, if it is small enough to read."""
    if len(matrix) > LARGEST_TABLE:
        say(f"{title}: {len(matrix)}×{len(matrix)}, too wide for a table; --png draws it")
        return
    table = Table(title=title)
    table.add_column("")
    for name in names:
        table.add_column(literal(name), justify="right")
    for name, row in zip(names, matrix, strict=True):
        table.add_row(literal(name), *(f"{value:.3f}" for value in row))
    console().print(table)


def print_estimates(
    data: RunData,
    probabilities: np.ndarray,
    png: Path | None,
    checked: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """Every estimate of the train set's transition matrix, with its mean absolute error where the truth is known.

    Args:
        data: the run's data.
        probabilities: n×C, predictions on the noisy train set.
        png: folder for heat maps; None draws none.
        checked: true and shipped labels of the images that the user has checked, if there are any.

    Raises:
        UserError: the folder cannot be made.
    """
    names = list(data.dataset.card.classes)
    matrices = {name: make(data.given_labels, probabilities) for name, make in ESTIMATORS.items()}
    true = data.train_transition_matrix()
    if true is not None:
        matrices = {"true": true, **matrices}
    if checked is not None:
        matrices = {"checked labels": transition_matrix(*checked, len(names)), **matrices}
    for name, matrix in matrices.items():
        print_matrix(f"{name} (row: true class, column: given label)", matrix, names)
    for name in ESTIMATORS:
        if true is None:
            say(f"{name}: the true matrix is not known (not all true labels are)")
        else:
            say(f"{name}: mean absolute error {np.abs(matrices[name] - true).mean():.4f} over all entries")
    if checked is not None:
        _say_checked(checked, names)
        low, high = wilson_interval(int(np.sum(checked[0] != checked[1])), len(checked[0]))
        for name in ESTIMATORS:
            rate = noise_rate(matrices[name], probabilities)
            say(f"{name}: noise rate {100 * rate:.1f} %{'' if low <= rate <= high else NOT_AS_CHECKED}")
    if png is not None:
        try:
            png.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--png {png}: cannot be made ({error.strerror})") from error
        for name, matrix in matrices.items():
            heat_map(png / _map_name(name), matrix, names, f"transition matrix: {name}")


def _map_name(matrix: str) -> str:
    return f"{matrix.replace(' ', '-')}.png"


def refuse_foreign_maps(folder: Path, *, force: bool) -> None:
    """Refuse to write heat maps over what this tool did not write, before the work.

    Raises:
        UserError: such a file is in the folder.
    """
    for name in ("true", "checked labels", *ESTIMATORS):
        HEAT_MAP.refuse_foreign(folder / _map_name(name), force=force)


def _say_checked(checked: tuple[np.ndarray, np.ndarray], names: list[str]) -> None:
    """The noise rate that the checked labels show, and the classes that they say nothing of."""
    true, given = checked
    wrong = int(np.sum(true != given))
    low, high = wilson_interval(wrong, len(true))
    say(
        f"checked labels: noise rate {100 * wrong / len(true):.1f} % ({wrong} of {len(true)} checked images carry "
        f"another label; 95 % interval {100 * low:.1f} to {100 * high:.1f} %, if they were drawn at random)"
    )
    without = [name for number, name in enumerate(names) if not np.any(true == number)]
    if without:
        say(f"checked labels: no image of {', '.join(without)} was checked; its row is taken to be without noise")


@dataclass(frozen=True)
class Confusion:
    """One cell off the diagonal: how many images of class ``true`` have label ``given``, and their share of it."""

    true: str
    given: str
    count: int
    share: float


def class_names(artifact: NoiseArtifact) -> list[str]:
    """The classes' names, or their ids where the artifact knows none."""
    return list(artifact.classes) or [str(i) for i in range(artifact.num_classes)]


def per_class_rates(artifact: NoiseArtifact) -> np.ndarray:
    """C float64, the share of each class whose label is wrong; NaN for a class without images."""
    sizes = np.bincount(artifact.clean, minlength=artifact.num_classes)
    wrong = np.bincount(artifact.clean[artifact.noisy != artifact.clean], minlength=artifact.num_classes)
    return np.divide(wrong, sizes, out=np.full(artifact.num_classes, np.nan), where=sizes > 0)


def largest_confusions(artifact: NoiseArtifact, most: int = 10) -> list[Confusion]:
    """The pairs of classes that most labels were flipped between, the largest count first."""
    counts = np.zeros((artifact.num_classes,) * 2, dtype=np.int64)
    np.add.at(counts, (artifact.clean, artifact.noisy), 1)
    sizes = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    names = class_names(artifact)
    largest = np.argsort(-counts, axis=None, kind="stable")[:most]
    cells = [divmod(int(cell), artifact.num_classes) for cell in largest]
    return [Confusion(names[i], names[j], int(counts[i, j]), counts[i, j] / sizes[i]) for i, j in cells if counts[i, j]]
