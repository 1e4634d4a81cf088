"""The noise models by name: from clean labels to the labels an imperfect annotator would have given."""

from __future__ import annotations

import numpy as np

from noisybench.noise.artifact import NoiseArtifact
from noisybench.noise.by_class import asymmetric, class_dependent, pair_flip, symmetric, symmetric_inclusive
from noisybench.noise.feature_dependent import feature_dependent
from noisybench.noise.human import COLUMNS, SOURCE, human
from noisybench.noise.instance_dependent import instance_dependent
from noisybench.noise.label_files import from_file
from noisybench.noise.margin_diminishing import FLIP_PROBABILITIES, margin_diminishing
from noisybench.noise.request import NoiseKind, NoiseRequest

PREDICTIONS = "npz with 'probabilities' (N×C) and 'clean' (N), as `noisybench noise student` writes"


def _none(request: NoiseRequest) -> tuple[np.ndarray, str]:
    return request.labels.copy(), "labels as they are"


NOISES: dict[str, NoiseKind] = {
    "none": NoiseKind("labels as the dataset ships them", _none, rated=False),
    "symmetric": NoiseKind("a label flips to any other class; the rate is the share that really flips", symmetric),
    "symmetric-inclusive": NoiseKind(
        "a label is redrawn from all classes, the true one too; rate*(C-1)/C really flip", symmetric_inclusive
    ),
    "asymmetric": NoiseKind(
        "look-alike classes of the dataset's card, or the next class of the superclass; the rate is per affected class",
        asymmetric,
    ),
    "pair-flip": NoiseKind("each class flips to the next one", pair_flip),
    "class-dependent": NoiseKind(
        "any transition matrix, realised by exact counts",
        class_dependent,
        rated=False,
        file="C×C matrix as CSV, or npz with 'transition_matrix'; rows sum to 1",
    ),
    "feature-dependent": NoiseKind(
        "images a student takes for another class (the MSLG authors' procedure); exactly int(N*rate) flip",
        feature_dependent,
        file=PREDICTIONS,
    ),
    "instance-dependent": NoiseKind(
        "part-dependent noise (Xia et al. 2020): each image its own rate around the rate, pixels choose the class",
        instance_dependent,
    ),
    **{
        f"pmd-{number}": NoiseKind(
            f"polynomial-margin-diminishing, type {'I' * number} (Zhang et al. 2021): flips where a clean model's "
            f"margin m is small, by {formula}; exactly int(N*rate) flip",
            margin_diminishing(number),
            file=PREDICTIONS,
        )
        for number, (formula, _) in FLIP_PROBABILITIES.items()
    },
    **{
        kind: NoiseKind(
            f"human labels of {'CIFAR-100N' if kind == 'human' else 'CIFAR-10N'}, set {names[0]}",
            human(kind),
            rated=False,
            file=SOURCE,
        )
        for kind, names in COLUMNS.items()
    },
    "file": NoiseKind(
        "a noise artifact made before", from_file, rated=False, file="npz as `noisybench noise make` or `import` writes"
    ),
}


def make_noise(kind: str, request: NoiseRequest) -> NoiseArtifact:
    """One noise model's labels.

    Args:
        kind: a key of :data:`NOISES`.
        request: labels, rate and key of the draw.

    Raises:
        UserError: the file a model reads is missing, wrong, or made for other images.
    """
    made = NOISES[kind].make(request)
    if isinstance(made, NoiseArtifact):
        return made
    noisy, rule = made
    return NoiseArtifact(
        kind=kind,
        rule=rule,
        requested_rate=request.rate if NOISES[kind].rated else float(np.mean(noisy != request.labels)),
        seed=request.seed,
        num_classes=request.num_classes,
        clean=request.labels,
        noisy=noisy,
        classes=tuple(request.card.classes),
    )
