"""Every noise model against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from noisybench import RunConfig, resolve
from noisybench.core.errors import UserError
from noisybench.noise import NoiseRequest, make_noise
from noisybench.noise.by_class import next_in_superclass
from noisybench.noise.feature_dependent import flip_by_predictions
from noisybench.noise.instance_dependent import draw, instance_transitions
from noisybench.noise.margin_diminishing import FLIP_PROBABILITIES, sample_exactly, scaled_to_sum
from noisybench.spec import registry
from noisybench.spec.cards import DatasetCard
from noisybench.spec.identity import run_id_of
from noisybench.train.prepare import draw_noise, official_parts

CLASSES = 5


def card(**fields) -> DatasetCard:
    content = registry.dataset_card("digits").model_dump()
    names = ["ant", "bee", "cat", "dog", "eel"]
    content |= {"name": "animals", "classes": names, "asymmetric": {"ant": "bee"}, **fields}
    return DatasetCard(**content)


def request(labels, rate, *, file=None, seed=3, pixels_of=None, **fields) -> NoiseRequest:
    return NoiseRequest(
        labels=labels, num_classes=CLASSES, rate=rate, seed=seed, card=card(**fields), file=file, pixels_of=pixels_of
    )


@pytest.fixture
def labels() -> np.ndarray:
    """600 labels of 5 classes of different sizes: 200, 160, 120, 80, 40."""
    return np.random.default_rng(0).permutation(np.repeat(np.arange(CLASSES), [200, 160, 120, 80, 40]))


@pytest.fixture
def predictions(tmp_path, labels):
    """Class probabilities, most of them right, with the clean labels they belong to."""
    drawn = np.random.default_rng(1)
    logits = drawn.normal(size=(len(labels), CLASSES))
    logits[np.arange(len(labels)), labels] += 1.5
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    file = tmp_path / "predictions.npz"
    np.savez(file, probabilities=probabilities.astype(np.float32), clean=labels)
    return file


def counts(labels, noisy):
    table = np.zeros((CLASSES, CLASSES), dtype=int)
    for i, j in zip(labels, noisy, strict=True):
        table[i, j] += 1
    return table


def test_symmetric_counts_are_exact(labels):
    table = counts(labels, make_noise("symmetric", request(labels, 0.4)).noisy)
    expected = np.full((CLASSES, CLASSES), 0.1) + np.eye(CLASSES) * 0.5
    assert np.array_equal(table, expected * np.array([200, 160, 120, 80, 40])[:, None])


def test_symmetric_inclusive_counts_are_exact(labels):
    table = counts(labels, make_noise("symmetric-inclusive", request(labels, 0.5)).noisy)
    expected = np.full((CLASSES, CLASSES), 0.1) + np.eye(CLASSES) * 0.5
    assert np.array_equal(table, expected * np.array([200, 160, 120, 80, 40])[:, None])


def test_counts_that_are_no_whole_numbers_are_within_one(labels):
    table = counts(labels, make_noise("symmetric", request(labels, 0.37)).noisy)
    shares = (np.full((CLASSES, CLASSES), 0.37 / 4) + np.eye(CLASSES) * (0.63 - 0.37 / 4)) * table.sum(1, keepdims=True)
    assert (np.abs(table - shares) < 1).all()


def test_asymmetric_follows_the_card(labels):
    table = counts(labels, make_noise("asymmetric", request(labels, 0.25)).noisy)
    assert table[0, 1] == 50
    assert (table - np.diag(np.diag(table))).sum() == 50


def test_asymmetric_goes_around_in_the_superclass(labels):
    kinds = {"ant": "insect", "cat": "mammal", "bee": "insect", "dog": "mammal", "eel": "insect"}
    made = card(asymmetric={}, superclass=kinds)
    assert next_in_superclass(made) == {"ant": "bee", "bee": "eel", "eel": "ant", "cat": "dog", "dog": "cat"}
    table = counts(labels, make_noise("asymmetric", request(labels, 0.25, asymmetric={}, superclass=kinds)).noisy)
    assert [table[0, 1], table[1, 4], table[4, 0], table[2, 3], table[3, 2]] == [50, 40, 10, 30, 20]
    assert (table - np.diag(np.diag(table))).sum() == 150


def test_pair_flip_goes_to_the_next_class(labels):
    table = counts(labels, make_noise("pair-flip", request(labels, 0.25)).noisy)
    assert [table[i, (i + 1) % 5] for i in range(5)] == [50, 40, 30, 20, 10]


@pytest.mark.parametrize("form", ["csv", "npz", "npy"])
def test_class_dependent_realises_the_matrix(tmp_path, labels, form):
    matrix = np.eye(CLASSES)
    matrix[1] = [0.25, 0.5, 0.0, 0.125, 0.125]
    file = tmp_path / f"matrix.{form}"
    if form == "csv":
        np.savetxt(file, matrix, delimiter=",")
    elif form == "npz":
        np.savez(file, transition_matrix=matrix)
    else:
        np.save(file, matrix)
    made = make_noise("class-dependent", request(labels, 0.0, file=file))
    assert counts(labels, made.noisy)[1].tolist() == [40, 80, 0, 20, 20]
    assert made.achieved_rate == made.requested_rate == 80 / 600


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m[:4], "4×5"),
        (lambda m: m * 0.9, "row 0 sums to 0.9"),
        (lambda m: np.where(np.eye(5), 1.5, -0.125), "entry (0, 0) is 1.5"),
        (lambda m: np.full((5, 5), np.nan), "entry (0, 0) is nan"),
        (lambda m: np.vstack([m[:1], [[0.5, 0.5, 0, 0, 0]], m[2:4], [[0, 0.5, 0, 0, 0.5]]]).T, "transpose"),
    ],
)
def test_a_bad_matrix_is_refused_with_its_reason(tmp_path, labels, change, reason):
    file = tmp_path / "matrix.csv"
    np.savetxt(file, change(np.eye(CLASSES)), delimiter=",")
    with pytest.raises(UserError) as raised:
        make_noise("class-dependent", request(labels, 0.0, file=file))
    assert reason in str(raised.value)
    assert str(file) in str(raised.value)


def test_a_matrix_of_words_is_refused(tmp_path, labels):
    file = tmp_path / "matrix.csv"
    file.write_text("a,b\nc,d\n")
    with pytest.raises(UserError, match="not a matrix of numbers"):
        make_noise("class-dependent", request(labels, 0.0, file=file))


def independent_feature_dependent(labels, probabilities, count):
    """The spec's procedure row by row, with Python's sort (stable, too) in place of NumPy's."""
    classes = range(probabilities.shape[1])
    ranked = [sorted(classes, key=lambda c, row=row: row[c]) for row in probabilities.tolist()]
    noisy = labels.tolist()
    wrong = [i for i, order in enumerate(ranked) if order[-1] != labels[i]]
    if len(wrong) >= count:
        for i in sorted(wrong, key=lambda i: probabilities[i, ranked[i][-1]])[len(wrong) - count :]:
            noisy[i] = ranked[i][-1]
        return noisy
    for i in wrong:
        noisy[i] = ranked[i][-1]
    rest = [i for i in range(len(labels)) if i not in set(wrong)]
    rest.sort(key=lambda i: probabilities[i, ranked[i][-2]])
    for i in rest[len(rest) - (count - len(wrong)) :]:
        noisy[i] = ranked[i][-2]
    return noisy


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.4, 0.61, 0.8])
@pytest.mark.parametrize("levels", [None, 4])
def test_feature_dependent_agrees_with_an_independent_implementation(labels, rate, levels):
    drawn = np.random.default_rng(7)
    scores = drawn.random((len(labels), CLASSES)) if levels is None else drawn.integers(0, levels, (len(labels), 5)) + 1
    scores = scores.astype(np.float64)
    scores[np.arange(len(labels)), labels] += scores.max() * (drawn.random(len(labels)) < 0.6)
    probabilities = (scores / scores.sum(1, keepdims=True)).astype(np.float32)
    count = int(len(labels) * rate)
    noisy, _ = flip_by_predictions(labels, probabilities, count)
    assert noisy.tolist() == independent_feature_dependent(labels, probabilities, count)
    assert (noisy != labels).sum() == count


