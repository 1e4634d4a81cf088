"""The real label files beside the project: rates, confusions and hashes that are known from their sources."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow.parquet
import pytest

from noisybench.cli.noise_report import largest_confusions
from noisybench.core.errors import UserError
from noisybench.noise import NoiseRequest, make_noise
from noisybench.spec import registry

SYMMETRIC = {
    0.2: "466daa07bc51df9d711cfefbc700f2d4ae76daaa2a369f2fd0f8d87757a6a88f",
    0.4: "48644a2b692faf44b050acc84dffd8472150d4bb2697da58e01a22a1a2c5fa9e",
    0.6: "a23c3cdba897486d9e181627f2eb905517cffa32f897a34984bfcf1c0ace8bf0",
    0.8: "ade37e681e16bdf49f81378d6f68a8fbb1802298a90fe1b4f0b3e4e84be3d86f",
}
FEATURE_DEPENDENT = {
    0.2: ("9802a7238f733c4a5a67bdab8dde3c739692560c5b3693d036564fa30bd815e3", 92),
    0.4: ("f182da812c6f8dffe39e64c053c527156e402e19a03e908442fd4f6a0a30eec3", 3445),
    0.6: ("4018b2c444fba456ffb3811e4e9923c8920897acb9fd1b45bb7f3b6e4c5d96d5", 12669),
    0.8: ("2d9985c3cf1fcdb4cf2eb9009e4bb5c011fec7ab961614b03f46dfcbcaf52817", 22556),
}
HUMAN = {
    "human-aggregate": 4505,
    "human-random1": 8617,
    "human-random2": 9061,
    "human-random3": 8820,
    "human-worse": 20104,
}


@pytest.fixture(scope="module")
def cifar10_labels(pytestconfig):
    """The train labels of the CIFAR-10 copy, in its row order."""
    folder = pytestconfig.rootpath.parent / "shared" / "data" / "cifar10"
    files = sorted(folder.rglob("train*.parquet"))
    if not files:
        pytest.skip("no ../shared/data/cifar10")
    columns = [pyarrow.parquet.read_table(file, columns=["label"])["label"].to_numpy() for file in files]
    return np.concatenate(columns).astype(np.int64)


def request(labels, *, rate=0.0, file=None, dataset="cifar10", num_classes=10) -> NoiseRequest:
    card = registry.dataset_card(dataset)
    return NoiseRequest(labels=labels, num_classes=num_classes, rate=rate, seed=42, card=card, authors=True, file=file)


def labels_hash(noisy) -> str:
    return hashlib.sha256(noisy.astype("<i8").tobytes()).hexdigest()


@pytest.mark.parametrize("rate", SYMMETRIC)
def test_symmetric_labels_are_the_authors_own(cifar10_labels, rate):
    assert labels_hash(make_noise("symmetric", request(cifar10_labels, rate=rate)).noisy) == SYMMETRIC[rate]


@pytest.mark.parametrize("rate", FEATURE_DEPENDENT)
def test_feature_dependent_labels_from_the_authors_predictions(shared, cifar10_labels, rate):
    file = shared / "data" / "cifar10_student_logits.npz"
    made = make_noise("feature-dependent", request(cifar10_labels, rate=rate, file=file))
    expected, tied = FEATURE_DEPENDENT[rate]
    assert labels_hash(made.noisy) == expected
    assert int((made.noisy != cifar10_labels).sum()) == int(50000 * rate)
    assert f"; {tied} of the {int(50000 * rate)} flips took a second choice that tied" in made.rule


@pytest.mark.parametrize("kind", HUMAN)
def test_cifar10n_rates(shared, cifar10_labels, kind):
    file = shared / "data" / "cifar10n" / "labels.npz"
    made = make_noise(kind, request(cifar10_labels, file=file, dataset="cifar10n"))
    assert int((made.noisy != made.clean).sum()) == HUMAN[kind]
    assert made.achieved_rate == HUMAN[kind] / 50000


def test_cifar10n_confusions(shared, cifar10_labels):
    """People confuse cats with dogs, and trucks with automobiles, most of all."""
    file = shared / "data" / "cifar10n" / "labels.npz"
    made = make_noise("human-worse", request(cifar10_labels, file=file, dataset="cifar10n"))
    pairs = {(cell.true, cell.given) for cell in largest_confusions(made)}
    assert {("truck", "automobile"), ("automobile", "truck"), ("cat", "dog"), ("dog", "cat")} <= pairs


def test_cifar10n_and_the_authors_predictions_refuse_another_order(shared, cifar10_labels):
    """Batch by batch, the Hub's copy begins with the images that torchvision has at 30,000."""
    reordered = np.concatenate([cifar10_labels[30000:40000], cifar10_labels[:30000], cifar10_labels[40000:]])
    human, student = shared / "data" / "cifar10n" / "labels.npz", shared / "data" / "cifar10_student_logits.npz"
    with pytest.raises(UserError, match="another order.*torchvision order"):
        make_noise("human-worse", request(reordered, file=human, dataset="cifar10n"))
    with pytest.raises(UserError, match="torchvision order"):
        make_noise("feature-dependent", request(reordered, file=student, rate=0.4))


def test_cifar100n_rate(shared):
    """CIFAR-100N against its own clean labels: there are no images of it here."""
    file = shared / "data" / "cifar100n" / "labels.npz"
    clean = np.load(file)["clean"].astype(np.int64)
    made = make_noise("human", request(clean, file=file, num_classes=100))
    assert int((made.noisy != clean).sum()) == 20100
