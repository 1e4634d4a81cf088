"""A multi-layer perceptron without BatchNorm: every row's output depends on that row alone."""

from __future__ import annotations

import torch
from timm.models import register_model
from torch import Tensor, nn

from noisybench.models.backbone import OwnModel


class MLP(OwnModel):
    """Flatten, hidden linear layers with ReLU, classifier."""

    def __init__(self, widths, *, num_classes: int, in_chans: int, img_size: int):
        super().__init__()
        layers, width = [], in_chans * img_size * img_size
        for hidden in widths:
            layers += [nn.Linear(width, hidden), nn.ReLU(inplace=True)]
            width = hidden
        self.layers = nn.Sequential(*layers)
        self.end(width, num_classes, (in_chans, img_size, img_size))

    def forward_features(self, images: Tensor) -> Tensor:
        return self.layers(torch.flatten(images, 1))


@register_model
def noisybench_mlp(pretrained=False, num_classes=10, in_chans=1, img_size=8, **unused) -> MLP:
    """Two hidden layers of 256, no BatchNorm."""
    MLP.check(pretrained)
    return MLP([256, 256], num_classes=num_classes, in_chans=in_chans, img_size=img_size)