def test_feature_dependent_ties_by_hand():
    """Three images of class 0, all taken for class 0 and torn between classes 1 and 2: the higher class id is given,
    and of equal images the last ones are flipped."""
    probabilities = np.array([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [0.5, 0.3, 0.2]])
    noisy, tied = flip_by_predictions(np.zeros(3, dtype=np.int64), probabilities, 2)
    assert noisy.tolist() == [0, 2, 1]
    assert tied == 1


def test_feature_dependent_rule_is_in_the_artifact(labels, predictions):
    made = make_noise("feature-dependent", request(labels, 0.4, file=predictions))
    assert int((made.noisy != labels).sum()) == 240
    assert "stable" in made.rule
    assert "0 of the 240 flips took a second choice that tied" in made.rule


def test_margin_diminishing_formulas():
    """At margins 0 and 1 and one between, by hand."""
    margins = np.array([0.0, 0.5, 1.0])
    assert FLIP_PROBABILITIES[1][1](margins).tolist() == [0.5, 0.375, 0.0]
    assert FLIP_PROBABILITIES[2][1](margins).tolist() == [1.0, 0.875, 0.0]
    assert FLIP_PROBABILITIES[3][1](margins) == pytest.approx([1.0, 1 - 0.875 / 3, 0.0])


@pytest.mark.parametrize("kind", ["pmd-1", "pmd-2", "pmd-3"])
def test_margin_diminishing_flips_the_first_choice_to_the_second(labels, predictions, kind):
    eta = np.load(predictions)["probabilities"]
    made = make_noise(kind, request(labels, 0.3, file=predictions))
    flipped = np.flatnonzero(made.noisy != labels)
    assert len(flipped) == 180
    assert (eta.argmax(1)[flipped] == labels[flipped]).all()
    without_first = eta.copy()
    without_first[np.arange(len(eta)), eta.argmax(1)] = 0
    assert (without_first.argmax(1)[flipped] == made.noisy[flipped]).all()


