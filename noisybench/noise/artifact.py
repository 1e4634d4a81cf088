"""The noise of a run as a frozen, hashed file: which label every training image was given."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from noisybench.core.errors import UserError, one_line
from noisybench.core.files import canonical_json, replace_file
from noisybench.noise.arrays import read_arrays

SCHEMA_VERSION = 1
MOST_CLASSES = 1_000_000  # more than any dataset has: a table over the classes must fit in memory


def transition_matrix(clean: np.ndarray, noisy: np.ndarray, num_classes: int) -> np.ndarray:
    """C×C float64, T[i, j] = realised share of class i with label j. A class without images gets its unit row."""
    counts = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(counts, (clean, noisy), 1)
    sizes = counts.sum(axis=1, keepdims=True)
    return np.where(sizes > 0, counts / np.maximum(sizes, 1), np.eye(num_classes))


@dataclass(frozen=True)
class NoiseArtifact:
    """Noisy labels together with the clean labels they were made for, so that they fit no other order of images.

    Attributes:
        kind: the noise model's name.
        rule: what the rate means and how labels were drawn, in words.
        requested_rate: the rate asked for, in [0, 1).
        seed: key of the draw.
        num_classes: C.
        clean: N int64, the official train part's labels in the dataset's own order.
        noisy: N int64, the labels given.
        classes: names of the classes, where they are known.
    """

    kind: str
    rule: str
    requested_rate: float
    seed: int
    num_classes: int
    clean: np.ndarray
    noisy: np.ndarray
    classes: tuple[str, ...] = ()

    @property
    def achieved_rate(self) -> float:
        """The fraction of labels that differ from the clean ones."""
        return float(np.mean(self.clean != self.noisy))

    def transition_matrix(self) -> np.ndarray:
        """C×C float64, the realised transition matrix."""
        return transition_matrix(self.clean, self.noisy, self.num_classes)

    def _header(self) -> dict:
        header = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("clean", "noisy")}
        return {"schema_version": SCHEMA_VERSION, **header}

    @property
    def sha256(self) -> str:
        """Hash of the content: header, clean labels, noisy labels."""
        digest = hashlib.sha256(canonical_json(self._header()).encode())
        digest.update(self.clean.astype("<i8").data)
        digest.update(self.noisy.astype("<i8").data)
        return digest.hexdigest()

    def save(self, file: Path) -> None:
        """Write the artifact as an npz file (no pickles), hash included."""
        header = canonical_json({**self._header(), "sha256": self.sha256})
        with replace_file(file) as temporary, open(temporary, "wb") as stream:
            np.savez_compressed(
                stream,
                header=np.array(header),
                clean=self.clean.astype("<i8"),
                noisy=self.noisy.astype("<i8"),
                transition_matrix=self.transition_matrix(),
            )

    @classmethod
    def load(cls, file: Path) -> NoiseArtifact:
        """Read an artifact and check its hash.

        Raises:
            UserError: the file is missing, no noise artifact, of a newer version, a value in it is none that an
                artifact may hold, or its content does not match its hash.
        """
        stored = read_arrays(file, "a noise artifact", "`noisybench noise make` makes one")
        missing = next((name for name in ("header", "clean", "noisy") if name not in stored), None)
        if missing is not None:
            raise UserError(f"{file}: not a noise artifact (no array {missing!r})")
        try:
            header = json.loads(str(stored["header"]))
        except (ValueError, RecursionError) as error:
            raise UserError(f"{file}: not a noise artifact (its header is no JSON: {one_line(error)[:100]})") from error
        if not isinstance(header, dict):
            raise UserError(f"{file}: not a noise artifact (its header is no table)")
        version = header.pop("schema_version", None)
        if version != SCHEMA_VERSION:
            raise UserError(f"{file}: noise artifact of schema version {version}, this release reads {SCHEMA_VERSION}")
        stated = header.pop("sha256", None)
        fault = _header_fault(header) or _labels_fault(stored, header["num_classes"])
        if fault is not None:
            raise UserError(f"{file}: not a noise artifact ({fault})")
        header["classes"] = tuple(header["classes"])
        clean, noisy = (stored[name].astype(np.int64) for name in ("clean", "noisy"))
        artifact = cls(**header, clean=clean, noisy=noisy)
        if artifact.sha256 != stated:
            raise UserError(f"{file}: the content does not match its hash; the file was changed or damaged")
        return artifact


def _header_fault(header: dict[str, Any]) -> str | None:
    """What is wrong with a header that somebody may have written by hand; None if nothing is."""
    header.setdefault("classes", [])
    names = {f.name for f in fields(NoiseArtifact)} - {"clean", "noisy"}
    if header.keys() != names:
        return f"its header has the keys {', '.join(sorted(header))[:200]}; it must have {', '.join(sorted(names))}"
    for name in ("kind", "rule"):
        if not isinstance(header[name], str):
            return f"{name} is no text"
    rate, seed, size, classes = (header[name] for name in ("requested_rate", "seed", "num_classes", "classes"))
    if not isinstance(rate, int | float) or isinstance(rate, bool) or not 0 <= rate <= 1:
        return f"requested_rate is {str(rate)[:20]}; it must be a number from 0 to 1"
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        return f"seed is {str(seed)[:20]}; it must be a whole number from 0"
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= MOST_CLASSES:
        return f"num_classes is {str(size)[:20]}; it must be a whole number from 1 to {MOST_CLASSES}"
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        return "classes is no list of names"
    return None if len(classes) in (0, size) else f"{len(classes)} names of classes for {size} classes"


def _labels_fault(stored: dict[str, np.ndarray], num_classes: int) -> str | None:
    """What is wrong with the arrays of labels; None if nothing is."""
    for name in ("clean", "noisy"):
        labels = stored[name]
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            shape = "×".join(map(str, labels.shape)) or "one value"
            return f"{name} has shape {shape} and type {labels.dtype}; it must be a row of whole numbers"
        wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
        if len(wrong):
            return f"{name}, row {wrong[0]}: label {labels[wrong[0]]}; labels go from 0 to {num_classes - 1}"
    clean, noisy = stored["clean"], stored["noisy"]
    if not len(clean) or len(clean) != len(noisy):
        return f"{len(clean)} clean labels and {len(noisy)} given ones"
    return None
