"""Noise models and the noise artifact."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from noisybench.core.errors import UserError
from noisybench.noise import NoiseArtifact, NoiseRequest, NoiseTraits, make_noise, traits_of
from noisybench.spec import registry

LABELS = np.repeat(np.arange(10), [100, 100, 100, 90, 110, 73, 127, 100, 100, 100])


def request(rate, *, labels=LABELS, seed=0, **changes):
    return NoiseRequest(labels, 10, rate, seed, registry.dataset_card("cifar10"), **changes)


def counts(artifact):
    found = np.zeros((10, 10), dtype=int)
    for true, given in zip(artifact.clean, artifact.noisy, strict=True):
        found[true, given] += 1
    return found


def test_symmetric_excludes_the_true_class_and_counts_exactly():
    found = counts(make_noise("symmetric", request(0.45)))
    for i, size in enumerate(np.bincount(LABELS)):
        flipped = size - found[i, i]
        assert abs(flipped - 0.45 * size) < 1
        others = np.delete(found[i], i)
        assert others.max() - others.min() <= 1


def test_inclusive_symmetric_redraws_from_all_classes():
    found = counts(make_noise("symmetric-inclusive", request(0.5)))
    sizes = np.bincount(LABELS)
    assert (np.abs(np.diag(found) - sizes * (0.5 + 0.5 / 10)) < 1).all()
    artifact = make_noise("symmetric-inclusive", request(0.5, labels=np.repeat(np.arange(10), 200)))
    assert artifact.achieved_rate == 0.45


def test_pair_flip_goes_to_the_next_class():
    found = counts(make_noise("pair-flip", request(0.4, labels=np.repeat(np.arange(10), 50))))
    expected = 30 * np.eye(10, dtype=int) + 20 * np.roll(np.eye(10, dtype=int), 1, axis=1)
    assert (found == expected).all()


def test_asymmetric_follows_the_card():
    found = counts(make_noise("asymmetric", request(0.4, labels=np.repeat(np.arange(10), 50))))
    expected = 50 * np.eye(10, dtype=int)
    for source, target in ((9, 1), (2, 0), (4, 7), (3, 5), (5, 3)):  # truck, bird, deer, cat, dog
        expected[source, source], expected[source, target] = 30, 20
    assert (found == expected).all()


def test_no_noise_and_rate_zero_leave_labels_alone():
    for kind in ("none", "symmetric", "symmetric-inclusive", "asymmetric", "pair-flip"):
        assert (make_noise(kind, request(0.0)).noisy == LABELS).all()


def test_what_methods_may_know_of_each_noise():
    """Symmetric noise and none are spread evenly; half of the rate is wrong where half of the classes stay clean."""
    even = {"none", "symmetric", "symmetric-inclusive"}
    for kind in registry.names("noise"):
        halved = 0.5 if kind == "asymmetric" else 1.0
        assert traits_of(kind) == NoiseTraits(wrong_per_rate=halved, symmetric=kind in even), kind
    assert traits_of("imported") == traits_of("of a package that is gone") == NoiseTraits(1.0, False)


def test_draws_are_keyed_and_touch_no_global_generator():
    np.random.seed(3)
    torch.manual_seed(3)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    first = make_noise("symmetric", request(0.4))
    assert (np.random.get_state()[1] == before[0]).all() and torch.equal(torch.get_rng_state(), before[1])
    np.random.seed(99)
    assert make_noise("symmetric", request(0.4)).sha256 == first.sha256
    assert make_noise("symmetric", request(0.4, seed=1)).sha256 != first.sha256


@pytest.mark.parametrize(
    ("rate", "start"),
    [
        (0.2, "466daa07bc51df9d711cfefbc700f2d4ae76daaa2a369f2fd0f8d87757a6a88f"),
        (0.4, "48644a2b692faf44b050acc84dffd8472150d4bb2697da58e01a22a1a2c5fa9e"),
        (0.6, "a23c3cdba897486d9e181627f2eb905517cffa32f897a34984bfcf1c0ace8bf0"),
        (0.8, "ade37e681e16bdf49f81378d6f68a8fbb1802298a90fe1b4f0b3e4e84be3d86f"),
    ],
)
def test_the_authors_draw_gives_the_authors_labels(shared, rate, start):
    with np.load(shared / "data" / "cifar10n" / "labels.npz", allow_pickle=False) as stored:
        clean = stored["clean"].astype(np.int64)
    artifact = make_noise("symmetric", request(rate, labels=clean, seed=42, authors=True))
    assert hashlib.sha256(artifact.noisy.astype("<i8").tobytes()).hexdigest() == start


def test_artifact_round_trip_and_realised_matrix(tmp_path):
    made = make_noise("pair-flip", request(0.25, labels=np.repeat(np.arange(10), 8)))
    made.save(tmp_path / "noise.npz")
    read = NoiseArtifact.load(tmp_path / "noise.npz")
    assert read.sha256 == made.sha256 and (read.noisy == made.noisy).all() and read.kind == "pair-flip"
    assert read.achieved_rate == 0.25
    expected = 0.75 * np.eye(10) + 0.25 * np.roll(np.eye(10), 1, axis=1)
    np.testing.assert_array_equal(read.transition_matrix(), expected)


def test_a_changed_artifact_is_refused(tmp_path):
    file = tmp_path / "noise.npz"
    make_noise("symmetric", request(0.4)).save(file)
    with np.load(file, allow_pickle=False) as stored:
        content = dict(stored)
    content["noisy"][0] = (content["noisy"][0] + 1) % 10
    np.savez_compressed(file, **content)
    with pytest.raises(UserError, match="does not match its hash"):
        NoiseArtifact.load(file)
    file.write_bytes(b"not a zip")
    with pytest.raises(UserError, match="not a noise artifact"):
        NoiseArtifact.load(file)
    with pytest.raises(UserError, match="no such file"):
        NoiseArtifact.load(tmp_path / "missing.npz")
