"""Training the student whose mistakes feature-dependent noise copies.

A teacher learns the clean labels; a student learns from the labels and from the teacher's softened predictions on the
same images (Algan & Ulusoy, arXiv 2003.10471, released code). The student's softmax outputs on the train images say
which other class each image looks like.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisybench.core import rng
from noisybench.core.batches import num_batches, rows_of_batch
from noisybench.data import Dataset
from noisybench.data.augment import Augmenter, Normalizer
from noisybench.data.loader import Stream
from noisybench.methods.optimizers import build_optimizer, set_rate
from noisybench.models import NetworkSpec, create_network
from noisybench.spec.config import ResolvedConfig
from noisybench.spec.schedule import learning_rate


def student_predictions(
    config: ResolvedConfig,
    dataset: Dataset,
    *,
    teacher_model: str,
    temperature: float,
    hard_weight: float,
    say: Callable[[str], None],
) -> np.ndarray:
    """Train teacher and student on the official train part; the student's probabilities on it (N×C float32).

    Args:
        config: model (the student's), epochs, batch size, optimizer, schedule, augmentation and seed.
        dataset: images with clean labels.
        teacher_model: the teacher's timm name.
        temperature: that teacher's and student's logits are divided by where they are compared.
        hard_weight: share of the loss on the clean labels; the rest compares with the teacher.
        say: told one line per finished network.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = getattr(torch, config.precision)
    card = dataset.card
    stream = Stream(
        dataset.train,
        dataset.train.labels,
        np.arange(len(dataset.train)),
        Augmenter(config.augment, len(dataset.train), config.seed, "student-augment", device),
        Normalizer(config.preprocess.mean or card.mean, config.preprocess.std or card.std, device, dtype),
        workers=config.workers,
    )

    def network(name: str, number: int) -> nn.Module:
        spec = NetworkSpec(name, dataset.num_classes, card.channels, dataset.train.pixels.shape[-1], config.pretrained)
        return create_network(spec, seed=config.seed, number=number).to(device, dtype)

    def hard(logits: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels)

    def distilled(logits: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            soft = (teacher(images) / temperature).softmax(dim=1)
        return distillation_loss(logits, labels, soft, temperature, hard_weight)

    # Dropout draws from torch's global generator: seeded step by step, and put back at the end.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        teacher, student = network(teacher_model, 0), network(config.model, 1)
        _fit(config, teacher, stream, hard, number=0)
        say(f"teacher {teacher_model}: right on {_right(predict(teacher, stream), stream):.4f} of the train images")
        _fit(config, student, stream, distilled, number=1)
        probabilities = predict(student, stream)
        say(f"student {config.model}: right on {_right(probabilities, stream):.4f} of the train images")
    return probabilities.cpu().numpy()


def distillation_loss(
    logits: Tensor, labels: Tensor, teacher: Tensor, temperature: float, hard_weight: float
) -> Tensor:
    """hard_weight·CE(labels, p) + (1−hard_weight)·CE(teacher, p at the temperature), as the authors' code has it.

    Without Hinton's factor T² on the second term.

    Args:
        logits: N×C, the student's.
        labels: N int64.
        teacher: N×C, the teacher's probabilities at the temperature.
    """
    soft = F.cross_entropy(logits / temperature, teacher)
    return hard_weight * F.cross_entropy(logits, labels) + (1 - hard_weight) * soft


def _fit(config: ResolvedConfig, network: nn.Module, stream: Stream, loss: Callable, *, number: int) -> None:
    """Train one network for the configuration's epochs."""
    optimizer = build_optimizer(config.optimizer, network.parameters())
    network.train()
    step = 0
    for epoch in range(config.epochs):
        set_rate(optimizer, learning_rate(config.optimizer.lr, config.schedule, epoch, config.epochs))
        order = torch.from_numpy(rng.permutation(len(stream), config.seed, "student-order", number, epoch))
        for position in range(num_batches(len(stream), config.batch_size)):
            rows = order[rows_of_batch(position, len(stream), config.batch_size)].to(stream.device)
            rng.seed_torch(rng.key(config.seed, "student-step", number, step), stream.device)
            images = stream.view(rows, (number, epoch))
            optimizer.zero_grad(set_to_none=True)
            loss(network(images), images, stream.labels[rows]).backward()
            optimizer.step()
            step += 1
    network.eval()


@torch.no_grad()
def predict(network: nn.Module, stream: Stream) -> Tensor:
    """Softmax outputs (N×C) on all images, not augmented."""
    return torch.cat([network(images).softmax(dim=1) for _, images in stream.sweep(slice(None))])


def _right(probabilities: Tensor, stream: Stream) -> float:
    return float((probabilities.argmax(1) == stream.labels).double().mean())