def test_margin_diminishing_says_what_it_can_reach(labels, predictions):
    eta = np.load(predictions)["probabilities"]
    right = int((eta.argmax(1) == labels).sum())
    with pytest.raises(UserError, match=f"only {right} of 600 images can flip"):
        make_noise("pmd-1", request(labels, 0.99, file=predictions))


def test_scaled_probabilities_sum_to_the_count():
    tau = np.array([0.0, 0.1, 0.2, 0.4, 0.9])
    assert scaled_to_sum(tau, 1) == pytest.approx(tau / 1.6)
    # 0.9·2/1.6 > 1; then 1 is left for 0.7
    assert scaled_to_sum(tau, 2) == pytest.approx([0.0, 1 / 7, 2 / 7, 4 / 7, 1.0])
    assert scaled_to_sum(tau, 4).tolist() == [0.0, 1.0, 1.0, 1.0, 1.0]


def test_exact_sampling_keeps_size_and_probabilities():
    probabilities = np.array([0.0, 0.2, 0.5, 0.5, 0.8, 1.0])
    hits = np.zeros(6)
    for seed in range(4000):
        chosen = sample_exactly(probabilities, np.random.default_rng(seed))
        assert len(set(chosen.tolist())) == len(chosen) == 3
        hits[chosen] += 1
    assert hits / 4000 == pytest.approx(probabilities, abs=0.035)  # over 4 standard errors of 0.0079
    assert hits[0] == 0 and hits[5] == 4000


def test_instance_transitions_by_hand():
    """Class 1 of 3, scores log 1, anything, log 3: a quarter and three quarters of the flip rate."""
    shares = instance_transitions(np.log([[1.0, 50.0, 3.0]]), 1, np.array([0.4]))
    assert shares[0] == pytest.approx([0.1, 0.6, 0.3])


def test_draw_inverts_the_distribution():
    shares = np.array([[0.25, 0.5, 0.25, 0.0]] * 5)
    assert draw(shares, np.array([0.0, 0.24, 0.25, 0.74, 0.999])).tolist() == [0, 0, 1, 1, 2]
    assert draw(np.array([[0.3, 0.7 - 1e-12, 0.0]]), np.array([1 - 1e-15])).tolist() == [1]


