"""Recognising what a method must not know, however it is kept: as a part, under other numbers, one-hot, in a list.

The kit's images say nothing of their labels (see :mod:`noisybench.conformance.trial`), so nothing that a method can
learn agrees with true labels beyond the labels that it was given.
"""

from __future__ import annotations

import array
import collections
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisybench.data.loader import Stream
from noisybench.train.prepare import RunData, Streams

SHORTEST = 20  # of a part that is no chance: this many labels of 10 classes agree by chance once in 10^13
LONGEST = 100_000
FURTHEST = 2000  # how much longer or shorter than a secret a vector may be
MOST_COLUMNS = 16


@dataclass(frozen=True)
class Secret:
    """Labels that are not told.

    Attributes:
        what: they are, in words.
        labels: int64.
        told: the labels that the method is told of the same rows; None if nothing.
        parts: whether a part of them is recognised: two kinds alone agree by chance too often.
    """

    what: str
    labels: np.ndarray
    told: np.ndarray | None = None
    parts: bool = True


class Secrets:
    """What a method must not know of a run."""

    def __init__(self, data: RunData, streams: Streams):
        test = data.dataset.test
        held_out = {
            "the labels of noisy validation": streams.noisy_val,
            "the labels of clean validation": streams.clean_val,
        }
        self._secrets = [
            *_of_train(data),
            Secret("the test set's labels", test.labels),
            Secret("the true labels of the official train set", data.dataset.train.labels),
            Secret("the labels of the official train set", data.noise.noisy),
            *(Secret(what, stream.labels.cpu().numpy()) for what, stream in held_out.items() if stream is not None),
        ]
        wrong = np.zeros(0, bool) if data.true_labels is None else data.true_labels != data.given_labels
        self._telling_rows = {frozenset(np.flatnonzero(rows).tolist()) for rows in (wrong, ~wrong) if rows.any()}
        self._image_shape = tuple(test.pixels.shape[1:])
        self._images = {
            row: name
            for name, stream in {
                "images of noisy validation": streams.noisy_val,
                "images of clean validation": streams.clean_val,
                "test images": streams.test,
            }.items()
            if stream is not None
            for row in _images_keys(stream)
        }

    def known_by(self, value: Any) -> str | None:
        """Which of it a value is, in words; None if it is none."""
        if isinstance(value, Tensor):
            if value.layout != torch.strided or value.device.type == "meta" or value.is_quantized:
                return None
            value = _as_array(value)
        images = self._images_in(value) if isinstance(value, np.ndarray) else None
        if images is not None:
            return images
        if self._names_wrong_rows(value):
            return "which labels are wrong, as rows"
        for codes in _codes(value):
            for secret in self._secrets:
                how = _agrees(codes, secret)
                if how is not None:
                    return secret.what + how
        return None

    def _names_wrong_rows(self, value: Any) -> bool:
        """Whether a value lists the rows whose labels are wrong, or those whose labels are right."""
        if isinstance(value, np.ndarray):
            listed = value.ndim == 1 and len(value) <= LONGEST and value.dtype.kind in "iu"
            rows = frozenset(value.tolist()) if listed else frozenset()
        elif isinstance(value, list | tuple | set | frozenset | dict) and all(isinstance(row, int) for row in value):
            rows = frozenset(value)
        else:
            return False
        return rows in self._telling_rows

    def _images_in(self, images: np.ndarray) -> str | None:
        """Of which evaluation set an array has an image; None if of none."""
        if images.ndim < 2 or images.size == 0 or images.dtype.kind not in "fui":
            return None
        size = int(np.prod(self._image_shape))
        if images.shape[-3:] != self._image_shape and images.shape[-1] != size:
            return None
        return next((self._images[row] for row in _row_keys(images.reshape(-1, size)) if row in self._images), None)


def _of_train(data: RunData) -> list[Secret]:
    true, given = data.true_labels, data.given_labels
    if true is None:
        return []
    wrong = true != given
    return [
        Secret("the true labels", true, given),
        Secret("the true labels of wrongly labelled samples", true[wrong], given[wrong]),
        Secret("which labels are wrong", wrong.astype(np.int64), parts=False),
    ]


def _images_keys(stream: Stream) -> Iterator[bytes]:
    """A key for each image of a set, as it is stored and as a network gets it."""
    for images in (stream.pixels[:], stream.images(slice(None))):
        yield from _row_keys(images.cpu().numpy())


