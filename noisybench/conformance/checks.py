"""The checks, in the order in which they run. Each raises a :class:`Finding` if the method fails it."""

from __future__ import annotations

import functools
from typing import Any

import torch

from noisybench.conformance.bits import first_difference
from noisybench.conformance.finding import Finding
from noisybench.conformance.global_rng import surroundings
from noisybench.conformance.means import check_means
from noisybench.conformance.reach import modules_values
from noisybench.conformance.seal import reachable_secret
from noisybench.conformance.setups import CLEAN, EPOCHS, FLOAT64, REFERENCE, SMALLER, VIT
from noisybench.conformance.state import state_tensors
from noisybench.conformance.trial import Saved, Trial, trial_config
from noisybench.core.errors import UserError
from noisybench.methods.base import Settings
from noisybench.methods.priors import needs_fault
from noisybench.spec import registry
from noisybench.spec.layers import recipe_conditions, resolve_dict
from noisybench.spec.method_settings import method_settings
from noisybench.spec.track import phases_behind
from noisybench.train.outputs import check_probabilities

LEARNED = 0.5  # test accuracy with 10 classes; a network that learns nothing gets about 0.1, at most 0.3
STRENGTHS = ("weak", "strong")
MOST_NAMED = 3  # attributes in one line
BOUNDARY, MID_EPOCH = 2, (1, 1)  # states are saved before epoch 2 starts, and after 1 step of epoch 1


class Subject:
    """The method under check, and the reference training that several checks look at."""

    def __init__(self, name: str, overrides: dict[str, Any]):
        self.name, self.overrides = name, overrides
        self.method_class = registry.load_method(name)
        self.saved: list[Saved] = []
        self.modules_before: dict[tuple[str, str], Any] = {}

    def trial(self, setup) -> Trial:
        return Trial(self.name, setup, self.overrides)

    @functools.cached_property
    def reference(self) -> Trial:
        """Trained to the end, with states saved on the way."""
        self.modules_before = modules_values()
        with surroundings(1):
            trial = self.trial(REFERENCE)
            for epoch in range(trial.config.epochs):
                if epoch == BOUNDARY:
                    self.saved.append(trial.save(paused=False))
                for taken in trial.steps(epoch):
                    if (epoch, taken) == MID_EPOCH:
                        self.saved.append(trial.save(paused=True))
                trial.evaluate()
        return trial


def declarations(subject: Subject) -> None:
    """The class attributes say what they may say."""
    method = subject.method_class
    fault = needs_fault(method.needs)
    if fault is not None:
        raise Finding("declarations", fault)
    if not isinstance(method.heads, tuple) or not method.heads or len(set(method.heads)) != len(method.heads):
        raise Finding("declarations", f"heads is {method.heads!r}: give a tuple of different names, the headline first")
    if not _views_are_known(method.views):
        strengths = " and ".join(map(repr, STRENGTHS))
        raise Finding(
            "declarations", f"views is {method.views!r}: give a whole number from 1, or a tuple of {strengths}"
        )
    if not method.forward_equivalents > 0:
        raise Finding("declarations", f"forward_equivalents is {method.forward_equivalents!r}: give a positive number")
    if not issubclass(method.Settings, Settings):
        raise Finding("declarations", "Settings is no subclass of noisybench.methods.Settings")
    if method_settings(subject.name) is not method.Settings:
        raise Finding("declarations", "the entry point in noisybench.settings names another class than Settings does")
    required = [name for name, field in method.Settings.model_fields.items() if field.is_required()]
    if required:
        raise Finding("declarations", f"setting {required[0]!r} has no default")


def _views_are_known(views: Any) -> bool:
    if isinstance(views, tuple):
        return len(views) > 0 and set(views) <= set(STRENGTHS)
    return isinstance(views, int) and views >= 1


def card(subject: Subject) -> None:
    """The card is valid, and each recipe makes a configuration for its dataset."""
    try:
        found = registry.method_card(subject.name)
        datasets = registry.card_names("datasets")
        for name in found.recipes:
            conditions = recipe_conditions(name)
            if conditions.get("dataset", "digits") in datasets:
                resolve_dict({"method": subject.name, "noise": "none", **conditions})
        for dataset in datasets if found.blind else []:
            resolve_dict({"method": subject.name, "dataset": dataset, "ruleset": "blind", "noise": "none"})
    except UserError as error:
        raise Finding("card", str(error)) from error
    without = set(found.recipe_sources) - set(found.recipes) - {"blind"}
    if without:
        raise Finding("card", f"recipe_sources names {sorted(without)[0]!r}, which is no recipe")


def phases(subject: Subject) -> None:
    """No phase lies behind the end of the check: settings that count epochs are small enough to pass it."""
    settings = trial_config(subject.name, REFERENCE, subject.overrides).settings
    for name, value in phases_behind(settings, EPOCHS).items():
        raise Finding(
            "phases",
            f"setting {name} = {value} lies behind the {EPOCHS} epochs of the check, so a part of the method is "
            f"never run: give a smaller value in the card's [recipes.synthetic], or --set method.{name}=1",
        )


def trains(subject: Subject) -> None:
    """It builds and steps with BatchNorm and 10 classes, the last batch of an epoch smaller; losses are finite."""
    _ = subject.reference


def inputs(subject: Subject) -> None:
    """It leaves the given labels and the images as they are."""
    if subject.reference.inputs_changed():
        raise Finding("inputs", "it changed the given labels or the images in place", subject.reference.step)


