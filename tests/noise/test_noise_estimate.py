"""Estimated transition matrices, and the student behind feature-dependent noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from noisybench.noise import transition_matrix
from noisybench.noise.estimate import anchor_points, confident_joint, noise_rate, wilson_interval
from noisybench.spec.config import RunConfig
from noisybench.spec.layers import resolve
from noisybench.train.prepare import official_parts
from noisybench.train.student import distillation_loss, student_predictions

T = np.array([[0.7, 0.2, 0.1], [0.0, 0.9, 0.1], [0.3, 0.1, 0.6]])


def test_anchor_points_recover_the_matrix_from_the_true_posterior():
    """P(given | x) = P(class | x)·T, with one image that is certain in each class."""
    drawn = np.random.default_rng(0).dirichlet(np.ones(3), size=200)
    classes = np.vstack([drawn, np.eye(3)])
    assert anchor_points(classes @ T) == pytest.approx(T, abs=1e-12)


def test_confident_joint_of_a_perfect_model_is_the_realised_matrix():
    drawn = np.random.default_rng(0)
    clean = drawn.integers(0, 3, 500)
    given = np.array([drawn.choice(3, p=T[label]) for label in clean])
    assert confident_joint(given, np.eye(3)[clean]) == pytest.approx(transition_matrix(clean, given, 3))


def test_confident_joint_by_hand():
    """Thresholds are the mean self-confidences: (0.9+0.8+0.4)/3 = 0.7 for class 0, (0.8+0.7+0.25)/3 = 0.583 for 1.

    Given 0: 0.9 and 0.8 count as 0; 0.4 counts as 1 (0.6 there). Given 1: 0.8 and 0.7 count as 1; 0.25 (0.75 for
    class 0) counts as 0. So the counts are [[2, 1], [1, 2]], and each given label has 3 images.
    """
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7], [0.75, 0.25]])
    given = np.array([0, 0, 0, 1, 1, 1])
    assert confident_joint(given, probabilities) == pytest.approx(np.array([[2, 1], [1, 2]]) / 3)


def test_confident_joint_scales_to_the_given_labels():
    """Images that are confidently of no class still count by their given label: calibration by rows."""
    sure, unsure = [[0.9, 0.1], [0.1, 0.9]], [[0.5, 0.5]] * 2
    probabilities = np.array([sure[0], *unsure, sure[1], sure[0]])
    given = np.array([0, 0, 0, 1, 1])
    # Thresholds 0.9+0.5+0.5 over 3 = 0.633 and 0.5. Unsure ones count as class 1: joint [[1, 2], [1, 1]].
    assert confident_joint(given, probabilities) == pytest.approx(np.array([[1 / 2, 1 / 2], [2 / 3, 1 / 3]]))


def test_a_label_nobody_was_given_keeps_its_unit_row():
    estimated = confident_joint(np.array([0, 0, 1]), np.array([[0.9, 0.1, 0.0], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1]]))
    assert estimated[2].tolist() == [0, 0, 1]
    assert np.isfinite(estimated).all()


def test_noise_rate_weighs_classes_as_the_model_predicts_them():
    """Three images of class 0 with 30 % noise, one of class 1 with 10 %."""
    assert noise_rate(T, np.eye(3)[[0, 0, 0, 1]]) == pytest.approx((3 * 0.3 + 0.1) / 4)


def test_wilson_interval():
    """54 of 120, against SciPy's; and its closed form at 0 of n, z² / (n + z²)."""
    from scipy.stats import binomtest

    expected = binomtest(54, 120).proportion_ci(0.95, method="wilson")
    assert wilson_interval(54, 120) == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert wilson_interval(0, 50) == pytest.approx((0, 1.959964**2 / (50 + 1.959964**2)))


def test_distillation_loss_by_hand():
    """Logits log 4 and 0 at temperature 2 are probabilities 2/3 and 1/3; at temperature 1, 4/5 and 1/5."""
    logits = torch.log(torch.tensor([[4.0, 1.0]], dtype=torch.float64))
    soft = torch.tensor([[0.75, 0.25]], dtype=torch.float64)
    loss = distillation_loss(logits, torch.tensor([1]), soft, 2.0, 0.3)
    expected = 0.3 * -np.log(0.2) + 0.7 * (-0.75 * np.log(2 / 3) - 0.25 * np.log(1 / 3))
    assert float(loss) == pytest.approx(expected)


def test_a_student_is_a_function_of_its_seed():
    config = resolve(RunConfig(noise="none", model="noisybench_mlp", epochs=2, batch_size=32, limit_train=200))
    dataset = official_parts(config)
    said = []

    def predictions(seed):
        seeded = config.model_copy(update={"seed": seed})
        return student_predictions(
            seeded, dataset, teacher_model="noisybench_mlp", temperature=2.0, hard_weight=0.3, say=said.append
        )

    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = predictions(0)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(first, predictions(0))
    assert not np.array_equal(first, predictions(1))
    assert first.shape == (200, 10)
    assert first.sum(axis=1) == pytest.approx(np.ones(200), abs=1e-5)
    assert (first.argmax(1) == dataset.train.labels).mean() > 0.5  # it learns: chance is 0.1
    assert said[0].startswith("teacher noisybench_mlp: right on")
