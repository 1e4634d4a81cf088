"""The package of a new method, ready to be installed."""

from noisybench.skeleton.write import write_skeleton

__all__ = ["write_skeleton"]
