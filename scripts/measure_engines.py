"""How far approximate meta-gradients are from the exact ones (the tables of docs/meta-gradient.md).

    python scripts/measure_engines.py

A CNN with BatchNorm on digits with 60 % symmetric noise, one batch of 64 noisy and 64 clean images, before training
and after 2, 5 and 20 epochs of cross-entropy. First MSLG's: the engines of ``label_meta_gradient``. Then MLNT's: the
orders of ``look_ahead_gradient``, for 10 label sets and two lengths of the look-ahead step.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import noisybench
from noisybench.data.loader import Stream
from noisybench.meta import LabelSteps, classifier_inputs, label_meta_gradient, look_ahead_gradient, noisy_forward
from noisybench.methods.ema import frozen_copy, update_ema
from noisybench.methods.mlnt import nearest_neighbours, synthetic_labels
from noisybench.models import NetworkSpec, create_network
from noisybench.train.prepare import prepare, streams

ENGINES = ("jvp", "finite-difference", "head")
ORDERS = ("first", "mean-label")
EPOCHS = (0, 2, 5, 20)
ROWS = torch.arange(64)
DECAY = 0.99  # of the teacher


def tell(name: str, epoch: int, found: Tensor, exact: Tensor) -> None:
    error, cosine = float((found - exact).norm() / exact.norm()), float(torch.cosine_similarity(found, exact, dim=0))
    print(f"epoch {epoch:2}  {name:32} relative error {error:.1e}  cosine {cosine:.4f}", flush=True)


def label_engines(network: nn.Module, train: Stream, meta: Stream, epoch: int) -> None:
    label_logits = 10 * F.one_hot(train.labels[ROWS], 10).to(train.images(ROWS).dtype)
    batch = (train.images(ROWS), label_logits, meta.images(ROWS), meta.labels[ROWS])
    exact = label_meta_gradient(network, *batch, inner_lr=0.5, engine="double-backward").flatten()
    for engine in ENGINES:
        found = label_meta_gradient(network, *batch, inner_lr=0.5, engine=engine).flatten()
        tell(f"{engine}, {label_logits.dtype}", epoch, found, exact)


def mlnt_orders(network: nn.Module, teacher: nn.Module, train: Stream, epoch: int) -> None:
    images, labels = train.images(ROWS), train.labels[ROWS]
    with torch.no_grad(), classifier_inputs(network) as kept:
        network(images)
        target = teacher(images).softmax(dim=1)
    neighbours, drawn = nearest_neighbours(kept[0], 10), np.random.default_rng(epoch)
    sets = torch.stack([synthetic_labels(labels, neighbours, 0.5, drawn) for _ in range(10)])

    def disagreement(logits: Tensor) -> Tensor:
        return F.kl_div(F.log_softmax(logits, dim=1), target, reduction="batchmean") / 10

    def gradient(order: str, inner_lr: float) -> Tensor:
        forward = noisy_forward(network, images, update_buffers=False, twice=True)
        one_hot = F.one_hot(sets, 10).to(target.dtype)
        found, _ = look_ahead_gradient(network, forward, LabelSteps(one_hot, inner_lr), disagreement, order=order)
        return torch.cat([part.flatten() for part in found.values()])

    for inner_lr in (0.02, 0.2):
        exact = gradient("second", inner_lr)
        for order in ORDERS:
            tell(f"{order}, inner_lr {inner_lr:g}", epoch, gradient(order, inner_lr), exact)


def main() -> None:
    config = noisybench.resolve(noisybench.RunConfig(method="mslg", noise_rate=0.6))
    spec = NetworkSpec(config.model, num_classes=10, channels=1, image_size=8)
    for dtype in (torch.float64, torch.float32):
        on_device = streams(config, prepare(config), torch.device("cpu"), dtype)
        train, meta = on_device.train, on_device.meta
        network = create_network(spec, seed=0).to(dtype)
        teacher = frozen_copy(network)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
        for epoch in range(EPOCHS[-1] + 1):
            if epoch in EPOCHS:
                label_engines(network, train, meta, epoch)
                if dtype == torch.float64:
                    mlnt_orders(network, teacher, train, epoch)
            for part in torch.randperm(len(train), generator=torch.Generator().manual_seed(epoch)).split(64):
                optimizer.zero_grad()
                F.cross_entropy(network(train.images(part)), train.labels[part]).backward()
                optimizer.step()
                update_ema(teacher, network, DECAY)


if __name__ == "__main__":
    main()
