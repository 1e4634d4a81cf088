"""Methods that fetch true labels behind the benchmark's back and keep them, each in another form and place.

Named on the command line as ``leaky_methods:Class``.
"""

from __future__ import annotations

import functools
import sys
import types

import numpy as np
import torch
import torch.nn.functional as F

from noisybench.methods.ce import CrossEntropy
from noisybench.train.prepare import RunData

elsewhere = types.ModuleType("leaky_elsewhere")
KEPT = {}
kept_here = None


def run_data() -> RunData:
    """The data of the run that builds the calling method, from the frames of its callers."""
    frame = sys._getframe()
    while not isinstance(frame.f_locals.get("data"), RunData):
        frame = frame.f_back
    return frame.f_locals["data"]


def true_labels() -> np.ndarray:
    return run_data().true_labels.copy()


def test_labels() -> np.ndarray:
    return run_data().dataset.test.labels.copy()


class Plain:
    """An object with slots and no dictionary."""

    __slots__ = ("inside",)


def _slotted(value):
    holder = Plain()
    holder.inside = value
    return holder


FORMS = {
    "array": lambda labels: labels,
    "tensor": torch.from_numpy,
    "float": lambda labels: torch.from_numpy(labels).float(),
    "column": lambda labels: torch.from_numpy(labels)[:, None],
    "shifted": lambda labels: (labels + 3) % 10,
    "shifted without end": lambda labels: labels + 100,
    "reversed": lambda labels: labels[::-1].copy(),
    "slice": lambda labels: labels[5 : len(labels) - 5],
    "every second": lambda labels: labels[::2].copy(),
    "with more rows": lambda labels: np.concatenate([np.zeros(7, np.int64), labels, np.ones(9, np.int64)]),
    "one-hot": lambda labels: F.one_hot(torch.from_numpy(labels), 10).double(),
    "one-hot by class": lambda labels: F.one_hot(torch.from_numpy(labels), 10).T.contiguous(),
    "smoothed": lambda labels: 0.9 * F.one_hot(torch.from_numpy(labels), 10) + 0.01,
    "list": lambda labels: labels.tolist(),
    "list of tensors": lambda labels: list(torch.from_numpy(labels)),
    "tuple in a dict": lambda labels: {"all": tuple(labels.tolist())},
    "by row": lambda labels: dict(enumerate(labels.tolist())),
    "text": lambda labels: "".join(map(str, labels.tolist())),
    "bytes": lambda labels: bytes(labels.tolist()),
    "partial": lambda labels: functools.partial(F.cross_entropy, target=torch.from_numpy(labels)),
    "closure": lambda labels: lambda: labels,
    "default": lambda labels: lambda rows, kept=labels: kept[rows],
    "in slots": _slotted,
    "wrong mask": lambda labels: torch.from_numpy(labels != run_data().given_labels),
    "wrong rows": lambda labels: np.flatnonzero(labels != run_data().given_labels).tolist(),
    "right rows": lambda labels: set(np.flatnonzero(labels == run_data().given_labels).tolist()),
    "of wrong rows": lambda labels: labels[labels != run_data().given_labels],
}


class Leaky(CrossEntropy):
    """Keeps the true labels as an attribute in the form that a test chose."""

    form = "array"

    def build(self):
        super().build()
        self.kept = FORMS[type(self).form](true_labels())


class KeepsTestLabelsButTen(CrossEntropy):
    def build(self):
        super().build()
        self.kept = torch.from_numpy(test_labels()[:90])


class KeepsAnImage(CrossEntropy):
    def predict(self, images, head):
        if len(images) == 10:  # of validation, not of the whole train set that is predicted last
            self.kept = images[:1].clone()
        return super().predict(images, head)


class KeepsRawTestImages(CrossEntropy):
    def build(self):
        super().build()
        self.kept = run_data().dataset.test.pixels[:].flatten(1)[3:20]


class OnTheNetwork(CrossEntropy):
    def build(self):
        super().build()
        self.network.kept = torch.from_numpy(true_labels())


class OnTheClass(CrossEntropy):
    def build(self):
        super().build()
        type(self).kept = torch.from_numpy(true_labels())


class InAGlobal(CrossEntropy):
    def build(self):
        global kept_here
        super().build()
        kept_here = true_labels()


class InAGlobalDict(CrossEntropy):
    def build(self):
        super().build()
        KEPT["labels"] = true_labels().tolist()

    def loss(self, logits, batch):
        return super().loss(logits, batch) + 0 * len(KEPT)


class OnAModule(CrossEntropy):
    def build(self):
        super().build()
        elsewhere.labels = true_labels()


class OnTorch(CrossEntropy):
    def build(self):
        super().build()
        setattr(torch, "kept_by_a_" + "method", torch.from_numpy(true_labels()))


class OnTheContext(CrossEntropy):
    def build(self):
        super().build()
        self.context.kept = true_labels()


class OnAFunction(CrossEntropy):
    def build(self):
        super().build()
        true_labels.kept = true_labels()


class InnocentMemory(CrossEntropy):
    """Keeps what it was given: none of it is a secret."""

    def build(self):
        super().build()
        given = self.context.given_labels
        self.kept = [given.clone(), (given + 1) % 10, F.one_hot(given), given[20:90].clone(), given.tolist()]
        self.rows = {"by class": [(given == label).nonzero()[:, 0] for label in range(10)]}
        self.counts, self.order = torch.zeros(len(given)), torch.arange(len(given))

    def loss(self, logits, batch):
        self.last = types.SimpleNamespace(batch=batch)
        return super().loss(logits, batch)
