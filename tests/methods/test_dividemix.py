"""DivideMix: its rule for the noise, its split, and single steps against formulas written out here."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from two_network_parts import Images, make_data, make_method, weights_of

from noisybench import RunConfig, resolve
from noisybench.data.loader import Batch
from noisybench.methods.dividemix import DivideMix, NoiseChoice, authors_choice, negative_entropy
from noisybench.methods.loss_mixture import clean_probability
from noisybench.noise import traits_of
from noisybench.spec.identity import run_id_of, with_later_fields


@pytest.mark.parametrize(
    ("kind", "rate", "classes", "expected"),
    [
        ("none", 0.0, 10, NoiseChoice(0.0, 0.5, 1, False)),
        ("symmetric", 0.2, 10, NoiseChoice(0.0, 0.5, 1, False)),
        ("symmetric", 0.5, 10, NoiseChoice(25.0, 0.5, 1, False)),
        ("symmetric-inclusive", 0.8, 10, NoiseChoice(25.0, 0.5, 1, False)),
        ("symmetric", 0.9, 10, NoiseChoice(50.0, 0.6, 5, False)),
        ("asymmetric", 0.4, 10, NoiseChoice(0.0, 0.5, 1, True)),
        ("symmetric", 0.2, 100, NoiseChoice(25.0, 0.5, 1, False)),
        ("symmetric", 0.5, 100, NoiseChoice(150.0, 0.5, 1, False)),
    ],
)
def test_the_authors_settings_for_the_noise(kind, rate, classes, expected):
    assert authors_choice(traits_of(kind).symmetric, rate, classes) == expected


def test_given_settings_win_over_the_rule():
    images, labels = make_data()
    method = make_method(DivideMix, images, labels, rate=0.5, lambda_u=7.0)
    assert method.choice == NoiseChoice(7.0, 0.5, 1, False)


def test_the_noise_is_not_read_if_everything_is_given():
    images, labels = make_data()
    every = {"lambda_u": 25.0, "threshold": 0.5, "loss_history": 1, "confidence_penalty": False}
    assert make_method(DivideMix, images, labels, noise=None, rate=None, **every).choice == NoiseChoice(**every)


def separable(size=60, wrong=20):
    """Images that give their true class away, with the first ``wrong`` labels wrong; and the true labels."""
    drawn = torch.Generator().manual_seed(1)
    true = torch.arange(size) % 3
    pixels = F.one_hot(true, 4).double() + 0.1 * torch.randn(size, 4, generator=drawn, dtype=torch.float64)
    given = true.clone()
    given[:wrong] = (given[:wrong] + 1) % 3
    return pixels.view(size, 1, 2, 2), given, true


def with_good_networks(**settings):
    """DivideMix after warm-up: both networks nearly know the classes, network 2 less surely."""
    images, given, true = separable()
    method = make_method(DivideMix, images, given, warmup_epochs=10, **settings)
    for network, scale in zip(method.networks, (6.0, 4.0), strict=True):
        with torch.no_grad():
            network[1].weight.copy_(scale * torch.eye(3, 4, dtype=torch.float64))
    method.start_epoch(10)
    return method, images, given, true


def test_each_network_gets_the_others_split():
    method, images, given, true = with_good_networks()
    # Network 1's view of things is turned around: it calls the wrong labels clean.
    method.networks[0][1].weight.data.neg_()
    method.start_epoch(10)
    wrong = given != true
    assert torch.equal(method.labelled_for(0), ~wrong)
    plan = method.epoch_plan(10)
    assert [part.tag for part in plan] == [0, 1]
    for part in plan:
        labelled = method.labelled_for(part.tag)
        assert torch.equal(part.rows, labelled.nonzero()[:, 0])
        assert torch.equal(part.paired_rows, (~labelled).nonzero()[:, 0])
    assert not torch.equal(plan[0].rows, plan[1].rows)
    losses = F.cross_entropy(method.networks[1](images), given, reduction="none").detach()
    expected = clean_probability((losses - losses.min()) / (losses.max() - losses.min()))
    torch.testing.assert_close(method.context.store["clean_probability"][:, 1], expected)


def test_warm_up_passes_over_everything_once_for_each_network():
    method, *_ = with_good_networks()
    assert [(part.rows, part.paired_rows, part.tag) for part in method.epoch_plan(9)] == [
        (None, None, 0),
        (None, None, 1),
    ]


def test_losses_are_averaged_over_the_latest_epochs():
    method, images, given, _ = with_good_networks(loss_history=2)
    seen = []
    for scale in (1.0, 0.5, -0.3):
        method.networks[0][1].weight.data.mul_(scale)
        losses = F.cross_entropy(method.networks[0](images), given, reduction="none").detach()
        seen.append((losses - losses.min()) / (losses.max() - losses.min()))
        method.start_epoch(10)
    expected = clean_probability((seen[1] + seen[2]) / 2)
    torch.testing.assert_close(method.context.store["clean_probability"][:, 0], expected)


def test_refined_labels_and_suspicion():
    method, images, given, true = with_good_networks()
    estimate = method.estimate_labels()
    assert torch.equal(estimate.soft_labels.argmax(1), true)
    torch.testing.assert_close(estimate.soft_labels.sum(1), torch.ones(60, dtype=torch.float64))
    wrong = given != true
    assert estimate.suspicion[wrong].min() > estimate.suspicion[~wrong].max()
    clean = method.context.store["clean_probability"].mean(1)
    mean = sum((images.flatten(1) @ weight.T).softmax(1) for weight in weights_of(method)) / 2
    row = 5
    expected = clean[row] * F.one_hot(given[row], 3) + (1 - clean[row]) * mean[row]
    torch.testing.assert_close(estimate.soft_labels[row], expected)


def test_no_estimate_before_the_first_split():
    assert make_method(DivideMix, *make_data()).estimate_labels() is None


def test_a_step_against_the_formula():
    method, images, given, _ = with_good_networks(lambda_u=25.0, ramp_epochs=16)
    store, epoch, step = method.context.store, 13, 77
    store.replace("clean_probability", torch.linspace(0.05, 0.95, 120, dtype=torch.float64).view(60, 2))
    method.rows_in_pass.fill_(40)
    method.rows_done.fill_(10)
    rows, paired_rows = torch.tensor([30, 8, 41]), torch.tensor([2, 50, 17])
    bright = images * 1.1  # the second view
    unlabelled = Batch(paired_rows, [images[paired_rows], bright[paired_rows]], given[paired_rows], epoch, step, 3)
    batch = Batch(rows, [images[rows], bright[rows]], given[rows], epoch, step, 3, paired=unlabelled, tag=1)
    weights = [weight.requires_grad_() for weight in weights_of(method)]

    def predict(network, pictures):
        return (pictures.flatten(1) @ weights[network].T).softmax(1)

    # Targets: labelled from network 2 (which trains) and network 1's mixture, unlabelled from both; squared, T = 0.5.
    own = (predict(1, images[rows]) + predict(1, bright[rows])) / 2
    clean = store["clean_probability"][rows, 0, None]
    refined = (clean * F.one_hot(given[rows], 3) + (1 - clean) * own) ** 2
    guessed = sum(predict(k, view[paired_rows]) for k in (0, 1) for view in (images, bright)) / 4
    targets = [part / part.sum(1, keepdim=True) for part in (refined, guessed**2)]
    targets = torch.cat([targets[0], targets[0], targets[1], targets[1]]).detach()
    inputs = torch.cat([images[rows], bright[rows], images[paired_rows], bright[paired_rows]])
    generator = method.context.generator("mixup", epoch, step)
    factor = generator.beta(4.0, 4.0)
    factor = max(factor, 1 - factor)
    partners = torch.from_numpy(generator.permutation(12))
    inputs, targets = (factor * part + (1 - factor) * part[partners] for part in (inputs, targets))
    p = predict(1, inputs)
    labelled_loss = -(targets[:6] * p[:6].log()).sum(1).mean()
    unlabelled_loss = ((p[6:] - targets[6:]) ** 2).mean()
    penalty = (torch.log((1 / 3) / p.mean(0)) / 3).sum()
    expected = labelled_loss + 25.0 * (3 + 10 / 40) / 16 * unlabelled_loss + penalty
    (gradient,) = torch.autograd.grad(expected, weights[1])

    output = method.training_step(batch)
    torch.testing.assert_close(output.loss, expected)
    after = weights_of(method)
    torch.testing.assert_close(weights[1].detach() - after[1], gradient)
    assert torch.equal(after[0], weights[0].detach())
    assert method.rows_done.tolist() == [10, 13]
    assert all(network.training for network in method.networks)


def test_warm_up_has_the_confidence_penalty_for_asymmetric_noise_only():
    images, labels = make_data()
    losses = {}
    for noise in ("symmetric", "asymmetric"):
        method = make_method(DivideMix, images, labels, noise=noise)
        p = (images.flatten(1) @ weights_of(method)[0].T).softmax(1)
        batch = Batch(torch.arange(12), [images, images], labels, 0, 0, 12, tag=0)
        losses[noise] = method.training_step(batch).loss.item()
    certainty = float((p * p.log()).sum(1).mean())
    assert losses["asymmetric"] - losses["symmetric"] == pytest.approx(certainty)


def test_the_confidence_penalty_of_uniform_predictions():
    assert float(negative_entropy(torch.zeros(2, 4))) == pytest.approx(-torch.log(torch.tensor(4.0)).item())


def test_without_unlabelled_samples_the_labelled_part_trains_alone():
    method, images, given, _ = with_good_networks()
    method.context.store.replace("clean_probability", torch.ones(60, 2, dtype=torch.float64))
    part = method.epoch_plan(10)[0]
    assert part.paired_rows is None and len(part.rows) == 60
    batch = Batch(torch.arange(4), [images[:4]] * 2, given[:4], 10, 0, 4, tag=0)
    output = method.training_step(batch)
    assert torch.isfinite(output.loss) and "unlabelled_loss" not in output.logs


def test_a_network_without_labelled_samples_sits_out_and_two_are_an_error():
    method, *_ = with_good_networks()
    clean = torch.ones(60, 2, dtype=torch.float64)
    clean[:, 1] = 0.1
    method.context.store.replace("clean_probability", clean)
    assert [part.tag for part in method.epoch_plan(10)] == [1]
    method.context.store.replace("clean_probability", torch.zeros(60, 2, dtype=torch.float64))
    with pytest.raises(RuntimeError, match="threshold 0.5"):
        method.epoch_plan(10)


def test_the_split_does_not_depend_on_the_mode_it_is_called_in():
    method, images, *_ = with_good_networks()
    assert all(network.training for network in method.networks)
    method.context._sweep = Images(images).sweep
    before = method.context.store["clean_probability"].clone()
    method.start_epoch(11)
    assert torch.equal(before, method.context.store["clean_probability"])


def test_warm_up_has_batches_of_twice_the_size_as_released(cli):
    """The released code's warm-up loader takes batch_size*2; the method's other passes take batch_size."""
    images, labels = make_data()
    method = make_method(DivideMix, images, labels, warmup_epochs=1)
    twice = 2 * method.context.batch_size
    assert [(part.tag, part.batch_size) for part in method.epoch_plan(0)] == [(0, twice), (1, twice)]
    good, *_ = with_good_networks()
    assert [part.batch_size for part in good.epoch_plan(10)] == [None, None]
    code, printed, _ = cli("run", "--dry-run", "--method", "dividemix", "--dataset", "cifar10")
    shown = json.loads(printed)
    assert code == 0 and (shown["batch_size"], shown["settings"]["warmup_batch_factor"]) == (64, 2)


def test_run_ids_tell_the_warm_ups_apart():
    def made(**settings):
        return resolve(RunConfig(method="dividemix", dataset="cifar10", settings=settings))

    assert "warmup_batch_factor" not in made(warmup_batch_factor=1).science()["settings"]  # as release 0.1 had it
    assert made().science()["settings"]["warmup_batch_factor"] == 2
    old = made(warmup_batch_factor=1).model_dump(mode="json")
    del old["settings"]["warmup_batch_factor"]
    assert run_id_of(old) == made(warmup_batch_factor=1).run_id != made().run_id
    assert resolve(RunConfig(**with_later_fields(old))).settings["warmup_batch_factor"] == 1
