"""A context and batches by hand, for tests of single steps of the two-network methods."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from noisybench.data.loader import Batch
from noisybench.methods.context import Context
from noisybench.methods.store import SampleStore
from noisybench.noise import traits_of
from noisybench.spec.values import OptimizerConfig

SIDE, CLASSES = 2, 3


class OneProcess:
    """The world of a run with one process."""

    rank, size, is_main, share, rows, alone = 0, 1, True, 1.0, slice(None), True

    def part(self, size):
        return slice(0, size)

    def average(self, tensors, share=None):
        return tensors

    def gather_rows(self, rows):
        return rows


class Images:
    """The train set as the context's full pass reads it."""

    def __init__(self, images):
        self._images = images

    def __len__(self):
        return len(self._images)

    def sweep(self, part, occasion=None):
        rows = torch.arange(len(self))[part]
        yield rows, self._images[rows]


def linear_network(number: int) -> nn.Module:
    """The run's number-th network: linear, weights drawn from its number."""
    layer = nn.Linear(SIDE * SIDE, CLASSES)
    drawn = torch.Generator().manual_seed(number)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=drawn))
        layer.bias.zero_()
    return nn.Sequential(nn.Flatten(), layer)


def make_method(method_class, images, labels, *, optimizer=None, noise="symmetric", rate=0.4, **settings):
    """A method over linear networks in float64, with plain SGD of rate 1 unless said otherwise."""
    world = OneProcess()
    context = Context(
        num_classes=CLASSES,
        given_labels=labels,
        epochs=40,
        batch_size=len(labels),
        device=torch.device("cpu"),
        dtype=torch.float64,
        store=SampleStore(len(labels), torch.device("cpu"), world),
        needs=method_class.needs,
        optimizer_config=optimizer or OptimizerConfig(lr=1.0, momentum=0.0, weight_decay=0.0),
        seed=0,
        world=world,
        train=Images(images),
        initialise=linear_network,
        priors={"noise_kind": noise, "noise_traits": noise and traits_of(noise), "noise_rate": rate},
    )
    return method_class(method_class.Settings(**settings), context)


def make_data(size: int = 12):
    """Images (float64) and labels."""
    drawn = torch.Generator().manual_seed(7)
    images = torch.randn(size, 1, SIDE, SIDE, generator=drawn, dtype=torch.float64)
    return images, torch.randint(CLASSES, (size,), generator=drawn)


def make_batch(images, labels, *, epoch: int = 20, step: int = 0, index=None, **more) -> Batch:
    """A batch of these rows (all of them if not said), its views the images themselves."""
    index = torch.arange(len(labels)) if index is None else index
    return Batch(index, [images[index]], labels[index], epoch, step, len(index), **more)


def weights_of(method) -> list[torch.Tensor]:
    """A copy of each network's weight matrix."""
    return [network[1].weight.detach().clone() for network in method.networks]


def probabilities(weight, images):
    return (images.flatten(1) @ weight.T).softmax(dim=1)


def cross_entropies(weight, images, labels):
    return -probabilities(weight, images)[torch.arange(len(labels)), labels].log()


def gradient(weight, images, labels, chosen):
    """dCE/dW of the mean over the chosen rows of a linear softmax classifier: mean of (p − e_y) xᵀ."""
    wrong = probabilities(weight, images) - F.one_hot(labels, len(weight))
    return (wrong[chosen].T @ images.flatten(1)[chosen]) / len(chosen)


def stepped(before, after):
    """The gradient that a plain SGD step of rate 1 took."""
    return [old - new for old, new in zip(before, after, strict=True)]


def smallest(values, count):
    return sorted(sorted(range(len(values)), key=lambda row: float(values[row]))[:count])
