"""A method that trains nothing, writes down all that it is given, and answers what a test says it should.

Named ``watching:Watching``. It has one module and one optimizer, so that it can be saved, but never steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from noisybench.methods import Method, Pass, StepOutput


@dataclass
class Watched:
    """What a run's method was given, and what the test tells the method; one for each test.

    Attributes:
        mean, std: of the dataset, by which uint8 pixels are found again.
        answers: for each head the class by an image's uint8 bytes; class 0 for an image that is not there.
        batches: every batch of training.
        swept: (rows, images) of passes over the whole train set that a method can ask for.
        predicted: (head, images) of every call of ``predict``.
        given: the labels of the train set as the method sees them.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    answers: dict[str, dict[bytes, int]] = field(default_factory=dict)
    batches: list = field(default_factory=list)
    swept: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    predicted: list[tuple[str, Tensor]] = field(default_factory=list)
    given: Tensor | None = None

    def pixels(self, images: Tensor) -> np.ndarray:
        """Normalised images as the uint8 pixels they were, N×C×H×W; they must be whole numbers then."""
        mean, std = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (self.mean, self.std))
        pixels = (images.double() * std + mean) * 255
        assert (pixels - pixels.round()).abs().max() < 1e-3, "an image is not normalised by the card's mean and std"
        return pixels.round().to(torch.uint8).numpy()


watched = Watched()


def start_watching(**told) -> Watched:
    """Forget the last test's run."""
    vars(watched).update(vars(Watched(**told)))
    return watched


class Watching(Method):
    """An epoch is one pass over all rows and one over every third, each with a row of the others beside it."""

    needs = frozenset({"meta_set"})
    views = 2
    heads = ("right", "test", "noisy_val", "clean_val")

    def build(self):
        self.network = nn.Linear(1, 1)
        self.optimizer = self.context.make_optimizer(self.network)
        watched.given = self.context.given_labels

    def start_epoch(self, epoch):
        def keep(images: Tensor, rows: Tensor) -> Tensor:
            watched.swept.append((rows, images))
            return rows

        self.context.full_pass(keep)

    def epoch_plan(self, epoch):
        rows = torch.arange(len(self.context.given_labels))
        return [Pass(), Pass(rows=rows[::3], paired_rows=rows[1::3], tag=1)]

    def training_step(self, batch):
        watched.batches.append(batch)
        return StepOutput(torch.zeros(()))

    def predict(self, images, head):
        watched.predicted.append((head, images))
        known = watched.answers[head]
        answers = [known.get(image.tobytes(), 0) for image in watched.pixels(images)]
        return nn.functional.one_hot(torch.tensor(answers), self.context.num_classes).double()