def test_instance_dependent_rate_and_dependence_on_pixels(labels):
    pixels = np.random.default_rng(2).normal(size=(len(labels), 6))
    made = make_noise("instance-dependent", request(labels, 0.4, pixels_of=lambda rows: pixels[rows]))
    # 600 draws of rates around 0.4: standard error 0.02.
    assert made.achieved_rate == pytest.approx(0.4, abs=0.08)
    again = make_noise("instance-dependent", request(labels, 0.4, pixels_of=lambda rows: pixels[rows]))
    assert np.array_equal(made.noisy, again.noisy)
    other = make_noise("instance-dependent", request(labels, 0.4, pixels_of=lambda rows: -pixels[rows]))
    # Other pixels: the same images flip (their rates are drawn apart from the pixels) or nearly so, to other classes.
    assert (made.noisy != other.noisy).mean() > 0.2


@pytest.mark.slow
def test_instance_dependent_flips_are_as_concentrated_as_the_authors(shared):
    """On 6,000 CIFAR-10 images the released generators send 0.75-0.80 of a class's flips to its commonest target, with
    2.1 effective targets (exp of the entropy); normalised pixels spread them over more than 7."""
    given = {"dataset": "cifar10", "data_path": shared / "data" / "cifar10", "limit_train": 6000, "noise_rate": 0.4}
    found = {}
    for kind in ("instance-dependent", "instance-dependent-normalised"):
        config = resolve(RunConfig(noise=kind, **given))
        noise = draw_noise(config, official_parts(config))
        flips = noise.transition_matrix() - np.diag(np.diag(noise.transition_matrix()))
        shares = flips / flips.sum(axis=1, keepdims=True)
        entropy = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=1)
        found[kind] = shares.max(axis=1).mean(), np.exp(entropy).mean()
    commonest, effective = found["instance-dependent"]
    assert 0.68 < commonest < 0.82 and 2.0 < effective < 2.5
    commonest, effective = found["instance-dependent-normalised"]
    assert commonest < 0.3 and effective > 7


def test_normalised_pixels_are_the_networks(labels):
    """255·(mean + std·z) as pixels is z normalised: the same labels as by hand from z."""
    drawn = np.random.default_rng(4).normal(size=(len(labels), 6))
    means, stds = (np.array(values)[:, None] for values in (card().mean, card().std))
    raw = (255 * (means + stds * drawn.reshape(len(labels), len(means), -1))).reshape(drawn.shape)
    made = make_noise("instance-dependent-normalised", request(labels, 0.4, pixels_of=lambda rows: raw[rows]))
    by_hand = make_noise("instance-dependent", request(labels, 0.4, pixels_of=lambda rows: drawn[rows]))
    assert (made.noisy != by_hand.noisy).mean() < 0.01  # but for the last bits


def test_changed_draws_have_another_run_id():
    new = resolve(RunConfig(noise="instance-dependent"))
    assert new.noise_release == 2
    old = {name: value for name, value in new.model_dump(mode="json").items() if name != "noise_release"}
    assert run_id_of(old) != new.run_id
    assert resolve(RunConfig(noise="symmetric")).noise_release is None


def test_instance_dependent_flips_equal_images_of_a_class_alike(labels):
    """One very bright image repeated: softmax of its scores is one class, which every flip of a class goes to."""
    pixels = np.tile(np.full(6, 1e4), (len(labels), 1))
    noisy = make_noise("instance-dependent", request(labels, 0.5, pixels_of=lambda rows: pixels[rows])).noisy
    for label in range(CLASSES):
        given = noisy[(labels == label) & (noisy != label)]
        assert len(given) > 0
        assert len(set(given.tolist())) == 1


def test_no_global_generator_is_touched(labels, predictions, tmp_path):
    import random

    import torch

    matrix = tmp_path / "matrix.csv"
    np.savetxt(matrix, np.full((5, 5), 0.2), delimiter=",")
    pixels = np.zeros((len(labels), 4))
    np.random.seed(5)
    random.seed(5)
    torch.manual_seed(5)
    before = np.random.get_state()[1].copy(), random.getstate(), torch.get_rng_state()
    for kind in registry.names("noise"):
        model = registry.load("noise", kind)
        if kind.startswith("human") or kind == "file":
            continue
        file = None if model.file is None else matrix if kind == "class-dependent" else predictions
        for authors in (False, True):
            asked = request(labels, 0.2, file=file, pixels_of=lambda rows: pixels[rows])
            make_noise(kind, NoiseRequest(**{**vars(asked), "authors": authors}))
    assert np.array_equal(np.random.get_state()[1], before[0])
    assert random.getstate() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
