"""The noise of a run as a frozen, hashed file: which label every training image was given."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from noisybench.core.errors import UserError
from noisybench.core.files import canonical_json, replace_file
from noisybench.noise.arrays import read_arrays

SCHEMA_VERSION = 1


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
            UserError: the file is missing, no noise artifact, of a newer version, or its content does not match its
                hash.
        """
        stored = read_arrays(file, "a noise artifact", "`noisybench noise make` makes one")
        try:
            header = json.loads(str(stored["header"]))
            header["classes"] = tuple(header.get("classes", ()))
            clean, noisy = stored["clean"].astype(np.int64), stored["noisy"].astype(np.int64)
        except KeyError as error:
            raise UserError(f"{file}: not a noise artifact (no array {error})") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{file}: not a noise artifact ({error})") from error
        version = header.pop("schema_version", None)
        if version != SCHEMA_VERSION:
            raise UserError(f"{file}: noise artifact of schema version {version}, this release reads {SCHEMA_VERSION}")
        stated = header.pop("sha256", None)
        try:
            artifact = cls(**header, clean=clean, noisy=noisy)
        except TypeError as error:
            raise UserError(f"{file}: not a noise artifact ({error})") from error
        if artifact.sha256 != stated:
            raise UserError(f"{file}: the content does not match its hash; the file was changed or damaged")
        return artifact
