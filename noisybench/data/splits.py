"""Who sees which sample: the sealed protocol and the MSLG authors' own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from noisybench import rng
from noisybench.errors import UserError
from noisybench.stratify import stratified_draw


@dataclass(frozen=True)
class Splits:
    """Rows (int64, sorted) of the official train and test part that each role uses.

    Attributes:
        train: noisy train set, rows of the official train part.
        noisy_val: noisy validation, rows of the official train part.
        meta: clean meta set; rows of the part that ``clean_part`` names.
        clean_val: clean validation; rows of the part that ``clean_part`` names.
        test: rows of the official test part.
        clean_part: ``"train"`` (sealed protocol) or ``"test"`` (the authors' protocol).
    """

    train: np.ndarray
    noisy_val: np.ndarray
    meta: np.ndarray
    clean_val: np.ndarray
    test: np.ndarray
    clean_part: str

    def fingerprint(self) -> str:
        """sha256 over all rows of all roles."""
        digest = hashlib.sha256(self.clean_part.encode())
        for name in ("train", "noisy_val", "meta", "clean_val", "test"):
            rows = getattr(self, name).astype("<i8")
            digest.update(f"{name}{len(rows)}".encode())
            digest.update(rows.tobytes())
        return digest.hexdigest()


def split(
    protocol: str,
    train_labels: np.ndarray,
    num_test: int,
    *,
    meta_size: int,
    noisy_val_size: int,
    clean_val_size: int,
    seed: int,
) -> Splits:
    """Split a dataset by keyed randomness.

    *sealed*: meta set, clean validation, noisy validation and noisy train set are disjoint, stratified parts of the
    official train part; the official test part is only evaluated on. *authors*: the MSLG authors' way, for comparing
    with their numbers: the whole train part is noisy train set; the test part is halved, the meta set is drawn from
    one half (the rest of it is clean validation), the other half is the test set; there is no noisy validation.

    Args:
        train_labels: clean labels of the official train part, int64.
        num_test: size of the official test part.

    Raises:
        UserError: the parts asked for are larger than the data.
    """
    if protocol == "authors":
        return _authors(len(train_labels), num_test, meta_size, seed)
    held_out = meta_size + clean_val_size + noisy_val_size
    if held_out >= len(train_labels):
        raise UserError(
            f"meta_size {meta_size} + clean_val_size {clean_val_size} + noisy_val_size {noisy_val_size} = {held_out} "
            f"leave nothing of the {len(train_labels)} training images to train on: make them smaller"
        )
    remaining = np.arange(len(train_labels))
    parts = {}
    for name, size in (("meta", meta_size), ("clean_val", clean_val_size), ("noisy_val", noisy_val_size)):
        drawn = stratified_draw(train_labels[remaining], size, rng.generator(seed, "split", name))
        parts[name] = np.sort(remaining[drawn])
        remaining = np.delete(remaining, drawn)
    return Splits(train=remaining, test=np.arange(num_test), clean_part="train", **parts)


def _authors(num_train: int, num_test: int, meta_size: int, seed: int) -> Splits:
    # scikit-learn's train_test_split, which the authors call, is these permutations (specified by NumPy's legacy
    # generator, whose stream is frozen).
    permuted = np.random.RandomState(seed).permutation(num_test)
    test, rest = permuted[: num_test // 2], permuted[num_test // 2 :]
    if meta_size > len(rest):
        raise UserError(
            f"meta_size {meta_size}: under the authors' protocol it is drawn from half of the test part, "
            f"which has {len(rest)} images"
        )
    order = np.random.RandomState(seed).permutation(len(rest))
    return Splits(
        train=np.arange(num_train),
        noisy_val=np.empty(0, dtype=np.int64),
        meta=np.sort(rest[order[:meta_size]]),
        clean_val=np.sort(rest[order[meta_size:]]),
        test=np.sort(test),
        clean_part="test",
    )
