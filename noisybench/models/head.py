"""The network of a frozen run: what is trained on features."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from noisybench.core import rng
from noisybench.models.backbone import OwnModel
from noisybench.spec.frozen import head_widths


class Head(OwnModel):
    """Hidden linear layers with ReLU (none for a linear head), then the classifier ``fc``. It takes features N×D."""

    def __init__(self, width: int, hidden: list[int], num_classes: int):
        super().__init__()
        layers: list[nn.Module] = []
        inputs = width
        for size in hidden:
            layers += [nn.Linear(width, size), nn.ReLU(inplace=True)]
            width = size
        self.layers = nn.Sequential(*layers)
        self.end(width, num_classes, (inputs, 1, 1))

    def forward_features(self, images: Tensor) -> Tensor:
        return self.layers(images)


@dataclass(frozen=True)
class HeadSpec:
    """Which head.

    Attributes:
        head: ``linear`` or ``mlp:WIDTH,…``.
        width: D, of the features.
        num_classes: C, its outputs.
    """

    head: str
    width: int
    num_classes: int


def create_head(spec: HeadSpec, number: int = 0, *, seed: int) -> Head:
    """A head with torch's default initialisation, drawn under the key (seed, "init", number), on the CPU.

    Raises:
        UserError: there is no such head.
    """
    with rng.torch_seeded(seed, "init", number):
        return Head(spec.width, head_widths(spec.head), spec.num_classes)
