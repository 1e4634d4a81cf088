"""Cross-entropy training written by hand: what every step and every epoch is compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisybench.core import rng


def bare_step(network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> None:
    """One step of cross-entropy: forward, backward, update."""
    optimizer.zero_grad(set_to_none=True)
    loss = F.cross_entropy(network(images), labels)
    loss.backward()
    optimizer.step()


@dataclass(frozen=True)
class BareSet:
    """A train set in memory, and how it becomes network input.

    Attributes:
        pixels: n×C×H×W uint8, on the network's device.
        labels: n int64.
        sample: n int64, rows of the table of draws.
        mean, std: of each channel, of values in [0, 1].
        padding: zeros around an image before the random crop; it is flipped with probability 1/2.
    """

    pixels: Tensor
    labels: Tensor
    sample: Tensor
    mean: list[float]
    std: list[float]
    padding: int


def bare_epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: BareSet,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
) -> None:
    """One epoch of cross-entropy over pixels in memory: shuffle, crop, flip, normalise, step.

    The draws are those of a run with this seed, so the weights end where the framework's end.
    """
    pixels, padding = train.pixels, train.padding
    device, side = pixels.device, pixels.shape[-1]
    order = torch.from_numpy(rng.permutation(len(pixels), seed, "order", epoch, 0)).to(device)
    draws = {
        name: torch.from_numpy(rng.uniforms((int(train.sample.max()) + 1, count), seed, "augment", name, epoch, 0, 0))
        for name, count in (("crop", 2), ("horizontal-flip", 1))
    }
    offsets, flips = draws["crop"].to(device), draws["horizontal-flip"][:, 0].to(device)
    scale, shift = (
        torch.from_numpy(values.astype(np.float32)).to(device)[:, None, None]
        for values in (1 / (255 * np.array(train.std)), -np.array(train.mean) / np.array(train.std))
    )
    span = torch.arange(side, device=device)
    for rows in order.split(batch_size):
        drawn = train.sample[rows]
        padded = F.pad(pixels[rows], (padding,) * 4).permute(0, 2, 3, 1)
        top, left = (offsets[drawn] * (2 * padding + 1)).long().T
        each = torch.arange(len(rows), device=device)[:, None, None]
        images = padded[each, (top[:, None] + span)[:, :, None], (left[:, None] + span)[:, None, :]].permute(0, 3, 1, 2)
        images = torch.where((flips[drawn] < 0.5)[:, None, None, None], images.flip(3), images)
        images = torch.addcmul(shift, images.float().contiguous(), scale)
        bare_step(network, optimizer, images, train.labels[rows])
