"""Labels that were made before: noise artifacts and CSV tables.

Order is part of a dataset: labels made for one order of images are refused for another.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from noisybench.core.errors import UserError
from noisybench.core.files import open_regular
from noisybench.core.shares import limited_rows
from noisybench.noise.artifact import NoiseArtifact
from noisybench.noise.request import NoiseKind, NoiseRequest
from noisybench.spec.cards import DatasetCard
from noisybench.spec.class_labels import UNKNOWN, class_ids, expected_labels


def matching_rows(source: str, clean: np.ndarray, request: NoiseRequest) -> np.ndarray:
    """Rows (int64) of a label file that belong to the request's images, in their order.

    The file's clean labels are compared with the dataset's on every row. Where the dataset was limited to fewer
    images (``limit_train``), the rows which that limit keeps of the file's are compared.

    Args:
        source: the file, for the error.
        clean: N' integers, the clean labels that the file was made for.

    Raises:
        UserError: they are not the dataset's labels in the dataset's order.
    """
    labels, name = request.labels, request.card.name
    rows = np.arange(len(clean))
    if len(labels) < len(clean):
        rows = limited_rows(clean, len(labels))
    if len(rows) != len(labels):
        raise UserError(f"{source}: made for {len(clean)} images; {name} has {len(labels)} training images")
    different = np.flatnonzero(clean[rows] != labels)
    if not len(different):
        return rows
    first = different[0]
    same_images = np.array_equal(np.sort(clean[rows]), np.sort(labels))
    reason = "the images are in another order" if same_images else "they are not the same images"
    raise UserError(
        f"{source}: made for other clean labels than {name}'s at {len(different)} of {len(labels)} rows "
        f"(first: row {first}, {clean[rows][first]} there, {labels[first]} here); {reason}. {_cure(clean, request)}"
    )


def _cure(clean: np.ndarray, request: NoiseRequest) -> str:
    made_for = request.card.orders.get(hashlib.sha256(clean.astype("<i8").data).hexdigest())
    if made_for is not None:
        return f"The file follows {made_for} order: load the images in that order (the Hub's copy may be in another)"
    return "Give the dataset that the file was made for, or make the file again for this one"


def from_file(request: NoiseRequest) -> NoiseArtifact:
    """The stored artifact as it is; for a dataset limited to fewer images, its rows for those."""
    artifact = NoiseArtifact.load(request.needed_file)
    if artifact.num_classes != request.num_classes:
        raise UserError(
            f"{request.file}: labels over {artifact.num_classes} classes; {request.card.name} has {request.num_classes}"
        )
    rows = matching_rows(str(request.file), artifact.clean, request)
    if len(rows) == len(artifact.clean):
        return artifact
    return replace(
        artifact,
        rule=f"{artifact.rule}; of {len(artifact.clean)} images the {len(rows)} that are used",
        clean=artifact.clean[rows],
        noisy=artifact.noisy[rows],
    )


FROM_FILE = NoiseKind(
    "a noise artifact made before",
    from_file,
    rated=False,
    file="npz as `noisybench noise make` or `import` writes",
)


def import_table(file: Path, request: NoiseRequest, *, noisy_column: str, clean_column: str) -> NoiseArtifact:
    """Read one row per training image: the given label, the clean label, and (optionally) ``index``.

    Labels are class ids or class names. Without an ``index`` column row k is image k.

    Args:
        file: CSV with a header.
        request: the images that the labels are for.

    Raises:
        UserError: a column is missing, a label is no class, an image is missing or named twice, or the clean labels
            are not the dataset's in the dataset's order.
    """
    table = _read(file, [noisy_column, clean_column])
    noisy, clean = (_class_ids(file, column, table[column], request.card) for column in (noisy_column, clean_column))
    if "index" in table:
        order = _inverse(file, table["index"])
        noisy, clean = noisy[order], clean[order]
    rows = matching_rows(str(file), clean, request)
    noisy = noisy[rows]
    return NoiseArtifact(
        kind="imported",
        rule=f"imported from a table, column {noisy_column!r}",
        requested_rate=float(np.mean(noisy != request.labels)),
        seed=0,
        num_classes=request.num_classes,
        clean=request.labels,
        noisy=noisy,
        classes=tuple(request.card.classes),
    )


def _read(file: Path, columns: list[str]) -> dict[str, list[str]]:
    """The columns as text, and ``index`` if there is one."""
    import pyarrow
    import pyarrow.csv

    try:
        with open_regular(file):  # the reader itself would wait for a pipe
            header = pyarrow.csv.open_csv(file).schema.names
        as_text = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(header, pyarrow.string()))
        table = pyarrow.csv.read_csv(file, convert_options=as_text)
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file") from error
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise UserError(f"{file}: not a readable CSV table ({' '.join(str(error).split())[:150]})") from error
    for column in columns:
        if column not in header:
            raise UserError(
                f"{file}: no column {column!r}; found {', '.join(header)}. A table of labels holds the given and the "
                f"clean label of every training image (--noisy-column, --clean-column)"
            )
    return {column: table[column].to_pylist() for column in {*columns, "index"} if column in header}


def _class_ids(file: Path, column: str, cells: list[str], card: DatasetCard) -> np.ndarray:
    """Labels (N int64) from class names, or ids where nobody can take them for names."""
    ids = class_ids([cell or "" for cell in cells], card)
    wrong = np.flatnonzero(ids == UNKNOWN)
    if len(wrong):
        raise UserError(
            f"{file}: column {column!r}, row {wrong[0]}: {cells[wrong[0]]!r} is no class; give {expected_labels(card)} "
            f"({len(wrong)} such rows)"
        )
    return ids


def _inverse(file: Path, cells: list[str]) -> np.ndarray:
    """For each image 0..N−1 its row in the table."""
    try:
        index = np.array(cells, dtype=np.int64)
    except (ValueError, TypeError) as error:
        raise UserError(f"{file}: column 'index' holds something else than whole numbers ({error})") from error
    order = np.argsort(index, kind="stable")
    wrong = np.flatnonzero(index[order] != np.arange(len(index)))
    if len(wrong):
        raise UserError(
            f"{file}: column 'index' must name each of 0..{len(index) - 1} once; {wrong[0]} is missing or named twice"
        )
    return order
