"""noisybench's own backbones and their creation through timm."""

from __future__ import annotations

import pytest
import timm
import torch

from noisybench.core.errors import UserError
from noisybench.models import NetworkSpec, create_backbone, create_network
from noisybench.spec import registry


def make(name, size=32, channels=3, *, seed=0, number=0, **changes):
    spec = NetworkSpec(name, **{"num_classes": 10, "channels": channels, "image_size": size, **changes})
    return create_network(spec, seed=seed, number=number)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("noisybench_cnn8", 1_639_794),  # counted in the authors' released network
        ("noisybench_resnet20", 272_474),  # He et al. 2016, table 6: 0.27 M
        ("noisybench_resnet32", 466_906),  # 0.46 M
    ],
)
def test_parameter_counts(name, parameters):
    assert sum(p.numel() for p in make(name).parameters()) == parameters


@pytest.mark.parametrize("name", registry.names("model"))
def test_own_models_take_small_grey_images_and_name_their_classifier(name):
    network = make(name, size=8, channels=1).eval()
    images = torch.randn(2, 1, 8, 8)
    unpooled = network.forward_features(images)
    features = network.forward_head(unpooled, pre_logits=True)
    assert features.shape == (2, network.num_features)
    torch.testing.assert_close(network.get_classifier()(features), network(images))
    torch.testing.assert_close(network.forward_head(unpooled), network(images))


@pytest.mark.parametrize("name", registry.names("model"))
def test_own_models_part_with_their_classifier_as_timms_do(name):
    network = make(name, size=8, channels=1).eval()
    images = torch.randn(2, 1, 8, 8)
    features = network.forward_head(network.forward_features(images), pre_logits=True)
    ends = network.default_cfg["classifier"]
    assert network.get_submodule(ends) is network.get_classifier() and network.pretrained_cfg is network.default_cfg
    network.reset_classifier(7)
    assert network(images).shape == (2, 7) and network.num_classes == 7
    network.reset_classifier(0)
    assert torch.equal(network(images), features)
    backbone = create_backbone(NetworkSpec(name, 10, channels=1, image_size=8))
    assert not backbone.module.training and backbone.num_features == network.num_features
    backbone.module.load_state_dict(network.state_dict())
    assert torch.equal(backbone.module(images), features)


def test_cnn8_is_the_released_network():
    widths = [m.out_channels for m in make("noisybench_cnn8").modules() if isinstance(m, torch.nn.Conv2d)]
    assert widths == [64, 64, 128, 128, 196, 196]


def test_mlp_has_no_batch_norm():
    assert not [m for m in make("noisybench_mlp", 8, 1).modules() if "BatchNorm" in type(m).__name__]


def test_initial_weights_are_keyed_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    first, again = make("noisybench_cnn4", 8, 1), make("noisybench_cnn4", 8, 1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.fc.weight, again.fc.weight)
    assert not torch.equal(first.fc.weight, make("noisybench_cnn4", 8, 1, number=1).fc.weight)
    assert not torch.equal(first.fc.weight, make("noisybench_cnn4", 8, 1, seed=1).fc.weight)


def test_timm_knows_them():
    assert registry.names("model") == sorted(timm.list_models("noisybench_*"))


@pytest.mark.parametrize("name", ["convnext_atto", "vit_tiny_patch16_224"])
def test_any_timm_model_works(name):
    assert make(name)(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_names_as_the_hub_writes_them_are_timms():
    first, second = (make(name, 32) for name in ("timm/resnet18.a1_in1k", "resnet18"))
    assert torch.equal(first.fc.weight, second.fc.weight)
    assert make("timm/vit_tiny_patch16_224")(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_a_tag_that_timm_lacks_is_named_with_the_nearest():
    with pytest.raises(UserError, match="unknown model 'resnet18.a1_in1': did you mean resnet18.a1_in1k"):
        make("resnet18.a1_in1")
    with pytest.raises(UserError, match="unknown model 'resnet18.tv_in1'.*did you mean resnet18.tv_in1k"):
        make("timm/resnet18.tv_in1")
    with pytest.raises(UserError, match="model 'noisybench_cnn4.a': timm has no weights for noisybench_cnn4; leave"):
        make("noisybench_cnn4.a")


def test_a_size_is_advised_only_where_it_may_be_the_cause():
    """At the size that the model was made for, another size cannot help."""
    with pytest.raises(UserError, match="cannot take 100×100 .*it was made for 224×224, so try --image-size 224"):
        _refused(100)
    with pytest.raises(UserError) as raised:
        _refused(224)
    assert "--image-size" not in str(raised.value) and "the reason" in str(raised.value)


def _refused(size):
    """What is said of a network that takes no image."""
    from noisybench.models.create import _check_takes

    class Refuses(torch.nn.Module):
        def forward(self, images):
            raise RuntimeError("the reason")

    return _check_takes(Refuses(), NetworkSpec("resnet18", num_classes=10, channels=3, image_size=size))


def test_errors_are_one_line():
    with pytest.raises(UserError, match="unknown model 'resnt18': did you mean resnet18"):
        make("resnt18")
    with pytest.raises(UserError, match="cannot take 8×8 images .*try a larger --image-size"):
        make("convnext_atto", size=8)
    with pytest.raises(UserError, match="pretrained weights for model 'noisybench_cnn8' cannot be made"):
        make("noisybench_cnn8", pretrained=True)


def test_torchs_default_initialisation():
    """Uniform of variance 1 / (3 fan_in); Kaiming's normal over the fan-out has 2 / fan_out."""
    ours, torchs = make("noisybench_resnet34"), make("noisybench_resnet34", torch_default=True)
    again = make("noisybench_resnet34", torch_default=True)
    # The widest 3×3 convolution keeps its width: fan in and fan out are the same.
    (of_ours, of_torchs, of_again) = (
        max((m.weight.detach() for m in each.modules() if isinstance(m, torch.nn.Conv2d)), key=torch.numel)
        for each in (ours, torchs, again)
    )
    fan = 9 * of_ours.shape[1]
    assert float(of_ours.std()) == pytest.approx((2 / fan) ** 0.5, rel=0.01)
    assert float(of_torchs.std()) == pytest.approx((1 / (3 * fan)) ** 0.5, rel=0.01)
    assert float(of_torchs.abs().max()) <= (1 / fan) ** 0.5
    assert torch.equal(of_torchs, of_again)
    assert float(of_ours.std() / of_torchs.std()) == pytest.approx(6**0.5, rel=0.01)  # 2.45
