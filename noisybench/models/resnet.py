"""Residual networks for 32×32 images: the CIFAR ResNets of He et al. 2016 and ResNet-18/34 with a 3×3 stem."""

from __future__ import annotations

import torch.nn.functional as F
from timm.models import register_model
from torch import Tensor, nn

from noisybench.models.backbone import OwnModel


class Block(nn.Module):
    """Two 3×3 convolutions with a shortcut (He et al. 2016, arXiv 1512.03385, figure 5 left)."""

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class PreActBlock(nn.Module):
    """The same with BatchNorm and ReLU before each convolution (He et al. 2016, arXiv 1603.05027)."""

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.shortcut = None
        if stride != 1 or channels != width:
            self.shortcut = nn.Conv2d(channels, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(activated)
        return self.conv2(F.relu(self.bn2(self.conv1(activated)))) + shortcut


class ResNet(OwnModel):
    """A 3×3 stem, stages of blocks (each after the first halves the side), global average pooling, classifier.

    Args:
        depths: blocks per stage.
        widths: channels per stage.
        pre_activation: blocks with BatchNorm and ReLU before the convolutions.
    """

    first_conv = "stem"

    def __init__(
        self, depths: list[int], widths: list[int], *, num_classes: int, in_chans: int, pre_activation: bool = False
    ):
        super().__init__()
        block = PreActBlock if pre_activation else Block
        self.stem = nn.Conv2d(in_chans, widths[0], 3, padding=1, bias=False)
        self.stem_bn = nn.Identity() if pre_activation else nn.BatchNorm2d(widths[0])
        blocks, channels = [], widths[0]
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            for position in range(depth):
                blocks.append(block(channels, width, 2 if stage > 0 and position == 0 else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.final_bn = nn.BatchNorm2d(channels) if pre_activation else None
        self.end(channels, num_classes, (in_chans, 32, 32))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, images: Tensor) -> Tensor:
        x = self.stem_bn(self.stem(images))
        x = self.blocks(x if self.final_bn is not None else F.relu(x))
        if self.final_bn is not None:
            x = F.relu(self.final_bn(x))
        return x.mean(dim=(2, 3))


def _resnet(depths, widths, pretrained, num_classes, in_chans, **options) -> ResNet:
    ResNet.check(pretrained)
    return ResNet(depths, widths, num_classes=num_classes, in_chans=in_chans, **options)


@register_model
def noisybench_resnet20(pretrained=False, num_classes=10, in_chans=3, **unused) -> ResNet:
    """The CIFAR ResNet of depth 20 (16, 32, 64)."""
    return _resnet([3, 3, 3], [16, 32, 64], pretrained, num_classes, in_chans)


@register_model
def noisybench_resnet32(pretrained=False, num_classes=10, in_chans=3, **unused) -> ResNet:
    """The CIFAR ResNet of depth 32 (16, 32, 64)."""
    return _resnet([5, 5, 5], [16, 32, 64], pretrained, num_classes, in_chans)


@register_model
def noisybench_resnet18(pretrained=False, num_classes=10, in_chans=3, **unused) -> ResNet:
    """ResNet-18 with a 3×3 stem and no pooling after it, for 32×32 images."""
    return _resnet([2, 2, 2, 2], [64, 128, 256, 512], pretrained, num_classes, in_chans)


@register_model
def noisybench_resnet34(pretrained=False, num_classes=10, in_chans=3, **unused) -> ResNet:
    """ResNet-34 with a 3×3 stem and no pooling after it, for 32×32 images."""
    return _resnet([3, 4, 6, 3], [64, 128, 256, 512], pretrained, num_classes, in_chans)


@register_model
def noisybench_preact_resnet18(pretrained=False, num_classes=10, in_chans=3, **unused) -> ResNet:
    """Pre-activation ResNet-18 for 32×32 images."""
    widths = [64, 128, 256, 512]
    return _resnet([2, 2, 2, 2], widths, pretrained, num_classes, in_chans, pre_activation=True)


@register_model
def noisybench_preact_resnet32(pretrained=False, num_classes=10, in_chans=3, **unused) -> ResNet:
    """Pre-activation ResNet of depth 32 at double width (32, 64, 128) for 32×32 images.

    Joint optimization and PENCIL use it. Their first block has a projection shortcut although the shape does not
    change; here it is the identity.
    """
    return _resnet([5, 5, 5], [32, 64, 128], pretrained, num_classes, in_chans, pre_activation=True)
