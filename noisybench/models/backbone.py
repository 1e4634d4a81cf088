"""What noisybench's own backbones share: the handles by which timm models are taken apart."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class OwnModel(nn.Module):
    """A network of ``forward_features`` (images to features, N×D) and ``forward_head`` (the final linear layer ``fc``).

    Attributes:
        num_features, head_hidden_size: D.
        num_classes: C; 0 leaves the classifier out, so that the network gives its features.
        pretrained_cfg, default_cfg: what timm is told of a model: its input and the names of its ends. No published
            weights.
    """

    num_features: int
    num_classes: int
    fc: nn.Linear | nn.Identity
    first_conv: str | None = None

    @staticmethod
    def check(pretrained: bool) -> None:
        """These networks have no published weights."""
        if pretrained:
            raise ValueError("it has no pretrained weights; leave --pretrained out")

    def end(self, width: int, num_classes: int, input_size: tuple[int, int, int]) -> None:
        """Add the classifier and what timm is told: a subclass's constructor ends so, but for its initialisation.

        Args:
            width: D.
            input_size: C×H×W of the images.
        """
        self.num_features = self.head_hidden_size = width
        self.num_classes = num_classes
        self.fc = _classifier(width, num_classes)
        configuration: dict[str, Any] = {
            "num_classes": num_classes,
            "input_size": input_size,
            "pool_size": None,
            "first_conv": self.first_conv,
            "classifier": "fc",
        }
        self.pretrained_cfg = self.default_cfg = configuration

    def forward_features(self, images: Tensor) -> Tensor:
        """Images (N×C×H×W) to features (N×D)."""
        raise NotImplementedError

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Features (N×D) to logits (N×C); as they are with ``pre_logits``."""
        return features if pre_logits else self.fc(features)

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(images))

    def get_classifier(self) -> nn.Module:
        """The final linear layer."""
        return self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new classifier, on the device of the old weights; none with 0 classes. Nothing is pooled otherwise."""
        like = next(self.parameters())
        self.num_classes = num_classes
        self.fc = _classifier(self.num_features, num_classes).to(like.device, like.dtype)


def _classifier(width: int, num_classes: int) -> nn.Linear | nn.Identity:
    return nn.Linear(width, num_classes) if num_classes else nn.Identity()
