"""A network's features through the context: what its classifier is given, whatever the classifier is."""

from __future__ import annotations

import pytest
import torch
from small_method import small_method
from torch import nn

from noisybench.core.errors import UserError
from noisybench.methods import Method
from noisybench.models import NetworkSpec, create_network
from noisybench.parallel.connect import make_accelerator
from noisybench.parallel.world import World

MODELS = ["noisybench_cnn4", "noisybench_preact_resnet18", "test_resnet", "test_vit", "mobilenetv3_small_050"]


@pytest.fixture
def context():
    """In float32, on one process."""
    found = small_method(Method).context
    found.dtype = torch.float32
    return found


def made(name):
    return create_network(NetworkSpec(name, 10, 3, 32), seed=0).eval()


def given_to_classifier(network, images):
    seen = []
    handle = network.get_classifier().register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(images)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("name", MODELS)
def test_they_are_what_the_classifier_is_given(context, name):
    network, images = made(name), torch.randn(3, 3, 32, 32)
    features = context.features(network, images)
    assert torch.equal(features, given_to_classifier(network, images))
    torch.testing.assert_close(network.get_classifier()(features), network(images))
    features.sum().backward()  # their graph reaches the first layer
    assert next(network.parameters()).grad is not None


def test_a_classifier_that_is_a_convolution_has_them_too(context):
    network, images = made("resnetv2_18"), torch.randn(3, 3, 32, 32)
    head = network.get_classifier()
    assert isinstance(head, nn.Conv2d)
    features = context.features(network, images)
    logits = features @ head.weight[:, :, 0, 0].T + head.bias
    torch.testing.assert_close(logits, network(images))


@pytest.mark.parametrize("name", MODELS)
def test_in_bfloat16_they_are_what_the_classifier_is_given_there(context, name):
    plain, images = made(name), torch.randn(3, 3, 32, 32)
    in_float32 = context.features(plain, images)
    context.world = World(make_accelerator(mixed_precision="bf16"))
    network = context.world.prepare(plain)
    seen = given_to_classifier(network, images)
    features = context.features(network, images)
    assert features.dtype == torch.float32 and torch.equal(features, seen.float())
    assert not torch.equal(features, in_float32)  # it was computed in bfloat16
    torch.testing.assert_close(features, in_float32, rtol=0.1, atol=0.1)


def test_a_plain_network_has_them_by_its_last_linear_layer(context):
    context.dtype = torch.float64
    network = context.make_network()
    images = torch.cat([image for _, image in context._sweep(slice(0, 4))])[[3, 1]]
    assert torch.equal(context.features(network, images), images.flatten(1))
    assert context.num_features(network) == images[0].numel()


def test_their_number_is_found_and_the_network_left_as_it_is(context):
    context.dtype = torch.float64
    network = nn.Sequential(nn.Flatten(), nn.Linear(9, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 4)).double()
    network[2].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert context.num_features(network) == 5
    assert [module.training for module in network] == [True, True, False, True, True]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class Maps(nn.Module):
    """Gives a map of features."""

    def forward_features(self, images):
        return images

    def forward_head(self, features, pre_logits=False):
        return features


def test_models_without_them_are_one_line(context):
    with pytest.raises(UserError, match="this method reads a model's features, which Flatten does not give"):
        context.features(nn.Flatten(), torch.zeros(1, 3, 4, 4))
    with pytest.raises(UserError, match=r"a row for each image; Maps gives \(1, 3, 4, 4\)"):
        context.features(Maps(), torch.zeros(1, 3, 4, 4))


TWO_EPOCHS = (
    "--limit-train",
    "200",
    "--meta-size",
    "20",
    "--epochs",
    "2",
    "--model",
    "resnetv2_18",
    "--image-size",
    "32",
)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [("metalabelnet", "warmup_epochs=1"), ("mlnt", "start_step=1")])
def test_methods_that_read_features_take_a_convolution_for_a_classifier(cli, tmp_path, settings):
    method, setting = settings
    code, _, err = cli(
        "run", *TWO_EPOCHS, "--method", method, "--set", f"method.{setting}", "--output", tmp_path / "run"
    )
    assert code == 0, err


def test_mslgs_head_engine_says_which_models_it_takes(cli, tmp_path):
    arguments = (*TWO_EPOCHS, "--method", "mslg", "--set", "method.engine='head'")
    code, _, err = cli("run", *arguments, "--output", tmp_path / "run")
    assert code == 2 and err.count("\n") == 1 and not (tmp_path / "run").exists()
    assert "method.engine=head" in err and "whose classifier is one nn.Linear; ResNetV2 ends in Conv2d(" in err