def _row_keys(images: np.ndarray) -> Iterator[bytes]:
    rounded = np.round(images.reshape(len(images), -1).astype(np.float64), 4)
    return (row.tobytes() for row in rounded)


def _as_array(value: Tensor) -> np.ndarray:
    value = value.detach().cpu()
    return (value.float() if value.is_floating_point() and value.itemsize < 4 else value).numpy()


def _codes(value: Any) -> Iterator[np.ndarray]:
    """The vectors of class numbers that a value may stand for."""
    if isinstance(value, str | bytes | bytearray):
        found = np.array([ord(c) for c in value] if isinstance(value, str) else list(value), dtype=np.int64)
    elif isinstance(value, dict):
        found = _of_list(list(value.values()))
    elif isinstance(value, list | tuple | collections.deque | array.array):
        found = _of_list(list(value))
    elif isinstance(value, np.ndarray):
        found = value
    else:
        return
    if found.dtype.kind not in "biufU" or not 2 <= found.size <= LONGEST * MOST_COLUMNS:
        return
    found = np.squeeze(found)
    for vector in _vectors(found):
        if SHORTEST // 2 <= len(vector) <= LONGEST:
            yield vector


def _vectors(found: np.ndarray) -> Iterator[np.ndarray]:
    if found.ndim == 1:
        yield found
        return
    yield found.reshape(-1)
    if found.dtype.kind == "U" or found.ndim > 3:
        return
    yield from (line for line in found.argmax(-1).reshape(len(found), -1).T[:MOST_COLUMNS])
    if found.ndim == 2:
        yield found.argmax(0)
        if found.shape[1] <= MOST_COLUMNS:
            yield from found.T
        if found.shape[0] <= MOST_COLUMNS:
            yield from found


def _of_list(items: list[Any]) -> np.ndarray:
    """A list of numbers, texts or equally long lists of them as an array; an empty one if it is something else."""
    nothing = np.empty(0)
    if not 2 <= len(items) <= LONGEST:
        return nothing
    try:
        found = np.array([_plain(item) for item in items])
    except (ValueError, TypeError, OverflowError):
        return nothing
    return found if found.dtype.kind in "biufU" else nothing


def _plain(item: Any) -> Any:
    """A number, a text, or a short list of them.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(item, int | float | str | np.generic):
        return item
    if isinstance(item, Tensor | np.ndarray) and np.prod(item.shape) <= LONGEST:
        return item.tolist()
    if isinstance(item, list | tuple):
        return [_plain(part) for part in item]
    raise TypeError


def _agrees(codes: np.ndarray, secret: Secret) -> str | None:
    """How a vector agrees with a secret, as a suffix in words; None if it does not."""
    labels = secret.labels
    kinds = len(np.unique(codes))
    if kinds < 2 or abs(len(codes) - len(labels)) > FURTHEST:
        return None
    if codes.shape == labels.shape and codes.dtype.kind != "U" and np.array_equal(codes, labels):
        told = secret.told
        return None if told is not None and np.array_equal(codes, told) else ""
    if kinds > 2 * len(np.unique(labels)):
        return None
    _, codes = np.unique(codes, return_inverse=True)
    for step in (1, -1, 2, 3):
        part, told = labels[::step], None if secret.told is None else secret.told[::step]
        size = min(len(codes), len(part))
        if size < (SHORTEST if secret.parts else len(labels)):
            continue
        for shift in range(abs(len(codes) - len(part)) + 1):
            mine, theirs = (shift, 0) if len(codes) > len(part) else (0, shift)
            kept, true = codes[mine : mine + size], part[theirs : theirs + size]
            if _renamed(kept, true) and (told is None or not _renamed(kept, told[theirs : theirs + size])):
                whole = step in (1, -1) and size == len(labels)
                return ", in another form" if whole else ", a part of them"
    return None


def _renamed(left: np.ndarray, right: np.ndarray) -> bool:
    """Whether two vectors are the same but for the names of their values, of which there are at least two."""
    kinds = len(np.unique(right))
    if kinds < 2 or len(np.unique(left)) != kinds:
        return False
    (_, ours), (_, theirs) = np.unique(left, return_inverse=True), np.unique(right, return_inverse=True)
    return len(np.unique(ours.reshape(-1) * kinds + theirs.reshape(-1))) == kinds
