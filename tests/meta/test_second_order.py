"""Hessian-vector products, look-ahead and example-weight gradients against double backward in float64."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from noisybench.meta import (
    ENGINES,
    InnerStep,
    LabelSteps,
    MetaBatch,
    example_weight_meta_gradient,
    hessian_vector_product,
    look_ahead_gradient,
    look_ahead_tangent,
    noisy_forward,
    plain_attention,
)
from noisybench.meta.second_order import TwiceDifferentiable
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


@pytest.mark.parametrize("name", ["noisybench_resnet20", "noisybench_cnn8", "vit"])
def test_hessian_vector_product_is_the_double_backward(name):
    model, (images, labels, *_) = network(name), problem()
    drawn = torch.Generator().manual_seed(1)
    direction = {n: torch.randn(p.shape, generator=drawn, dtype=p.dtype) for n, p in model.named_parameters()}
    before = snapshot(model)
    forward = noisy_forward(model, images, update_buffers=False)
    found = hessian_vector_product(model, forward, lambda logits: F.cross_entropy(logits, labels), direction)
    assert_untouched(model, before)
    parameters = dict(model.named_parameters())
    with plain_attention():
        loss = F.cross_entropy(call(model, parameters, images), labels)
        gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
        expected = torch.autograd.grad(gradients, list(parameters.values()), list(direction.values()))
    assert relative(flat(found.values()), flat(expected)) < 1e-10


def test_hessian_vector_product_uses_the_dropout_masks_of_the_forward_pass():
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, CLASSES)
    )
    model = model.double().train()
    images, labels, *_ = problem()
    direction = {n: torch.ones_like(p) for n, p in model.named_parameters()}
    forward = noisy_forward(model, images)
    found = hessian_vector_product(model, forward, lambda logits: F.cross_entropy(logits, labels), direction)
    weights = list(model.parameters())
    gradients = torch.autograd.grad(F.cross_entropy(forward.logits, labels), weights, create_graph=True)
    expected = torch.autograd.grad(gradients, weights, list(direction.values()))
    assert relative(flat(found.values()), flat(expected)) < 1e-10


def label_sets_and_target(sets: int = 3):
    drawn = torch.Generator().manual_seed(2)
    labels = torch.randint(CLASSES, (sets, NOISY), generator=drawn)
    target = torch.randn(NOISY, CLASSES, generator=drawn, dtype=torch.float64).softmax(1)
    return F.one_hot(labels, CLASSES).double(), target


def parts(model, images, label_sets, target, inner_lr):
    """(v_m, H_m v_m) for each m by double backward, and the mean outer loss; nothing of noisybench.meta is used."""
    parameters = dict(model.named_parameters())
    weights = list(parameters.values())
    found, losses = [], []
    with plain_attention():
        for labels in label_sets:
            inner = -(labels * call(model, parameters, images).log_softmax(1)).sum(1).mean()
            gradients = torch.autograd.grad(inner, weights, create_graph=True)
            ahead = [(w - inner_lr * g).detach().requires_grad_() for w, g in zip(weights, gradients, strict=True)]
            log_p = call(model, dict(zip(parameters, ahead, strict=True)), images).log_softmax(1)
            loss = (target * (target.log() - log_p)).sum(1).mean()
            v = torch.autograd.grad(loss, ahead)
            found.append((flat(v), flat(torch.autograd.grad(gradients, weights, v))))
            losses.append(loss.detach())
    return found, torch.stack(losses).mean()


@pytest.mark.parametrize("hessian", ["shared-graph", "forward-over-reverse"])
@pytest.mark.parametrize("name", ["noisybench_resnet20", "vit"])
def test_look_ahead_gradient_is_the_joint_double_backward(name, hessian):
    """Against the released code's form: differentiate the mean loss over all look-aheads once, through every step."""
    model, (images, *_), (label_sets, target) = network(name), problem(), label_sets_and_target()
    before = snapshot(model)
    forward = noisy_forward(model, images, update_buffers=False, twice=True)
    found, loss = look_ahead_gradient(
        model, forward, LabelSteps(label_sets, 0.2), lambda o: kl(o, target), hessian=hessian
    )
    assert_untouched(model, before)
    parameters = dict(model.named_parameters())
    weights = list(parameters.values())
    total = 0.0
    with plain_attention():
        logits = call(model, parameters, images)
        for labels in label_sets:
            inner = -(labels * logits.log_softmax(1)).sum(1).mean()
            gradients = torch.autograd.grad(inner, weights, create_graph=True)
            ahead = {n: w - 0.2 * g for (n, w), g in zip(parameters.items(), gradients, strict=True)}
            total = total + kl(call(model, ahead, images), target) / len(label_sets)
        expected = torch.autograd.grad(total, weights)
    assert relative(flat(found.values()), flat(expected)) < 1e-10
    assert float(loss) == pytest.approx(total.item(), rel=1e-12)


