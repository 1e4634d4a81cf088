"""The noise models by name: from clean labels to the labels an imperfect annotator would have given."""

from __future__ import annotations

import numpy as np

from noisybench.core.errors import UserError, one_line
from noisybench.noise.artifact import NoiseArtifact
from noisybench.noise.request import NoiseKind, NoiseRequest, NoiseTraits
from noisybench.spec import registry


def make_noise(kind: str, request: NoiseRequest) -> NoiseArtifact:
    """One noise model's labels.

    Args:
        kind: a registered name.
        request: labels, rate and key of the draw.

    Raises:
        UserError: there is no such model, the file it reads is missing, wrong, or made for other images, or it failed.
    """
    model: NoiseKind = registry.load("noise", kind)
    try:
        made = model.make(request)
    except UserError:
        raise
    except Exception as error:  # a model of another package may raise anything
        raise UserError(f"noise {kind!r} failed: {type(error).__name__}: {one_line(error)}") from error
    if isinstance(made, NoiseArtifact):
        return made
    noisy, rule = made
    _check_labels(kind, noisy, request)
    return NoiseArtifact(
        kind=kind,
        rule=rule,
        requested_rate=request.rate if model.rated else float(np.mean(noisy != request.labels)),
        seed=request.seed,
        num_classes=request.num_classes,
        clean=request.labels,
        noisy=noisy,
        classes=tuple(request.card.classes),
    )


def _check_labels(kind: str, noisy: np.ndarray, request: NoiseRequest) -> None:
    wanted = f"int64 of shape {request.labels.shape} in 0..{request.num_classes - 1}"
    found = f"{noisy.dtype} of shape {noisy.shape}" if isinstance(noisy, np.ndarray) else type(noisy).__name__
    if found != f"int64 of shape {request.labels.shape}":
        raise UserError(f"noise {kind!r} made labels that are {found}; they must be {wanted}")
    if len(noisy) and not (noisy.min() >= 0 and noisy.max() < request.num_classes):
        raise UserError(f"noise {kind!r} made labels in {noisy.min()}..{noisy.max()}; they must be {wanted}")


def traits_of(kind: str) -> NoiseTraits:
    """What methods may know of the noise model that labels come from.

    Args:
        kind: an artifact's. It may be no registered name: labels imported from a table, or of a package that is not
            installed here. Nothing special is known of those.
    """
    return registry.load("noise", kind).traits if kind in registry.names("noise") else NoiseTraits()