def sealed(subject: Subject) -> None:
    """It holds no true label, test image, path or benchmark object."""
    trial = subject.reference
    found = reachable_secret(trial.method, trial.data, trial.session.streams, subject.modules_before)
    if found is not None:
        raise Finding("sealed", f"{found} can be reached", subject.reference.step)


def deterministic(subject: Subject) -> None:
    """Trained again, among other states of the global generators and never evaluated, it ends in the same bits."""
    expected = subject.reference.state()

    def difference(evaluated: bool) -> str | None:
        with surroundings(2):
            return first_difference(expected, subject.trial(REFERENCE).run(evaluated=evaluated).state())

    if difference(evaluated=False) is None:
        return
    again = difference(evaluated=True)
    if again is None:
        raise Finding("evaluation", "predict, estimate_labels or epoch_logs change what is learned afterwards")
    raise Finding("deterministic", f"trained twice, its {again} ends differently")


def resumes(subject: Subject) -> None:
    """A fresh method with a saved state trains on to the same bits."""
    expected = subject.reference.state()
    for saved in subject.saved:
        with surroundings(3):
            resumed = subject.trial(REFERENCE).resume(saved)
        difference = first_difference(expected, resumed.state())
        if difference is not None:
            raise Finding(
                "state",
                f"resumed after {saved.step} steps its {difference} ends differently: {_lost(resumed.lost)}",
            )


def _lost(names: list[str]) -> str:
    """Which state a checkpoint did not bring back, in words."""
    if not names:
        return "some state is not saved, and it is no attribute of the method (a file, a cache?)"
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    named = ", ".join(names[:MOST_NAMED])
    return f"some state is not saved: {named}{more}; keep it in networks, optimizers, tensors or numbers"


def means(subject: Subject) -> None:
    """Its losses are means over a batch's rows: rows that come twice change nothing."""
    _ = subject.reference
    for saved in (None, *subject.saved):
        try:
            with surroundings(7):
                check_means(lambda: subject.trial(REFERENCE), saved)
        except Finding as finding:
            if finding.check != "state":  # else it was found before
                raise


def per_sample_rows(subject: Subject) -> None:
    """State with a row per training sample has as many rows as there are samples."""
    sizes = {}
    for setup in (REFERENCE, SMALLER):
        with surroundings(8):
            trial = subject.trial(setup)
        shapes = {name: tuple(tensor.shape) for name, tensor in state_tensors(trial.method).items()}
        sizes[setup.title] = len(trial.method.context.given_labels), shapes
    (rows, shapes), (fewer, smaller) = sizes.values()
    for name, shape in shapes.items():
        other = smaller.get(name)
        if not shape or not other or len(other) != len(shape):
            continue
        if shape[0] - other[0] == rows - fewer and shape[0] != rows:
            raise Finding(
                "per-sample state",
                f"{name} has {shape[0]} rows for {rows} training samples: keep one row per sample, as "
                f"context.store.add(name, values) does",
            )
    for name, column in state_tensors(subject.reference.method).items():
        if name.startswith("store.") and len(column) != rows:
            raise Finding("per-sample state", f"{name} has {len(column)} rows at the end, the train set {rows}")


def predictions(subject: Subject) -> None:
    """Every head gives a distribution over the classes for every image."""
    trial = subject.reference
    for head in trial.method.heads:
        for rows in (slice(0, 50), slice(0, 1)):
            shape = (rows.stop, trial.setup.num_classes)
            with trial.blamed(f"predict with head {head!r}", check="predictions"):
                check_probabilities("predictions", f"head {head!r}", trial.predict(head, rows), shape)


def label_estimates(subject: Subject) -> None:
    """What it believes of the training labels: a distribution and a finite suspicion for every sample."""
    with subject.reference.blamed("estimate_labels", check="label estimates"):
        subject.reference.session.estimate_labels()


def precision(subject: Subject) -> None:
    """With 2 classes, no BatchNorm and float64, it trains, and keeps float64."""
    with surroundings(4):
        trial = subject.trial(FLOAT64).run()
    modules = {f"{n}.{k}": t for n, m in trial.method.modules().items() for k, t in m.state_dict().items()}
    columns = {f"store.{name}": tensor for name, tensor in trial.state()["store"].items()}
    outputs = {f"predict with head {h!r}": trial.predict(h, slice(0, 5)) for h in trial.method.heads}
    for name, tensor in {**modules, **columns, **outputs}.items():
        if tensor.is_floating_point() and tensor.dtype != torch.float64:
            raise Finding("precision", f"{name} is {tensor.dtype} in a run of float64", trial.step)


def vision_transformer(subject: Subject) -> None:
    """It trains a ViT."""
    with surroundings(5):
        subject.trial(VIT).run()


def learns(subject: Subject) -> None:
    """From clean labels of patterns that are easy to separate it learns them."""
    with surroundings(6):
        trial = subject.trial(CLEAN).run(evaluated=False)
        accuracy = trial.evaluate()
    if accuracy < LEARNED:
        raise Finding(
            "learns",
            f"test accuracy {accuracy:.2f} after {trial.config.epochs} epochs on clean, easy data; "
            f"a method that learns passes {LEARNED}",
            trial.step,
        )


CHECKS = (
    declarations,
    card,
    phases,
    trains,
    inputs,
    sealed,
    deterministic,
    resumes,
    means,
    per_sample_rows,
    predictions,
    label_estimates,
    precision,
    vision_transformer,
    learns,
)
