"""Order is part of a dataset: labels made for one order of images are refused for another."""

from __future__ import annotations

import hashlib

import numpy as np

from noisybench.errors import UserError
from noisybench.noise.request import NoiseRequest
from noisybench.stratify import limited_rows


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
