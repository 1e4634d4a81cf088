"""A method that estimates no labels is scored by its headline head's probabilities, in the last epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

import noisybench
from noisybench.leaderboard.validate import read_record
from noisybench.methods.estimates import odds_against_given
from noisybench.spec.metrics import detected_by_network
from noisybench.train.finished import load_run

RATE = 0.4


def test_cross_entropy_by_hand(tmp_path):
    """Against the run loaded again: scikit-learn on 1 − p(given), and a sort."""
    config = noisybench.RunConfig(method="ce", dataset="synthetic", epochs=3, noise_rate=RATE, output=tmp_path / "run")
    record = noisybench.run(config)
    assert read_record((tmp_path / "run" / "result.json").read_text(), "x") == record
    session = load_run(tmp_path / "run")
    given, true = session.data.given_labels, session.data.true_labels
    p = session.predict_train_set().double().numpy()
    wrong, suspicion = given != true, 1 - p[np.arange(len(given)), given]
    assert len(set(suspicion)) == len(given)  # no ties
    order = np.argsort(-suspicion)
    flagged = round(RATE * len(given))
    for name, value in {
        "auroc": roc_auc_score(wrong, suspicion),
        "average_precision": average_precision_score(wrong, suspicion),
        "f1": wrong[order[: wrong.sum()]].mean(),
        "fnr": wrong[order[flagged:]].sum() / wrong.sum(),
    }.items():
        assert record.metrics[f"noise_detection_{name}"] == pytest.approx(value), name
        assert record.curves[f"noise_detection_{name}"][:-1] == [None, None]
    assert "label_accuracy_estimated" not in record.curves and detected_by_network(record.curves)
    assert not (tmp_path / "run" / "labels.parquet").exists()


def test_certain_probabilities_keep_their_order():
    p_given = torch.tensor([1.0, 1 - 2**-20, 0.5, 2.0**-60, 2.0**-90, 0.0])
    rows = torch.stack([p_given, 1 - p_given], dim=1)
    suspicion = odds_against_given(rows, torch.zeros(6, dtype=torch.int64))
    assert suspicion.isfinite().all() and (suspicion.diff() > 0).all()
    assert suspicion[2] == 0 and suspicion[1] == pytest.approx(np.log(2**-20 / (1 - 2**-20)))
