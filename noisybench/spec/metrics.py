"""Every metric of the benchmark, once: name, title, range and how it is counted; and the rules that select an epoch.

Rows, records, checks, tables and pages read from here, so a metric or a rule is added by one entry. What a method logs
is no metric of the benchmark: it stands apart, as ``method/NAME``, and can take no metric's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

EvaluationSet = Literal["test", "noisy_val", "clean_val"]
EVALUATION_SETS: tuple[EvaluationSet, ...] = ("test", "noisy_val", "clean_val")

METHOD_LOGS = "method/"  # before the name of everything that a method logs

Curve = Sequence[float | None]  # one value for each epoch, None where it was not defined


def _right(probabilities: Any, labels: Any) -> Any:
    return probabilities.argmax(1) == labels


def _wrong_found(suspicion: Any, given: Any, true: Any, share: float) -> float | None:
    """The probability that a wrongly labelled sample is more suspicious than a rightly labelled one, ties counted half;
    None if the labels are all right or all wrong."""
    from sklearn.metrics import roc_auc_score

    wrong = given != true
    return roc_auc_score(wrong, suspicion) if wrong.any() and not wrong.all() else None


def _average_precision(suspicion: Any, given: Any, true: Any, share: float) -> float | None:
    """The mean over wrong labels of the precision when flagging what is as suspicious or more; None as for AUROC."""
    from sklearn.metrics import average_precision_score

    wrong = given != true
    return average_precision_score(wrong, suspicion) if wrong.any() and not wrong.all() else None


def _hits(suspicion: Any, wrong: Any, flagged: int) -> float:
    """How many of the ``flagged`` most suspicious samples are wrongly labelled. Of samples that tie at the border each
    is flagged with equal probability, so that no order of the samples plays a part: the expected number."""
    if not 0 < flagged < len(wrong):
        return float(wrong.sum()) if flagged > 0 else 0.0
    border = -sorted(-suspicion)[flagged - 1]
    above, tied = suspicion > border, suspicion == border
    return float(wrong[above].sum() + (flagged - above.sum()) * wrong[tied].mean())


def _f1_at_true_number(suspicion: Any, given: Any, true: Any, share: float) -> float | None:
    """F1 when as many samples are flagged as labels are wrong: precision and recall are the same there."""
    wrong = given != true
    number = int(wrong.sum())
    return _hits(suspicion, wrong, number) / number if 0 < number < len(wrong) else None


def _missed_at_share(suspicion: Any, given: Any, true: Any, share: float) -> float | None:
    """Of the wrong labels the fraction that is missed when the expected share of all samples is flagged."""
    wrong = given != true
    number = round(share * len(wrong))
    if not wrong.any() or wrong.all() or number == 0:
        return None
    return 1 - _hits(suspicion, wrong, number) / float(wrong.sum())


@dataclass(frozen=True)
class Metric:
    """One number that the benchmark measures in every epoch.

    Attributes:
        name: in rows, curves and records. On an evaluation set that is the headline head's; other heads have
            ``NAME/HEAD``.
        title: for people, without the unit.
        measured: where. By the loop itself; over the rows of the training steps; on an evaluation set; of the labels
            that a method estimates; or of how suspicious training labels are, by that estimate or, where there is none,
            by the headline head's probabilities.
        count: how; None for what the loop knows. Plain functions of arrays or tensors:
            steps: (predicted, given, true), N int64 each -> which rows count as hits (N bool) and among which (N bool,
            or None for all); true is None where nobody knows it.
            an evaluation set: (probabilities N×C, labels N) -> N values that are averaged.
            labels: (estimated n int64, suspicion n float64, given n int64, true n int64) -> a number, or None.
            suspicion: (suspicion n float64, given n int64, true n int64, share) -> a number, or None. The share is the
            expected one of wrong labels, as it is known before the run.
        knows_truth: counting it needs the true labels of the training set; without them it is not measured.
        fraction: it lies in [0, 1] and is shown in per cent.
        least: the smallest value of what is no fraction; None if there is none.
        short: its title in the line of an epoch; without one it is left out there.
        final: its value in the last epoch is one of a record's metrics.
        drawn: pages draw its curve.
        column: its heading in a page's table of runs; without one it has no column there.
    """

    name: str
    title: str
    measured: Literal["loop", "steps", "labels", "suspicion"] | EvaluationSet
    count: Callable[..., Any] | None = None
    knows_truth: bool = False
    fraction: bool = True
    least: float | None = None
    short: str = ""
    final: bool = False
    drawn: bool = False
    column: str = ""

    def counted(self, *arguments: Any) -> Any:
        """What :attr:`count` makes of these.

        Raises:
            TypeError: the loop itself knows this metric; there is nothing to count.
        """
        if self.count is None:
            raise TypeError(f"metric {self.name} is not counted")
        return self.count(*arguments)

    @property
    def evaluates(self) -> bool:
        """Whether it is measured on an evaluation set, for every head."""
        return self.measured in EVALUATION_SETS

    def of_head(self, head: str, headline: str) -> str:
        """Its name for one of a method's heads."""
        return self.name if head == headline else f"{self.name}/{head}"

    def out_of_range(self, value: float) -> str | None:
        """What is wrong with a value; None if it can be one."""
        if self.fraction and not 0 <= value <= 1:
            return f"is {value:g}: a fraction lies in [0, 1]"
        if self.least is not None and value < self.least:
            return f"is {value:g}: it is at least {self.least:g}"
        return None


