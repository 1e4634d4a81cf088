"""The parts of MixMatch (Berthelot et al., NeurIPS 2019) that DivideMix uses: sharpening, mixup, the ramp."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from noisybench.methods.context import Context


def sharpen(probabilities: Tensor, temperature: float) -> Tensor:
    """p^(1/T), normalised (N×C); T < 1 makes the rows more certain.

    In the log domain, so that small probabilities at a small T do not vanish all at once.
    """
    return (probabilities.log() / temperature).softmax(dim=1)


def mixup(
    context: Context, images: list[Tensor], targets: list[Tensor], alpha: float, *key: int, own_first: bool = True
) -> tuple[list[Tensor], list[Tensor]]:
    """Blend every sample with a partner drawn from all parts of the global batch.

    One factor for the whole batch, max(λ, 1 − λ) with λ from Beta(α, α): at least one half, so a blend stays nearer to
    its own sample. Factor and partners are drawn for the global batch, alike on every process. What is to be blended
    alike, such as labels and per-sample targets, may stand side by side in ``targets``.

    Args:
        context: of the run.
        images: this process's rows of each part of the batch, N×C×H×W (parts may differ in N).
        targets: the same parts' target distributions, N×C.
        alpha: α.
        key: of the draw, e.g. epoch and step.
        own_first: off for plain mixup, whose factor is λ itself.

    Returns:
        The blended images and targets, part by part.
    """
    generator = context.generator("mixup", *key)
    factor = generator.beta(alpha, alpha)
    factor = max(factor, 1 - factor) if own_first else factor
    all_images = [context.gather_rows(part) for part in images]
    sizes = [len(part) for part in all_images]
    everybody = torch.cat(all_images)
    everybodys_targets = torch.cat([context.gather_rows(part) for part in targets])
    partners = torch.from_numpy(generator.permutation(len(everybody))).to(everybody.device)
    mine = [context.my_rows(part) for part in partners.split(sizes)]
    mixed = [factor * part + (1 - factor) * everybody[rows] for part, rows in zip(images, mine, strict=True)]
    blended = [
        factor * part + (1 - factor) * everybodys_targets[rows] for part, rows in zip(targets, mine, strict=True)
    ]
    return mixed, blended


def linear_ramp(position: float, length: float) -> float:
    """From 0 at position 0 to 1 at ``length`` and after; 1 throughout for length 0."""
    return min(max(position / length, 0.0), 1.0) if length > 0 else 1.0


def gaussian_ramp(position: float, length: float) -> float:
    """exp(−5·(1 − u)²) with u rising from 0 at position 0 to 1 at ``length`` and after: from 0.0067 to 1."""
    return math.exp(-5 * (1 - linear_ramp(position, length)) ** 2)
