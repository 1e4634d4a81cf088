"""The gradient after look-aheads on label sets, and its Hessian products, against double backward."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from double_backward import (
    CLASSES,
    NOISY,
    SIDE,
    assert_untouched,
    call,
    flat,
    network,
    problem,
    relative,
    snapshot,
)
from torch import nn

from noisybench.meta import (
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
