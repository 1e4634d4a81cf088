"""What noisybench's own backbones share: the handles by which timm models are taken apart."""

from __future__ import annotations

from torch import Tensor, nn


class OwnModel(nn.Module):
    """A network of ``forward_features`` (N×D) and the final linear layer ``fc``."""

    num_features: int
    fc: nn.Linear

    @staticmethod
    def check(pretrained: bool) -> None:
        """These networks have no published weights."""
        if pretrained:
            raise ValueError("it has no pretrained weights; leave --pretrained out")

    def forward_features(self, images: Tensor) -> Tensor:
        """Images (N×C×H×W) to features (N×D)."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.forward_features(images))

    def get_classifier(self) -> nn.Linear:
        return self.fc
