"""Noise models and the noise artifact."""

from noisybench.noise.artifact import NoiseArtifact, transition_matrix
from noisybench.noise.kinds import make_noise, traits_of
from noisybench.noise.request import NoiseKind, NoiseRequest, NoiseTraits

__all__ = [
    "NoiseArtifact",
    "NoiseKind",
    "NoiseRequest",
    "NoiseTraits",
    "make_noise",
    "traits_of",
    "transition_matrix",
]
