"""What the rest of a suite will cost, and what that estimate is made of."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from noisybench.bench.plan import PlannedRun, State, Status, Suite, forward_images
from noisybench.spec.record import RunRecord


@dataclass(frozen=True)
class Estimate:
    """The cost of what is left of one run.

    Attributes:
        forward_images: forward passes of single images (see :func:`~noisybench.bench.plan.forward_images`); None if
            nobody knows how many images there are.
        seconds: training and evaluation time; None without a record to go by.
        basis: what ``seconds`` is made of.
    """

    forward_images: float | None
    seconds: float | None
    basis: str


def known_records(suite: Suite, statuses: list[Status]) -> list[RunRecord]:
    """Records to go by: of the suite's finished runs, and of its board; none counted twice."""
    records = [status.record for status in statuses if status.record is not None]
    if suite.board is not None:
        records += suite.board.read()[0]
    return list({record.run_id: record for record in records if record.cost.processes == 1}.values())


def estimate(suite: Suite, run: PlannedRun, status: Status, records: list[RunRecord]) -> Estimate:
    """The cost of what is left of a run.

    Time is the median over records of the same method, dataset, model and batch size, per epoch; else over records of
    other methods on the same dataset and model, per forward pass of one image.
    """
    if status.state == State.DONE:
        return Estimate(0.0, 0.0, "")
    config = run.config
    left = 1 - suite.epochs_done(run) / config.epochs
    whole = forward_images(config)
    work = None if whole is None else left * whole
    alike = [r for r in records if all(r.config[name] == getattr(config, name) for name in ("dataset", "model"))]
    same = [r for r in alike if r.config["method"] == config.method and r.config["batch_size"] == config.batch_size]
    if same:
        seconds = statistics.median(r.cost.wall_seconds / r.config["epochs"] for r in same) * left * config.epochs
        return Estimate(work, seconds, f"{_count(same)} of the same method{_devices(same)}")
    if work is None:
        return Estimate(None, None, "no record of the method, and the size of the dataset depends on its files")
    if alike:
        seconds = statistics.median(r.cost.wall_seconds / _work_of(r) for r in alike) * work
        return Estimate(work, seconds, f"{_count(alike)} of other methods{_devices(alike)}")
    return Estimate(work, None, "no record of this dataset and model yet")


def _work_of(record: RunRecord) -> float:
    """Forward passes of single images behind a record, as its own numbers give them."""
    images = record.cost.samples_per_second * record.cost.train_seconds
    return images * (record.cost.forward_equivalents_per_step or 1.0)


def _count(records: list[RunRecord]) -> str:
    return f"{len(records)} record{'s' if len(records) > 1 else ''}"


def _devices(records: list[RunRecord]) -> str:
    return f" on {' and '.join(sorted({record.cost.device for record in records}))}"
