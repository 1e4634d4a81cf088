"""label_meta_gradient against golden vectors, an independent double backward, and its own contract."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from noisybench.meta import ENGINES, label_meta_gradient, soft_label_loss
from noisybench.models import NetworkSpec, create_network

MODELS = ["noisybench_resnet20", "noisybench_cnn8", "test_convnext", "test_efficientnet"]


def network(name: str, num_classes: int = 5) -> nn.Module:
    made = create_network(NetworkSpec(name, num_classes, channels=3, image_size=32), seed=1)
    return made.double().train()


def problem(num_classes: int = 5, noisy: int = 6, clean: int = 4):
    drawn = torch.Generator().manual_seed(0)
    images = torch.randn(noisy, 3, 32, 32, generator=drawn, dtype=torch.float64)
    label_logits = 3 * torch.randn(noisy, num_classes, generator=drawn, dtype=torch.float64)
    meta_images = torch.randn(clean, 3, 32, 32, generator=drawn, dtype=torch.float64)
    return images, label_logits, meta_images, torch.arange(clean) % num_classes


def oracle(model, images, label_logits, meta_images, meta_labels, inner_lr, floor=0.0):
    """The definition, differentiated by autograd through the look-ahead step; nothing of noisybench is used."""
    parameters = dict(model.named_parameters())
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    label_logits = label_logits.clone().requires_grad_()
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        p = F.softmax(functional_call(model, {**parameters, **buffers}, (images,)), 1)
        inner = (p * (p.log() - (F.softmax(label_logits, 1) + floor).log())).sum() / p.numel()
        gradients = torch.autograd.grad(inner, list(parameters.values()), create_graph=True, materialize_grads=True)
        ahead = {n: w - inner_lr * g for (n, w), g in zip(parameters.items(), gradients, strict=True)}
        meta = F.cross_entropy(functional_call(model, {**ahead, **buffers}, (meta_images,)), meta_labels)
        return torch.autograd.grad(meta, label_logits)[0]


def relative(found, expected):
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("engine", ["jvp", "double-backward"])
@pytest.mark.parametrize("name", ["efficientnet", "convnext"])
def test_golden_vectors(shared, name, engine):
    golden = np.load(shared / "conformance" / f"mslg_step_{name}.npz", allow_pickle=False)
    model = timm.create_model(str(golden["model"]), num_classes=int(golden["num_classes"]))
    weights = {key[7:]: torch.from_numpy(golden[key]) for key in golden.files if key.startswith("weight.")}
    model.load_state_dict(weights)
    model.double().train()
    images, label_logits, meta_images = (
        torch.from_numpy(golden[key]).double() for key in ("images", "label_logits", "meta_images")
    )
    found = label_meta_gradient(
        model,
        images,
        label_logits,
        meta_images,
        torch.from_numpy(golden["meta_labels"]),
        inner_lr=float(golden["alpha"]),
        engine=engine,
    )
    assert relative(found, torch.from_numpy(golden["label_grad"])) < 1e-6
    moved = label_logits - float(golden["beta"]) * found
    np.testing.assert_allclose(moved.numpy(), golden["new_label_logits"], rtol=1e-6)
    inner = soft_label_loss(model(images), label_logits)
    assert inner.item() == pytest.approx(float(golden["inner_loss"]), rel=1e-6)


@pytest.mark.parametrize("floor", [0.0, 1e-3])
@pytest.mark.parametrize("name", MODELS)
def test_jvp_is_the_double_backward_gradient(name, floor):
    model, (images, label_logits, meta_images, meta_labels) = network(name), problem()
    expected = oracle(model, images, label_logits, meta_images, meta_labels, 0.5, floor)
    for engine in ("jvp", "double-backward"):
        found = label_meta_gradient(
            model, images, label_logits, meta_images, meta_labels, inner_lr=0.5, label_floor=floor, engine=engine
        )
        assert relative(found, expected) < 1e-10
        assert float(found.sum(1).abs().max()) < 1e-12 * float(found.abs().max()) + 1e-18


def test_a_vision_transformer_works_although_fused_attention_has_no_forward_derivative():
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=16, depth=2, num_classes=5)
    model = model.double().train()
    assert any(getattr(m, "fused_attn", False) for m in model.modules())
    arguments = problem()
    found = label_meta_gradient(model, *arguments, inner_lr=0.5)
    assert relative(found, oracle(model, *arguments, 0.5)) < 1e-10


def test_dropout_uses_one_mask_for_a_batch():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 5))
    model = model.double().train()
    arguments = problem()
    torch.manual_seed(7)
    expected = oracle(model, *arguments, 0.5)
    torch.manual_seed(7)
    assert relative(label_meta_gradient(model, *arguments, inner_lr=0.5), expected) < 1e-10


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(engine, training):
    model = network("noisybench_resnet20").train(training)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    label_meta_gradient(model, *problem(), inner_lr=0.5, engine=engine)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(torch.equal(p.grad, torch.ones_like(p)) and p.requires_grad for p in model.parameters())
    assert all(module.training is training for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_frozen_parameters_take_no_part():
    model = network("noisybench_cnn8")
    for parameter in model.convolutions.parameters():
        parameter.requires_grad_(False)
    images, label_logits, meta_images, meta_labels = problem()
    found = label_meta_gradient(model, images, label_logits, meta_images, meta_labels, inner_lr=0.5)
    # The oracle on the head alone, fed with what the frozen part makes of each batch in train mode.
    head = nn.Sequential(model.hidden, model.fc)
    with torch.no_grad():
        noisy, clean = (torch.flatten(model.convolutions(batch), 1) for batch in (images, meta_images))
    assert relative(found, oracle(head, noisy, label_logits, clean, meta_labels, 0.5)) < 1e-10


def test_head_engine_is_exact_where_the_head_is_all_there_is():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5)).double()
    arguments = problem()
    assert (
        relative(label_meta_gradient(model, *arguments, inner_lr=0.5, engine="head"), oracle(model, *arguments, 0.5))
        < 1e-12
    )


def test_finite_difference_is_near_on_a_smooth_network():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 16), nn.Tanh(), nn.Linear(16, 5)).double()
    arguments = problem()
    found = label_meta_gradient(model, *arguments, inner_lr=0.5, engine="finite-difference")
    assert 1e-12 < relative(found, oracle(model, *arguments, 0.5)) < 1e-4


def test_wrong_arguments_are_named():
    model, arguments = network("noisybench_cnn8"), problem(num_classes=4)
    with pytest.raises(ValueError, match=r"label_logits has shape \(6, 4\)"):
        label_meta_gradient(model, *arguments, inner_lr=0.5)
    with pytest.raises(ValueError, match="unknown engine 'jpv'"):
        label_meta_gradient(model, *problem(), inner_lr=0.5, engine="jpv")
    no_head = nn.Sequential(nn.Conv2d(3, 5, 32), nn.Flatten()).double()
    with pytest.raises(ValueError, match="a model whose classifier is one nn.Linear"):
        label_meta_gradient(no_head, *problem(), inner_lr=0.5, engine="head")
