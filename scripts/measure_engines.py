"""How far the approximate engines of label_meta_gradient are from the exact one (docs/meta-gradient.md's table).

    python scripts/measure_engines.py

A CNN with BatchNorm on digits with 60 % symmetric noise, one batch of 64 noisy and 64 clean images, before training
and after 2, 5 and 20 epochs of cross-entropy.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

import noisybench
from noisybench.meta import label_meta_gradient
from noisybench.models import create_network
from noisybench.prepare import prepare, streams

ENGINES = ("jvp", "finite-difference", "head")


def main() -> None:
    config = noisybench.RunConfig(method="mslg", noise_rate=0.6)
    for dtype in (torch.float64, torch.float32):
        on_device = streams(config, prepare(config), torch.device("cpu"), dtype)
        train, meta = on_device.train, on_device.meta
        network = create_network(config.model, num_classes=10, channels=1, image_size=8, pretrained=False, seed=0).to(
            dtype
        )
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
        rows = torch.arange(64)
        label_logits = 10 * F.one_hot(train.labels[rows], 10).to(dtype)
        batch = (train.images(rows), label_logits, meta.images(rows), meta.labels[rows])
        for epoch in range(21):
            if epoch in (0, 2, 5, 20):
                exact = label_meta_gradient(network, *batch, inner_lr=0.5, engine="double-backward").flatten()
                for engine in ENGINES:
                    found = label_meta_gradient(network, *batch, inner_lr=0.5, engine=engine).flatten()
                    error = float((found - exact).norm() / exact.norm())
                    cosine = float(torch.cosine_similarity(found, exact, dim=0))
                    print(
                        f"{str(dtype):14} epoch {epoch:2}  {engine:18} relative error {error:.1e}  cosine {cosine:.4f}"
                    )
            for part in torch.randperm(len(train), generator=torch.Generator().manual_seed(epoch)).split(64):
                optimizer.zero_grad()
                F.cross_entropy(network(train.images(part)), train.labels[part]).backward()
                optimizer.step()


if __name__ == "__main__":
    main()
