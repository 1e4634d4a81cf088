"""What the framework costs: a whole epoch of cross-entropy as a run trains it, against a bare loop."""

from __future__ import annotations

import copy

import torch

from benchmarks.perf.bare import BareSet, bare_epoch
from benchmarks.perf.hardware import hardware
from benchmarks.perf.problem import Problem, Size
from benchmarks.perf.records import Circumstances, Record, make_records
from benchmarks.perf.timing import interleaved
from noisybench.data.loader import Pass
from noisybench.methods.optimizers import build_optimizer
from noisybench.train.progress_made import BegunEpoch

PADDING = 4
FRAMEWORK, BARE = "noisybench, ce", "bare loop"


class EpochPair:
    """The same epochs of cross-entropy twice: by the framework and by the bare loop, on weights of their own.

    Args:
        epochs: how many there will be.
    """

    def __init__(self, size: Size, device: torch.device, epochs: int):
        augment = {"crop_padding": PADDING, "horizontal_flip": True}
        self.problem = Problem("ce", {}, size, device, changes={"epochs": epochs, "augment": augment})
        self.network = copy.deepcopy(self.problem.method.network)
        self._optimizer = build_optimizer(self.problem.config.optimizer, self.network.parameters())
        train, card = self.problem.streams.train, self.problem.data.dataset.card
        self._train = BareSet(train.pixels[:], train.labels, train.sample, card.mean, card.std, PADDING)
        self._done = {FRAMEWORK: 0, BARE: 0}

    def framework_epoch(self) -> dict[str, float]:
        """The next epoch as the training loop runs it, with its meter; the epoch's means."""
        session, epoch = self.problem.session, self._done[FRAMEWORK]
        first = epoch * session.loader.num_batches(Pass())
        meter = session.new_meter()
        for step in session.steps(epoch, BegunEpoch(first, session.begin_epoch(epoch))):
            meter.add(step.batch, step.output)
        meter.first_bad_step()
        self._done[FRAMEWORK] += 1
        return meter.means()

    def bare_epoch(self) -> None:
        """The next epoch of the bare loop."""
        config = self.problem.config
        bare_epoch(
            self.network,
            self._optimizer,
            self._train,
            batch_size=config.batch_size,
            seed=config.seed,
            epoch=self._done[BARE],
        )
        self._done[BARE] += 1


def measure_epoch(sizes: list[Size], device: torch.device, *, repeats: int) -> list[Record]:
    """Seconds of an epoch for problems of several sizes, each pair interleaved."""
    machine = hardware(device)
    records = []
    for size in sizes:
        pair = EpochPair(size, device, epochs=repeats + 1)
        epochs = {BARE: pair.bare_epoch, FRAMEWORK: pair.framework_epoch}
        seconds = interleaved(epochs, device, repeats=repeats, warmup=1)
        setup = {"model": size.model, "images": size.rows, "batch": size.batch_size, "image": size.side}
        baselines = {BARE: None, FRAMEWORK: BARE}
        records += make_records(Circumstances("epoch", setup, machine), "epoch", "s", seconds, baselines)
    return records
