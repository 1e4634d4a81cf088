"""PES and PES-semi: parts trained anew, class weights, the split of a batch, and both kinds of step."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from small_method import CLASSES, EVERYONE, gradient, log_p, small_batch, small_method, weights
from torch import nn
from worked_batch import near

from noisybench.methods.class_balance import class_weights
from noisybench.methods.parts import held_still, last_stage
from noisybench.methods.pes import HEAD, PES, STAGE, WHOLE
from noisybench.methods.pes_semi import PESSemi, split_sizes
from noisybench.models import NetworkSpec, create_network


def keep(method, kept):
    """As a selection that keeps these samples leaves things."""
    kept = torch.tensor(kept)
    method.context.store.replace("kept", kept)
    counts = torch.bincount(method.context.given_labels[kept], minlength=CLASSES).double()
    method.class_weights.copy_(class_weights(counts))


def tagged(method, tag, epoch, rows=None):
    return dataclasses.replace(small_batch(method, rows or EVERYONE, epoch=epoch), tag=tag)


# Parts


@pytest.mark.parametrize(
    ("model", "blocks", "names"),
    [
        ("noisybench_resnet18", 2, ["blocks.6", "blocks.7"]),
        ("noisybench_resnet34", 3, ["blocks.13", "blocks.14", "blocks.15"]),
        ("noisybench_preact_resnet18", 2, ["blocks.6", "blocks.7"]),
        ("resnet18", 2, ["layer4.0", "layer4.1"]),
        ("resnet50", 3, ["layer4.0", "layer4.1", "layer4.2"]),
        ("noisybench_cnn4", 0, []),
        ("noisybench_mlp", 0, []),
    ],
)
def test_the_last_stage(model, blocks, names):
    size = 32 if model.startswith("resnet") else 8
    network = create_network(NetworkSpec(model, num_classes=3, channels=3, image_size=size), seed=0, number=0)
    found = last_stage(network)
    assert len(found) == blocks
    assert [name for name, module in network.named_modules() if any(module is each for each in found)] == names


def test_a_plain_linear_layer_has_no_stage():
    assert last_stage(nn.Linear(5, 3)) == []


def test_held_still_is_only_for_a_while():
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    with held_still(layer.parameters()):
        assert not layer.weight.requires_grad
    assert layer.weight.requires_grad and not layer.bias.requires_grad


# Selection


def test_class_weights():
    counts = torch.tensor([50.0, 10, 0, 400], dtype=torch.float64)
    near(class_weights(counts), [3.066667, 15.333333, 0.0, 0.383333])
    method = small_method(PESSemi)
    method.class_weights.copy_(class_weights(counts))
    logits = torch.zeros(1, CLASSES, dtype=torch.float64)
    for label, expected in enumerate((3.0, 3.0, 0.0, 0.383333)):
        found = method.weighed_cross_entropy(logits, F.one_hot(torch.tensor([label]), CLASSES).double())
        near(found / torch.tensor(CLASSES).log(), [expected])


def test_the_split_of_a_batch():
    assert split_sizes(30_000, 20_000, 128) == (77, 51)
    assert split_sizes(15_000, 35_000, 128) == (64, 64)
    assert split_sizes(12, 0, 12) == (12, 0)


def test_it_keeps_what_two_augmented_views_predict_as_labelled():
    method = small_method(PES, warmup_epochs=1)
    shown = []
    method.context._sweep.__self__._augment = lambda pixels, sample, occasion, strength: (
        shown.append(occasion) or (pixels if occasion[1] == 0 else 255 - pixels)
    )
    images = method.context._sweep.__self__.images(torch.arange(12))
    mean = (method.network(images).softmax(1) + method.network(-images).softmax(1)).detach() / 2
    kept = mean.argmax(1) == method.context.given_labels
    assert 0 < kept.sum() < 12
    method.start_epoch(2)
    assert torch.equal(method.context.store["kept"], kept)
    assert shown == [(2, 0, -1), (2, 1, -1)] and method.network.training
    assert torch.equal(method.epoch_plan(2)[0].rows, kept.nonzero()[:, 0])
    torch.testing.assert_close(method.estimate_labels().soft_labels, mean.float())
    counts = torch.bincount(method.context.given_labels[kept], minlength=CLASSES).double()
    torch.testing.assert_close(method.class_weights, class_weights(counts))
    method.context.store.replace("kept", torch.zeros(12, dtype=torch.bool))
    assert [part.rows for part in method.epoch_plan(2)] == [None]


# Refinement


def test_the_epoch_after_warm_up_is_made_of_refining_passes():
    method = small_method(PES, warmup_epochs=2, stage_passes=3, head_passes=2)
    assert [part.tag for part in method.epoch_plan(1)] == [WHOLE]
    assert [part.tag for part in method.epoch_plan(2)] == [STAGE] * 3 + [HEAD] * 2
    plain = small_method(PES, warmup_epochs=2, stage_passes=0, head_passes=0)
    assert [part.tag for part in plain.epoch_plan(2)] == [WHOLE]


class TwoLayers(nn.Sequential):
    """A hidden layer that is no stage, and a classifier."""

    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(9, 5), nn.ReLU(), nn.Linear(5, CLASSES))


def two_layers(monkeypatch, method_class=PES, **settings):
    def initialise(self):
        self.networks_made += 1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.networks_made)
            return TwoLayers().double()

    monkeypatch.setattr("noisybench.methods.context.Context.make_network", initialise)
    return small_method(method_class, **settings)


def test_refining_trains_the_part_alone_from_fresh_weights(monkeypatch):
    method = two_layers(monkeypatch, warmup_epochs=1, stage_passes=1, head_passes=1, refine_lr=0.01)
    method.training_step(tagged(method, WHOLE, 0))
    kept = weights(method.network[1])
    method.start_epoch(1)
    torch.manual_seed(2)
    assert torch.equal(weights(method.head), weights(TwoLayers().double()[3]))
    for tag, made in ((STAGE, 2), (HEAD, 3)):
        if tag == HEAD:
            assert not method.head_restarted
        before = weights(method.head)
        method.training_step(tagged(method, tag, 1))
        if tag == HEAD:
            torch.manual_seed(3)
            before = weights(TwoLayers().double()[3])
        assert method.context.networks_made == made
        step = weights(method.head) - before
        torch.testing.assert_close(step.abs().max().item(), 0.01, rtol=1e-4, atol=0)  # Adam's first step is the rate
        assert torch.equal(weights(method.network[1]), kept)
    assert method.head_restarted
    assert all(parameter.grad is None and parameter.requires_grad for parameter in method.network.parameters())


@pytest.mark.parametrize("retrain_head", [True, False])
def test_afterwards_the_refined_part_is_trained_unless_as_released(monkeypatch, retrain_head):
    method = two_layers(monkeypatch, warmup_epochs=1, retrain_head=retrain_head)
    keep(method, [True] * 12)
    head, rest = weights(method.head), weights(method.network[1])
    method.training_step(tagged(method, WHOLE, 2))
    assert torch.equal(weights(method.head), head) != retrain_head
    assert not torch.equal(weights(method.network[1]), rest)


def test_kept_samples_are_weighed_by_class():
    method = small_method(PES, warmup_epochs=1)
    keep(method, [True, True, True, False, True, False, True, True, False, True, True, False])
    batch = tagged(method, WHOLE, 2, rows=[0, 1, 2, 4])
    expected = F.cross_entropy(method.network(batch.images), batch.labels, weight=method.class_weights)
    assert method.training_step(batch).loss.item() == pytest.approx(expected.item())


# PES-semi


def test_an_epoch_has_the_steps_of_whole_batches():
    method = small_method(PESSemi, warmup_epochs=1)
    method.context.batch_size = 4
    keep(method, [True] * 2 + [False] * 10)
    plan = method.epoch_plan(2)
    assert all((part.batch_size, part.paired_size) == (2, 2) for part in plan)
    assert sum(-(-len(part.rows) // 2) for part in plan) == 3
    assert all(torch.equal(part.paired_rows, torch.arange(2, 12)) for part in plan)
    keep(method, [True] * 9 + [False] * 3)
    plan = method.epoch_plan(2)
    assert [(len(part.rows), part.batch_size, part.paired_size) for part in plan] == [(9, 3, 1)]
    keep(method, [True] * 12)
    plan = method.epoch_plan(2)
    assert [(len(part.rows), part.batch_size, part.paired_rows) for part in plan] == [(12, 4, None)]


def test_a_mixmatch_step_by_hand():
    method = small_method(PESSemi, warmup_epochs=1, lambda_u=2.0, ramp_epochs=4, epochs=20)
    keep(method, [True, True, True, True, True, False] + [False] * 6)
    labelled = tagged(method, WHOLE, 2, rows=[0, 1, 2])
    rest = tagged(method, WHOLE, 2, rows=[6, 7])
    views = [batch.images for batch in (labelled, rest)]
    batch = dataclasses.replace(
        labelled, views=[views[0], -views[0]], paired=dataclasses.replace(rest, views=[views[1], -views[1]])
    )
    p = lambda images: method.network(images).detach().softmax(1)  # noqa: E731
    guessed = ((p(views[1]) + p(-views[1])) / 2).square()
    guessed = guessed / guessed.sum(1, keepdim=True)
    images = torch.cat([views[0], -views[0], views[1], -views[1]])
    targets = torch.cat([F.one_hot(labelled.labels, CLASSES).double()] * 2 + [guessed] * 2)
    drawn = method.context.generator("mixup", 2, batch.step)
    factor = drawn.beta(4.0, 4.0)
    factor, partners = max(factor, 1 - factor), torch.from_numpy(drawn.permutation(10))
    blended = factor * images + (1 - factor) * images[partners]
    wanted = factor * targets + (1 - factor) * targets[partners]
    logs = method.network(blended).log_softmax(1)
    clipped = method.class_weights.clamp_max(3.0)
    fit = -(clipped * wanted * logs)[:6].sum(1).mean()
    squared = (logs.exp() - wanted)[6:].square().mean()
    expected = fit + 2.0 * 0.25 * squared  # epoch 2, one after warm-up, of a ramp of 4
    slope, before = gradient(method.network, expected), weights(method.network)
    output = method.training_step(batch)
    assert output.loss.item() == pytest.approx(expected.item())
    torch.testing.assert_close(weights(method.network), before - 0.1 * slope)


def test_warm_up_is_cross_entropy():
    method = small_method(PESSemi, warmup_epochs=1)
    batch = tagged(method, WHOLE, 0)
    expected = F.nll_loss(log_p(method, batch), batch.labels).item()
    assert method.training_step(batch).loss.item() == pytest.approx(expected)