def kl(logits, target):
    return (target * (target.log() - logits.log_softmax(1))).sum(1).mean()


def test_first_order_is_the_mean_of_the_outer_gradients():
    model, (images, *_), (label_sets, target) = network("noisybench_resnet20"), problem(), label_sets_and_target()
    expected, _ = parts(model, images, label_sets, target, 0.2)
    forward = noisy_forward(model, images, update_buffers=False)
    found, _ = look_ahead_gradient(model, forward, LabelSteps(label_sets, 0.2), lambda o: kl(o, target), order="first")
    first = torch.stack([v for v, _ in expected]).mean(0)
    assert relative(flat(found.values()), first) < 1e-10
    second = first - 0.2 * torch.stack([product for _, product in expected]).mean(0)
    assert relative(first, second) > 0.05  # at this step length the two really differ


def test_mean_label_is_one_product_along_the_mean_direction():
    model, (images, *_), (label_sets, target) = network("noisybench_resnet20"), problem(), label_sets_and_target()
    expected, _ = parts(model, images, label_sets, target, 0.2)
    forward = noisy_forward(model, images, update_buffers=False)
    found, _ = look_ahead_gradient(
        model, forward, LabelSteps(label_sets, 0.2), lambda o: kl(o, target), order="mean-label"
    )
    mean_v = torch.stack([v for v, _ in expected]).mean(0)
    weights = list(model.parameters())
    inner = -(label_sets.mean(0) * call(model, dict(model.named_parameters()), images).log_softmax(1)).sum(1).mean()
    gradient = flat(torch.autograd.grad(inner, weights, create_graph=True))
    product = flat(torch.autograd.grad(gradient @ mean_v, weights))
    assert relative(flat(found.values()), mean_v - 0.2 * product) < 1e-10


def test_mean_label_is_exact_where_all_label_sets_agree():
    model, (images, *_), (label_sets, target) = network("noisybench_cnn8"), problem(), label_sets_and_target()
    same = label_sets[:1].expand(3, -1, -1)
    forward = noisy_forward(model, images, update_buffers=False, twice=True)
    steps = LabelSteps(same, 0.2)
    second, mean_label = (
        flat(look_ahead_gradient(model, forward, steps, lambda o: kl(o, target), order=order)[0].values())
        for order in ("second", "mean-label")
    )
    assert relative(mean_label, second) < 1e-10


def test_unknown_names_are_refused():
    model, (images, *_), (label_sets, target) = network("noisybench_cnn8"), problem(), label_sets_and_target()
    forward, steps = noisy_forward(model, images), LabelSteps(label_sets, 0.2)
    with pytest.raises(ValueError, match="unknown order 'third'"):
        look_ahead_gradient(model, forward, steps, lambda o: kl(o, target), order="third")
    with pytest.raises(ValueError, match="unknown hessian engine 'reverse'"):
        look_ahead_gradient(model, forward, steps, lambda o: kl(o, target), hessian="reverse")
    with pytest.raises(ValueError, match="unknown engine 'double-backward': choose from jvp, finite-difference, head"):
        clean = MetaBatch.labelled(images, torch.zeros(6).long())
        look_ahead_tangent(model, forward, InnerStep(None, 0.2), clean, engine="double-backward")
    with pytest.raises(ValueError, match=r"labels has shape \(3,\), and there are 6 images"):
        example_weight_meta_gradient(model, images, torch.zeros(3).long(), images, torch.zeros(6).long(), inner_lr=1.0)
    with pytest.raises(ValueError, match="unknown engine 'jpv'"):
        example_weight_meta_gradient(model, *problem(), inner_lr=1.0, engine="jpv")


