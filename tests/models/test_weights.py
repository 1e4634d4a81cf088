"""Weights of a file: what is read, what is refused, and what a network becomes with them."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file

from noisybench.core.errors import UserError
from noisybench.models import NetworkSpec, create_backbone, create_network, read_weights

MODEL = "test_resnet"


def trained(num_classes=5, channels=3, model=MODEL):
    torch.manual_seed(1)
    return timm.create_model(model, num_classes=num_classes, in_chans=channels)


def made(file, num_classes=10, channels=3, model=MODEL):
    weights = read_weights(file)
    return create_network(NetworkSpec(model, num_classes, channels, 32, weights=weights), seed=0), weights


def body(network):
    head = network.pretrained_cfg["classifier"]
    return {name: value for name, value in network.state_dict().items() if not name.startswith(f"{head}.")}


@pytest.fixture(params=["x.safetensors", "x.pth", "nested.pth", "averaged.pth"])
def file(request, tmp_path):
    """The same weights as files people have."""
    path, state = tmp_path / request.param, trained().state_dict()
    if request.param == "x.safetensors":
        save_file(state, path)
    elif request.param == "averaged.pth":
        noise = {name: torch.zeros_like(value) for name, value in state.items()}
        torch.save({"state_dict": noise, "state_dict_ema": state, "epoch": 3}, path)
    else:
        wrapped = {f"module.{name}": value for name, value in state.items()}
        torch.save({"model": wrapped} if request.param == "nested.pth" else state, path)
    return path


def test_all_but_a_head_of_other_classes_is_the_files(file):
    network, weights = made(file)
    wanted = body(trained())
    assert body(network).keys() == wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in body(network).items())
    plain = create_network(NetworkSpec(MODEL, 10, 3, 32), seed=0)
    assert torch.equal(network.get_classifier().weight, plain.get_classifier().weight)  # as it is initialised
    assert weights.notes == ["its head of 5 classes is replaced by a new one of 10 classes"]


def test_a_head_of_as_many_classes_is_kept(file):
    network, weights = made(file, num_classes=5)
    assert torch.equal(network.get_classifier().weight, trained().get_classifier().weight)
    assert weights.notes == []


def test_a_file_without_a_head_and_a_backbone_without_one(tmp_path):
    file = tmp_path / "body.pth"
    torch.save(body(trained()), file)
    network, weights = made(file)
    assert weights.notes == ["it holds no head: there is a new one of 10 classes"]
    whole = tmp_path / "whole.pth"
    torch.save(trained().state_dict(), whole)
    images = torch.randn(2, 3, 32, 32)
    first = create_backbone(NetworkSpec(MODEL, 0, 3, 32, weights=read_weights(file)))
    second = create_backbone(NetworkSpec(MODEL, 7, 3, 32, weights=read_weights(whole)))
    assert first.weights_sha256 == second.weights_sha256
    expected = network.eval().forward_head(network.forward_features(images), pre_logits=True)
    assert torch.equal(first.module(images), expected)


def test_grey_images_take_the_sum_over_a_first_convolution(tmp_path):
    file = tmp_path / "x.pth"
    state = trained().state_dict()
    torch.save(state, file)
    network, weights = made(file, channels=1)
    first = f"{network.pretrained_cfg['first_conv']}.weight"
    torch.testing.assert_close(network.state_dict()[first], state[first].sum(dim=1, keepdim=True))
    assert "summed over channels for grey ones" in weights.notes[1]


def test_own_models_take_weights_too(tmp_path):
    file = tmp_path / "cnn.safetensors"
    state = trained(4, model="noisybench_cnn4").state_dict()
    grey = timm.create_model("noisybench_cnn4", num_classes=4, in_chans=1, img_size=8)
    assert state.keys() == grey.state_dict().keys()
    save_file(grey.state_dict(), file)
    weights = read_weights(file)
    network = create_network(NetworkSpec("noisybench_cnn4", 10, 1, 8, weights=weights), seed=0)
    assert torch.equal(network.hidden[0].weight, grey.hidden[0].weight)
    assert weights.notes == ["its head of 4 classes is replaced by a new one of 10 classes"]


def test_a_vit_of_another_image_size_is_translated_as_timm_does(tmp_path):
    file = tmp_path / "vit.pth"
    torch.save(timm.create_model("test_vit", num_classes=10, img_size=64).state_dict(), file)
    network, _ = made(file, model="test_vit")
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_a_file_of_another_model_names_what_differs(tmp_path):
    file = tmp_path / "other.pth"
    state = trained().state_dict()
    kept = [name for name in state if name.endswith(".running_mean")]
    del state[kept[0]]
    state["more.weight"] = torch.zeros(2)
    state["conv1.0.weight"] = torch.zeros(4, 3, 7, 7)
    torch.save(state, file)
    with pytest.raises(UserError) as error:
        made(file)
    said = str(error.value)
    assert said.startswith("weights other.pth: not of model 'test_resnet': 1 of ") and "\n" not in said
    assert f"keys missing ({kept[0]})" in said and "keys unexpected (more.weight)" in said
    assert "1 of 92 keys of another shape (conv1.0.weight is 4×3×7×7, not " in said
    torch.save(trained(model="test_vit").state_dict(), file)
    with pytest.raises(UserError, match=r"not of model 'test_resnet': \d+ of \d+ keys missing \(.*, …\)"):
        made(file)


class Harmless:
    """An object that is no tensor."""


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("whole.pth", lambda path: torch.save({"a": Harmless()}, path), "holds Python objects besides tensors"),
        ("list.pth", lambda path: torch.save([1, 2], path), "holds no state dict"),
        ("numbers.pth", lambda path: torch.save({"a": 1}, path), "holds no state dict"),
        ("empty.pth", lambda path: path.write_bytes(b""), "damaged, or no file of weights"),
        ("text.safetensors", lambda path: path.write_text("weights"), "damaged, or no file of weights"),
        ("nan.pth", lambda path: torch.save({"a": torch.tensor([1.0, float("nan")])}, path), "a holds values that are"),
        ("weights.npz", lambda path: path.write_bytes(b"x"), "whose name ends in .safetensors, .pth"),
        ("folder.pth", lambda path: path.mkdir(), "a folder"),
        ("missing.pth", lambda path: None, "no such file"),
    ],
)
def test_what_is_no_file_of_weights_is_one_line(tmp_path, name, content, said):
    content(tmp_path / name)
    with pytest.raises(UserError, match=said) as error:
        read_weights(tmp_path / name)
    assert "\n" not in str(error.value) and name in str(error.value)


def test_a_cut_file_is_refused(file):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="damaged, or no file of weights"):
        read_weights(file)


def test_a_file_that_was_changed_is_refused(file):
    with pytest.raises(UserError, match=r"the file was changed \(sha256 [0-9a-f]{16}…, not 0000000000000000…\)"):
        read_weights(file, "0" * 64)
