"""Who sees which sample: the sealed protocol and the MSLG authors' own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from noisybench.core import rng
from noisybench.core.errors import UserError
from noisybench.core.shares import stratified_draw
from noisybench.spec.cards import SplitSizes


@dataclass(frozen=True)
class Splits:
    """Rows (int64, sorted) of the official train and test part that each role uses.

    Attributes:
        train: noisy train set, rows of the official train part.
        noisy_val: noisy validation, rows of the official train part.
        meta: clean meta set; rows of the part that ``clean_part`` names.
        clean_val: clean validation; rows of the part that ``clean_part`` names.
        test: rows of the official test part.
        clean_part: ``"train"`` (sealed protocol), ``"test"`` (the authors' protocol), or ``"clean"``: the dataset's own
            clean part.
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


@dataclass(frozen=True)
class SplitInput:
    """What there is to split.

    Attributes:
        train_labels: labels the official train part ships, int64.
        num_test: size of the official test part.
        known: true labels of the train part, −1 where nobody knows; None if the shipped labels are right.
        own_clean: labels of the dataset's own clean part, where it has one.
    """

    train_labels: np.ndarray
    num_test: int
    known: np.ndarray | None = None
    own_clean: np.ndarray | None = None


def split(protocol: str, whole: SplitInput, sizes: SplitSizes, seed: int) -> Splits:
    """Split a dataset by keyed randomness.

    *sealed*: meta set, clean validation, noisy validation and noisy train set are disjoint, stratified parts of the
    official train part; the official test part is only evaluated on. Meta set and clean validation come from images
    whose true label is known: from the dataset's own clean part where it has one, which leaves the train part whole.

    *authors*: the MSLG authors' way, for comparing with their numbers: the whole train part is noisy train set; the
    test part is halved, the meta set is drawn from one half (the rest of it is clean validation), the other half is the
    test set; there is no noisy validation. Where the dataset has clean images of its own, the meta set is all of its
    clean part, or drawn from the known train images, and selection uses the meta set itself, as they do.

    Raises:
        UserError: the parts asked for are larger than the data.
    """
    train_labels, num_test, known, own_clean = whole.train_labels, whole.num_test, whole.known, whole.own_clean
    meta_size, noisy_val_size, clean_val_size = sizes.meta_size, sizes.noisy_val_size, sizes.clean_val_size
    if protocol == "authors":
        if own_clean is not None or (known is not None and (known >= 0).any()):
            truth = train_labels if known is None else known
            return _authors_own(truth, own_clean, num_test, meta_size, seed)
        return _authors(len(train_labels), num_test, meta_size, seed)
    truth = train_labels if known is None else known
    clean_part = "train" if own_clean is None else "clean"
    clean_labels = truth if own_clean is None else own_clean
    clean_rows = np.flatnonzero(clean_labels >= 0)
    if known is not None or own_clean is not None:
        _check_clean(meta_size, clean_val_size, len(clean_rows))
    held_out = {"noisy_val_size": noisy_val_size}
    if own_clean is None:
        held_out = {"meta_size": meta_size, "clean_val_size": clean_val_size, **held_out}
    total = sum(held_out.values())
    if total >= len(train_labels):
        largest = max(held_out, key=lambda name: held_out[name])
        raise UserError(
            f"{' + '.join(f'{name} {size}' for name, size in held_out.items())} = {total} leave nothing of the "
            f"{len(train_labels)} training images to train on: make {largest} smaller"
        )
    parts, remaining = {}, clean_rows
    for name, size in (("meta", meta_size), ("clean_val", clean_val_size)):
        drawn = stratified_draw(clean_labels[remaining], size, rng.generator(seed, "split", name))
        parts[name] = np.sort(remaining[drawn])
        remaining = np.delete(remaining, drawn)
    remaining = np.arange(len(train_labels))
    if own_clean is None:
        remaining = np.delete(remaining, np.concatenate([parts["meta"], parts["clean_val"]]))
    drawn = stratified_draw(train_labels[remaining], noisy_val_size, rng.generator(seed, "split", "noisy_val"))
    parts["noisy_val"] = np.sort(remaining[drawn])
    remaining = np.delete(remaining, drawn)
    return Splits(train=remaining, test=np.arange(num_test), clean_part=clean_part, **parts)


def _check_clean(meta_size: int, clean_val_size: int, known: int) -> None:
    """Refuse to draw more images than there are whose true label is known; say which size to make smaller."""
    if meta_size + clean_val_size <= known:
        return
    asked = f"meta_size {meta_size} + clean_val_size {clean_val_size}, and true labels are known of {known} images"
    if not known:
        raise UserError(f"{asked}: give --clean-labels, or --meta-size 0 and --set clean_val_size=0")
    larger, smaller = sorted([("meta_size", meta_size), ("clean_val_size", clean_val_size)], key=lambda pair: -pair[1])
    if smaller[1] < known:
        raise UserError(f"{asked}: make {larger[0]} at most {known - smaller[1]}")
    raise UserError(f"{asked}: make both smaller")


def _authors_own(known: np.ndarray, own_clean: np.ndarray | None, num_test: int, meta_size: int, seed: int) -> Splits:
    """All of the own clean part (whatever ``meta_size`` says, as in the authors' code), or a draw from the known."""
    if own_clean is not None:
        meta, train, clean_part = np.arange(len(own_clean)), np.arange(len(known)), "clean"
    else:
        pool = np.flatnonzero(known >= 0)
        if meta_size > len(pool):
            raise UserError(f"meta_size {meta_size}: true labels are known of {len(pool)} images; make it smaller")
        meta = np.sort(pool[rng.permutation(len(pool), seed, "split", "meta")[:meta_size]])
        train, clean_part = np.setdiff1d(np.arange(len(known)), meta), "train"
    nothing = np.empty(0, dtype=np.int64)
    return Splits(train, nothing, meta, meta, np.arange(num_test), clean_part)


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
