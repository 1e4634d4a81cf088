"""Plain convolutional networks."""

from __future__ import annotations

import torch
from timm.models import register_model
from torch import Tensor, nn

from noisybench.models.backbone import OwnModel


class ConvNet(OwnModel):
    """Stages of 3×3 convolutions with BatchNorm and ReLU, each stage ended by 2×2 max pooling, then a hidden linear
    layer with BatchNorm and the classifier.

    Convolutions start Kaiming normal (fan out), BatchNorm at 1 and 0, linear layers at torch's default.

    Args:
        widths: channels of each convolution, by stage.
        hidden: width of the hidden linear layer: the features.
        img_size: side of the images; must be divisible by 2 to the number of stages.
    """

    first_conv = "convolutions.0"

    def __init__(self, widths, hidden: int, *, num_classes: int, in_chans: int, img_size: int):
        super().__init__()
        layers, channels = [], in_chans
        for stage in widths:
            for width in stage:
                layers += [
                    nn.Conv2d(channels, width, 3, padding=1),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                ]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.convolutions = nn.Sequential(*layers)
        side = img_size // 2 ** len(widths)
        self.hidden = nn.Sequential(
            nn.Linear(channels * side * side, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)
        )
        self.end(hidden, num_classes, (in_chans, img_size, img_size))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, images: Tensor) -> Tensor:
        return self.hidden(torch.flatten(self.convolutions(images), 1))


@register_model
def noisybench_cnn8(pretrained=False, num_classes=10, in_chans=3, img_size=32, **unused) -> ConvNet:
    """The MSLG paper's CIFAR-10 network: 6 convolutions (64, 128, 196) and 2 linear layers.

    As released (note 196, not 192); 1,639,794 parameters at 32×32×3.
    """
    ConvNet.check(pretrained)
    widths = [(64, 64), (128, 128), (196, 196)]
    return ConvNet(widths, 256, num_classes=num_classes, in_chans=in_chans, img_size=img_size)


@register_model
def noisybench_cnn4(pretrained=False, num_classes=10, in_chans=1, img_size=8, **unused) -> ConvNet:
    """Two convolutions (32, 64) and two linear layers, with BatchNorm: for small grey images; digits' default."""
    ConvNet.check(pretrained)
    return ConvNet([(32,), (64,)], 128, num_classes=num_classes, in_chans=in_chans, img_size=img_size)
