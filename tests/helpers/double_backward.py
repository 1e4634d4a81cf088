"""A small bilevel problem in float64, and what its oracles are made of; nothing of noisybench.meta is used."""

from __future__ import annotations

import timm
import torch
from torch import nn
from torch.func import functional_call

from noisybench.models import NetworkSpec, create_network

CLASSES, NOISY, CLEAN, SIDE = 5, 6, 4, 16


def network(name: str) -> nn.Module:
    if name == "vit":
        made = timm.create_model("vit_tiny_patch16_224", img_size=SIDE, patch_size=8, depth=2, num_classes=CLASSES)
    else:
        made = create_network(NetworkSpec(name, CLASSES, channels=3, image_size=SIDE), seed=1)
    return made.double().train()


def problem():
    drawn = torch.Generator().manual_seed(0)
    images = torch.randn(NOISY, 3, SIDE, SIDE, generator=drawn, dtype=torch.float64)
    labels = torch.randint(CLASSES, (NOISY,), generator=drawn)
    meta_images = torch.randn(CLEAN, 3, SIDE, SIDE, generator=drawn, dtype=torch.float64)
    return images, labels, meta_images, torch.arange(CLEAN) % CLASSES


def call(model, parameters, images):
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    return functional_call(model, {**parameters, **buffers}, (images,))


def flat(tensors) -> torch.Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def relative(found, expected) -> float:
    return float((found - expected).norm() / expected.norm())


def snapshot(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_untouched(model, before):
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert all(module.training for module in model.modules())
