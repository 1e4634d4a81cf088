"""Noise from a noise artifact that was made before."""

from __future__ import annotations

from dataclasses import replace

from noisybench.errors import UserError
from noisybench.noise.artifact import NoiseArtifact
from noisybench.noise.order import matching_rows
from noisybench.noise.request import NoiseRequest


def from_file(request: NoiseRequest) -> NoiseArtifact:
    """The stored artifact as it is; for a dataset limited to fewer images, its rows for those."""
    artifact = NoiseArtifact.load(request.file)
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
