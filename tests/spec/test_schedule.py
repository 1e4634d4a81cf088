"""Learning rates by epoch, by hand."""

from __future__ import annotations

from noisybench.spec.schedule import learning_rate
from noisybench.spec.values import ScheduleConfig


def test_schedules():
    def rates(epochs, **schedule):
        shape = ScheduleConfig(**schedule)
        return [round(learning_rate(1.0, shape, epoch, epochs), 6) for epoch in range(epochs)]

    assert rates(3, name="constant") == [1, 1, 1]
    assert rates(4, name="cosine") == [1, 0.853553, 0.5, 0.146447]
    assert rates(4, name="cosine-restarts", period=2, floor=0.2) == [1, 0.6, 1, 0.6]
    assert rates(5, name="linear", start=1) == [1, 1, 0.75, 0.5, 0.25]