# In the order in which they are told. Those that other parts speak of have names here.
EPOCH = Metric("epoch", "epoch", "loop", fraction=False, least=0)  # of a row, and no curve: it is a curve's place
LEARNING_RATE = Metric("learning_rate", "learning rate", "loop", fraction=False, least=0)
LOSS = Metric("loss", "training loss", "loop", fraction=False, short="loss")
ON_GIVEN = Metric(
    "train_accuracy_given",
    "train accuracy on given labels",
    "steps",
    lambda predicted, given, true: (predicted == given, None),
    short="train/given",
    drawn=True,
)
ON_TRUE = Metric(
    "train_accuracy_true",
    "train accuracy on true labels",
    "steps",
    lambda predicted, given, true: (predicted == true, None),
    knows_truth=True,
)
MEMORISED = Metric(
    "memorised",
    "wrong labels memorised",
    "steps",
    lambda predicted, given, true: (predicted == given, given != true),
    knows_truth=True,
    short="memorised",
    drawn=True,
)
ON_NOISY_VAL = Metric("noisy_val_accuracy", "noisy validation accuracy", "noisy_val", _right)
ON_CLEAN_VAL = Metric("clean_val_accuracy", "clean validation accuracy", "clean_val", _right, short="val")
ON_TEST = Metric("test_accuracy", "test accuracy", "test", _right, short="test", drawn=True)
LABELS_GIVEN = Metric(
    "label_accuracy_given",
    "labels right as given",
    "labels",
    lambda estimated, suspicion, given, true: (given == true).mean(),
    knows_truth=True,
    final=True,
)
LABELS_ESTIMATED = Metric(
    "label_accuracy_estimated",
    "labels right as estimated",
    "labels",
    lambda estimated, suspicion, given, true: (estimated == true).mean(),
    knows_truth=True,
    short="labels",
    final=True,
    drawn=True,
    column="Labels right\nas estimated",
)
WRONG_FOUND = Metric(
    "noise_detection_auroc", "wrong labels found, AUROC", "suspicion", _wrong_found, knows_truth=True, final=True
)
DETECTION: tuple[Metric, ...] = (
    WRONG_FOUND,
    Metric(
        "noise_detection_average_precision",
        "wrong labels found, average precision",
        "suspicion",
        _average_precision,
        knows_truth=True,
        final=True,
    ),
    Metric(
        "noise_detection_f1",
        "wrong labels found, F1 at their true number",
        "suspicion",
        _f1_at_true_number,
        knows_truth=True,
        final=True,
    ),
    Metric(
        "noise_detection_fnr",
        "wrong labels missed at the noise rate",
        "suspicion",
        _missed_at_share,
        knows_truth=True,
        final=True,
    ),
)

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        EPOCH, LEARNING_RATE, LOSS, ON_GIVEN, ON_TRUE, MEMORISED, ON_NOISY_VAL, ON_CLEAN_VAL, ON_TEST,
        LABELS_GIVEN, LABELS_ESTIMATED, *DETECTION,
    )
}  # fmt: skip


@dataclass(frozen=True)
class Gap:
    """A difference of two curves that pages draw."""

    title: str
    of: Metric
    minus: Metric


GAPS = [
    Gap("memorisation gap: train accuracy on given − on true labels", ON_GIVEN, ON_TRUE),
    Gap("train accuracy on given labels − test accuracy", ON_GIVEN, ON_TEST),
]


def measured_at(place: str) -> list[Metric]:
    """The metrics that are measured in one place, in their order."""
    return [metric for metric in METRICS.values() if metric.measured == place]


def metric_of(curve: str) -> Metric | None:
    """The metric that a curve is of, also one of another head than the headline; None if it is of none."""
    if curve == EPOCH.name:
        return None
    if curve in METRICS:
        return METRICS[curve]
    name, slash, head = curve.partition("/")
    metric = METRICS.get(name)
    return metric if slash and head and metric is not None and metric.evaluates else None


def under_method(name: str) -> str:
    """The name of a value in a row that was stored when logs of methods had no namespace: those get it."""
    known = name in METRICS or name.startswith(METHOD_LOGS) or metric_of(name) is not None
    return name if known else METHOD_LOGS + name


class Accuracies(NamedTuple):
    """What a selection rule sees of one head: an accuracy per epoch; None without such a validation set."""

    test: list[float]
    noisy_val: list[float] | None
    clean_val: list[float] | None


