"""A method on twelve small images and a linear network, in float64: steps can be checked to the last digits."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from worlds import process

from noisybench.data.augment import Normalizer
from noisybench.data.datasets import Images
from noisybench.data.loader import Batch, Stream
from noisybench.methods import Context, Method, SampleStore
from noisybench.spec.values import OptimizerConfig

SAMPLES, CLASSES, SIDE = 12, 4, 3
EVERYONE = list(range(SAMPLES))
CPU = torch.device("cpu")


def train_stream() -> Stream:
    """The train set, always the same."""
    drawn = np.random.default_rng(0)
    pixels = torch.from_numpy(drawn.integers(0, 256, (SAMPLES, 1, SIDE, SIDE), dtype=np.uint8))
    labels = drawn.permutation(np.arange(SAMPLES) % CLASSES)
    normalize = Normalizer([0.5], [0.5], CPU, torch.float64)
    return Stream(Images(pixels, labels), labels, np.arange(SAMPLES), None, normalize)


def small_method(
    method_class: type[Method], *, epochs: int = 20, lr: float = 0.1, momentum: float = 0.9, priors=None, **settings
) -> Method:
    """The method, built with these settings."""
    train, world = train_stream(), process()

    def initialise(number: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(number)
            return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, CLASSES))

    context = Context(
        num_classes=CLASSES,
        given_labels=train.labels,
        epochs=epochs,
        batch_size=SAMPLES,
        device=CPU,
        dtype=torch.float64,
        store=SampleStore(SAMPLES, CPU, world),
        needs=method_class.needs,
        optimizer_config=OptimizerConfig(lr=lr, momentum=momentum, weight_decay=0.0),
        seed=0,
        world=world,
        train=train,
        initialise=initialise,
        priors=priors or {},
    )
    return method_class(method_class.Settings(**settings), context)


def small_batch(method: Method, rows: list[int], *, epoch: int = 0, global_size: int | None = None) -> Batch:
    """These rows of the train set, with four clean images that are other than all of it."""
    index = torch.tensor(rows)
    stream = train_stream()
    meta_images = torch.linspace(-1, 1, 4 * SIDE * SIDE, dtype=torch.float64).view(4, 1, SIDE, SIDE)
    return Batch(
        index=index,
        views=[stream.images(index)],
        labels=method.context.given_labels[index],
        epoch=epoch,
        step=epoch,
        global_size=global_size or len(rows),
        meta_images=meta_images,
        meta_labels=torch.tensor([3, 2, 1, 0]),
    )


def weights(network: nn.Module) -> Tensor:
    """All parameters as one vector, a copy."""
    return torch.cat([parameter.detach().reshape(-1).clone() for parameter in network.parameters()])


def gradient(network: nn.Module, loss: Tensor) -> Tensor:
    """The loss's gradient as one vector."""
    return torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, list(network.parameters()))])


def log_p(method, batch) -> torch.Tensor:
    """The network's log-probabilities of a batch (N×C), with their graph."""
    return method.network(batch.images).log_softmax(1)
