"""Noise models and the noise artifact."""

from noisybench.noise.artifact import NoiseArtifact, transition_matrix
from noisybench.noise.kinds import NOISES, NoiseKind, NoiseRequest, make_noise

__all__ = ["NOISES", "NoiseArtifact", "NoiseKind", "NoiseRequest", "make_noise", "transition_matrix"]
