"""What finding wrong labels is measured by, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from noisybench.spec.metrics import DETECTION, detected_by_network

GIVEN, TRUE = np.zeros(8, dtype=np.int64), np.array([1, 0, 1, 0, 0, 1, 0, 0])  # samples 0, 2 and 5 are wrong


def measured(suspicion, share: float = 0.25, true=TRUE) -> dict[str, float | None]:
    values = np.array(suspicion, dtype=np.float64)
    return {
        metric.name.removeprefix("noise_detection_"): metric.counted(values, GIVEN, true, share) for metric in DETECTION
    }


def test_without_ties():
    # In order of suspicion: wrong, right, wrong, right, right, wrong, right, right.
    assert measured([8, 7, 6, 5, 4, 3, 2, 1]) == pytest.approx(
        {
            "auroc": (5 + 4 + 2) / 15,  # of the five right ones those below each wrong one
            "average_precision": (1 / 1 + 2 / 3 + 3 / 6) / 3,
            "f1": 2 / 3,  # of three flagged two are wrong, of three wrong two are flagged
            "fnr": 2 / 3,  # a quarter of eight is two, and one of them is wrong
        }
    )


def test_of_samples_that_tie_each_counts_by_its_chance():
    # Three are surely flagged first or together: {0}, then {1, 2, 3} tied with one wrong among them, then the rest.
    found = measured([3, 2, 2, 2, 1, 1, 1, 1])
    assert found == pytest.approx(
        {
            "auroc": (5 + (3 + 0.5 * 2) + (0.5 * 3)) / 15,
            "average_precision": (1 + 2 / 4 + 3 / 8) / 3,
            "f1": (1 + 2 * 1 / 3) / 3,  # two places for three that tie
            "fnr": 1 - (1 + 1 * 1 / 3) / 3,
        }
    )
    order = np.random.default_rng(0).permutation(8)
    shuffled = np.array([3, 2, 2, 2, 1, 1, 1, 1], dtype=np.float64)[order]
    for metric in DETECTION:
        value = metric.counted(shuffled, GIVEN, TRUE[order], 0.25)
        assert value == pytest.approx(found[metric.name.removeprefix("noise_detection_")])


@pytest.mark.parametrize(("share", "missed"), [(0.0, None), (0.125, 2 / 3), (0.75, 0.0), (1.0, 0.0)])
def test_the_share_says_how_many_are_flagged(share, missed):
    assert measured([8, 7, 6, 5, 4, 3, 2, 1], share)["fnr"] == (None if missed is None else pytest.approx(missed))


@pytest.mark.parametrize("true", [GIVEN, GIVEN + 1])
def test_where_all_labels_are_right_or_all_wrong_nothing_is_defined(true):
    assert set(measured(range(8), true=true).values()) == {None}


def test_a_perfect_and_a_reversed_order():
    wrong = (GIVEN != TRUE).astype(float)
    assert measured(wrong, 3 / 8) == {"auroc": 1, "average_precision": 1, "f1": 1, "fnr": 0}
    reverse = measured(-wrong, 3 / 8)
    assert (reverse["auroc"], reverse["f1"], reverse["fnr"]) == (0, 0, 1)


def test_who_detected_is_read_off_the_curves():
    assert detected_by_network({"noise_detection_f1": [None, 0.5]})
    assert not detected_by_network({"noise_detection_f1": [0.4, 0.5], "label_accuracy_estimated": [0.1, 0.2]})
    assert not detected_by_network({"test_accuracy": [0.5]})
    assert not detected_by_network({"noise_detection_f1": [None, None]})
