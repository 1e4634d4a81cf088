"""The one training loop, from a RunConfig to a RunRecord."""

from __future__ import annotations

from noisybench.spec.config import RunConfig
from noisybench.spec.layers import resolve
from noisybench.spec.record import RunRecord
from noisybench.train.job import Job
from noisybench.train.progress import Progress


def run(config: RunConfig, *, resume: bool = False, progress: Progress | None = None) -> RunRecord:
    """Train and evaluate one method under the protocol.

    Args:
        config: what to run; the cards fill in what it leaves open.
        resume: continue an unfinished run in the output folder (or start, if there is none).
        progress: where to report; silent if not given.

    Returns:
        The record, also written to ``result.json`` in the output folder.

    Raises:
        UserError: something in the configuration, the data or the output folder is wrong; nothing was changed then.
            Or the disk is full, or the method failed: what was saved before is intact.
        RunStopped: SIGTERM, SIGINT or SIGUSR1 came. The run is saved where it was and goes on from there on ``resume``.
    """
    with Job(resolve(config), resume=resume, progress=progress) as job:
        if job.finished is not None:
            return job.finished
        session = job.assemble()
        for epoch in session.epochs_left():
            for step in session.train(epoch):
                job.after_step(step)
            job.after_epoch(session.evaluate())
        return job.finish()
