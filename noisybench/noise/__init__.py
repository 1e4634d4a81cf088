"""Noise models and the noise artifact."""

from noisybench.noise.artifact import NoiseArtifact, transition_matrix
from noisybench.noise.kinds import NOISES, make_noise
from noisybench.noise.request import NoiseKind, NoiseRequest

__all__ = ["NOISES", "NoiseArtifact", "NoiseKind", "NoiseRequest", "make_noise", "transition_matrix"]