def example_weight_oracle(model, images, labels, meta_images, meta_labels, inner_lr, weights):
    parameters = dict(model.named_parameters())
    weights = weights.clone().requires_grad_()
    with plain_attention():
        log_p = call(model, parameters, images).log_softmax(1)
        inner = -(weights * log_p[torch.arange(len(labels)), labels]).sum()
        gradients = torch.autograd.grad(inner, list(parameters.values()), create_graph=True)
        ahead = {n: w - inner_lr * g for (n, w), g in zip(parameters.items(), gradients, strict=True)}
        log_p = call(model, ahead, meta_images).log_softmax(1)
        return torch.autograd.grad(-log_p[torch.arange(len(meta_labels)), meta_labels].mean(), weights)[0]


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("name", ["noisybench_resnet20", "vit"])
def test_example_weight_gradient_is_the_double_backward(name, weighted):
    model, arguments = network(name), problem()
    weights = torch.linspace(0.0, 0.5, NOISY, dtype=torch.float64)
    expected = example_weight_oracle(model, *arguments, 0.5, weights if weighted else torch.zeros_like(weights))
    for engine in ("jvp", "double-backward"):
        found = example_weight_meta_gradient(
            model, *arguments, inner_lr=0.5, weights=weights if weighted else None, engine=engine
        )
        assert found.shape == (NOISY,)
        assert relative(found, expected) < 1e-10


def test_example_weight_approximations():
    torch.manual_seed(5)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, CLASSES)).double()
    smooth = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 8), nn.Tanh(), nn.Linear(8, CLASSES)).double()
    arguments, weights = problem(), torch.full((NOISY,), 1 / NOISY, dtype=torch.float64)
    for model, engine, bound in ((linear, "head", 1e-12), (smooth, "finite-difference", 1e-4)):
        expected = example_weight_oracle(model, *arguments, 0.05, weights)
        found = example_weight_meta_gradient(model, *arguments, inner_lr=0.05, weights=weights, engine=engine)
        assert relative(found, expected) < bound


@pytest.mark.parametrize("engine", ENGINES)
def test_example_weight_gradient_leaves_the_model_as_it_was(engine):
    model = network("noisybench_resnet20")
    before = snapshot(model)
    weights = torch.full((NOISY,), 0.1, dtype=torch.float64)
    found = example_weight_meta_gradient(model, *problem(), inner_lr=0.5, weights=weights, engine=engine)
    assert not found.requires_grad
    assert_untouched(model, before)


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1, "groups": 2}, {"dilation": (2, 1), "bias": None}])
def test_second_derivatives_of_convolutions_against_differences(options):
    drawn = torch.Generator().manual_seed(0)
    images = torch.randn(2, 4, 5, 6, dtype=torch.float64, generator=drawn, requires_grad=True)
    channels = 4 // options.get("groups", 1)
    weight = torch.randn(6, channels, 3, 2, dtype=torch.float64, generator=drawn, requires_grad=True)
    bias = torch.randn(6, dtype=torch.float64, generator=drawn, requires_grad=True)
    options = {"bias": bias, **options}

    def convolution(images, weight, bias):
        with TwiceDifferentiable():
            return F.conv2d(images, weight, **{**options, "bias": bias if options["bias"] is not None else None})

    assert type(convolution(images, weight, bias).grad_fn).__name__ == "_ConvolutionBackward"
    torch.testing.assert_close(convolution(images, weight, bias), F.conv2d(images, weight, **options))
    assert torch.autograd.gradcheck(convolution, (images, weight, bias))
    assert torch.autograd.gradgradcheck(convolution, (images, weight, bias))


@pytest.mark.parametrize("shape", [(5, 3), (3, 2, 4), (2, 3, 2, 3)])
def test_second_derivatives_of_batchnorm_against_differences(shape):
    drawn = torch.Generator().manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, generator=drawn, requires_grad=True)
    weight, bias = (torch.randn(shape[1], dtype=torch.float64, generator=drawn, requires_grad=True) for _ in range(2))

    def normalised(x, weight, bias):
        with TwiceDifferentiable():
            return F.batch_norm(x, None, None, weight, bias, training=True, eps=0.1)

    assert type(normalised(x, weight, bias).grad_fn).__name__ == "_BatchNormBackward"
    torch.testing.assert_close(
        normalised(x, weight, bias), F.batch_norm(x, None, None, weight, bias, training=True, eps=0.1)
    )
    assert torch.autograd.gradcheck(normalised, (x, weight, bias))
    assert torch.autograd.gradgradcheck(normalised, (x, weight, bias))


def test_a_graph_that_is_differentiated_twice_moves_running_statistics_as_torch_does():
    norm, images = torch.nn.BatchNorm2d(3), torch.randn(4, 3, 2, 2)
    other = copy.deepcopy(norm)
    with TwiceDifferentiable():
        found = norm(images)
    torch.testing.assert_close(found, other(images))
    assert torch.equal(norm.running_mean, other.running_mean) and torch.equal(norm.running_var, other.running_var)
