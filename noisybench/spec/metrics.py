"""Every metric of the benchmark: name, title, range, and the rules that select an epoch."""

from __future__ import annotations

EPOCH_COLUMNS = (
    ("train/given", "train_accuracy_given"),
    ("memorised", "memorised"),
    ("val", "clean_val_accuracy"),
    ("test", "test_accuracy"),
    ("labels", "label_accuracy_estimated"),
)


METRIC_TITLES = {
    "test_accuracy_last": "test accuracy, last epoch",
    "test_accuracy_last5": "test accuracy, mean of the last 5",
    "test_accuracy_best_noisy_val": "test accuracy at best noisy validation",
    "test_accuracy_best_clean_val": "test accuracy at best clean validation",
    "test_accuracy_oracle": "best test accuracy (oracle: no rule, an upper bound)",
    "label_accuracy_given": "labels right as given",
    "label_accuracy_estimated": "labels right as estimated",
    "noise_detection_auroc": "wrong labels found, AUROC",
}


FRACTIONS = ("accuracy", "auroc", "memorised")


LABEL_METRICS = ("label_accuracy_given", "label_accuracy_estimated", "noise_detection_auroc")


CURVES = (
    "test_accuracy",
    "clean_val_accuracy",
    "train_accuracy_given",
    "train_accuracy_true",
    "memorised",
    "label_accuracy_given",
    "label_accuracy_estimated",
)


RULES = {
    "test_accuracy_last": "last epoch",
    "test_accuracy_last5": "mean of last 5",
    "test_accuracy_best_noisy_val": "best noisy validation",
    "test_accuracy_best_clean_val": "best clean validation",
    "test_accuracy_oracle": "oracle (test-best)",
}


def select(test: list[float], noisy_val: list[float] | None, clean_val: list[float] | None) -> dict[str, float | None]:
    """Every selection rule over one run's curves, one value per epoch each.

    ``last``; ``last5`` (mean of the last five epochs, or of all if fewer); ``best_noisy_val`` and ``best_clean_val``
    (test accuracy at the epoch of highest validation accuracy, the first one if several tie); ``oracle`` (highest
    test accuracy: no rule one may use, shown for what it hides).
    """

    def at_best(validation: list[float] | None) -> float | None:
        return None if validation is None else test[max(range(len(test)), key=validation.__getitem__)]

    last5 = test[-5:]
    return {
        "test_accuracy_last": test[-1],
        "test_accuracy_last5": sum(last5) / len(last5),
        "test_accuracy_best_noisy_val": at_best(noisy_val),
        "test_accuracy_best_clean_val": at_best(clean_val),
        "test_accuracy_oracle": max(test),
    }