@dataclass(frozen=True)
class SelectionRule:
    """How one test accuracy is read off a training.

    Attributes:
        name: as people type it.
        label: in lists of rules.
        title: in tables of metrics.
        choose: the test accuracy that counts; None if the rule cannot be applied.
        allowed: anybody may select an epoch by it; a board's headline is such a rule.
        note: what a page says while it is chosen.
        later: added when records were in use. They lack it, and it is read off their curves.
    """

    name: str
    label: str
    title: str
    choose: Callable[[Accuracies], float | None]
    allowed: bool = True
    note: str = ""
    later: bool = False

    @property
    def metric(self) -> str:
        """Its name among a record's metrics."""
        return f"{ON_TEST.name}_{self.name}"


def _at_best(test: list[float], validation: list[float] | None) -> float | None:
    """Test accuracy in the epoch of the highest validation accuracy, the first one if several have it."""
    return None if validation is None else test[max(range(len(test)), key=validation.__getitem__)]


LAST = SelectionRule("last", "last epoch", "test accuracy, last epoch", lambda of: of.test[-1])
RULES: dict[str, SelectionRule] = {  # by the name of the record's metric
    rule.metric: rule
    for rule in (
        LAST,
        SelectionRule(  # of all epochs if there are fewer than five
            "last5",
            "mean of last 5",
            "test accuracy, mean of the last 5",
            lambda of: sum(of.test[-5:]) / len(of.test[-5:]),
        ),
        SelectionRule(
            "best_noisy_val",
            "best noisy validation",
            "test accuracy at best noisy validation",
            lambda of: _at_best(of.test, of.noisy_val),
        ),
        SelectionRule(
            "best_clean_val",
            "best clean validation",
            "test accuracy at best clean validation",
            lambda of: _at_best(of.test, of.clean_val),
        ),
        SelectionRule(
            "oracle",
            "oracle (test-best)",
            "best test accuracy (oracle: no rule, an upper bound)",
            lambda of: max(of.test),
            allowed=False,
            note="The oracle picks the epoch by test accuracy. It is no rule anyone may use; it shows what the others "
            "leave.",
        ),
    )
}


def select(test: list[float], noisy_val: list[float] | None, clean_val: list[float] | None) -> dict[str, float | None]:
    """Every selection rule over one run's curves, one value per epoch each."""
    accuracies = Accuracies(test, noisy_val, clean_val)
    return {name: rule.choose(accuracies) for name, rule in RULES.items()}


def selected(curves: Mapping[str, Any], head: str, headline: str) -> dict[str, float | None]:
    """Every selection rule over one head's curves."""
    test, noisy_val, clean_val = (
        curves.get(metric.of_head(head, headline)) for metric in (ON_TEST, ON_NOISY_VAL, ON_CLEAN_VAL)
    )
    return select(test or [], noisy_val, clean_val)


def final_values(curves: Mapping[str, Curve]) -> dict[str, float | None]:
    """What the last epoch says of each metric whose last value counts."""
    return {name: curves[name][-1] for name, metric in METRICS.items() if metric.final and name in curves}


def detected_by_network(curves: Mapping[str, Any]) -> bool:
    """Whether wrong labels were looked for by the headline head's probabilities: the method estimates no labels.

    A method that does has the metrics of them beside those of detection, in the same epochs.
    """
    detected = any((curves.get(metric.name) or [None])[-1] is not None for metric in DETECTION)
    return detected and (curves.get(LABELS_ESTIMATED.name) or [None])[-1] is None


BY_NETWORK, BY_ESTIMATE = "the network's probabilities", "the method's label estimate"


def with_later_rules(metrics: Mapping[str, float | None], curves: Mapping[str, Any]) -> dict[str, float | None]:
    """A record's metrics, with those of the rules that did not exist yet when it was written."""
    missing = [rule.metric for rule in RULES.values() if rule.later and rule.metric not in metrics]
    found = selected(curves, "", "") if missing else {}
    return {**metrics, **{name: found[name] for name in missing}}


def last_validation(curves: Mapping[str, Any]) -> dict[str, float]:
    """Validation accuracies in the last epoch, by title: beside test accuracy, so that nobody tunes on that."""
    known = ((metric, curves.get(metric.name)) for metric in (ON_NOISY_VAL, ON_CLEAN_VAL))
    return {f"{metric.title}, last epoch": values[-1] for metric, values in known if values}


def titles() -> dict[str, str]:
    """The title of everything a record may have among its metrics, in the order of tables."""
    rules = {name: rule.title for name, rule in RULES.items()}
    return rules | {name: metric.title for name, metric in METRICS.items() if metric.final}


def in_figures(name: str, value: float) -> str:
    """A record's metric as tables show it: per cent where it is a fraction."""
    metric = METRICS.get(name)
    fraction = name in RULES or (metric is not None and metric.fraction)
    return f"{100 * value:.2f}" if fraction else f"{value:.4g}"
