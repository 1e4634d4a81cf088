"""A stop signal ends a run also where it does not come to a place that it can go on from."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from noisybench.core.errors import RunStopped
from noisybench.parallel.signals import StopSignals


@pytest.fixture
def heard(request):
    """A signal that is not ignored: in a background job of a shell SIGINT is, under nohup SIGHUP, and stays so."""
    before = signal.signal(request.param, signal.SIG_DFL)
    yield request.param
    signal.signal(request.param, before)


@pytest.mark.parametrize("heard", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], indirect=True)
def test_what_goes_on_is_ended_where_it_is(monkeypatch, heard):
    number = heard
    monkeypatch.setenv("NOISYBENCH_STOP_SECONDS", "0.2")
    told = f"stopped by {number.name} where it was; what was saved before"
    with pytest.raises(RunStopped, match=told), StopSignals() as signals:
        signals.defer()
        signal.raise_signal(number)
        time.sleep(60)
    assert signals.received == number
    assert signal.getsignal(number) != signals._handle


HANGS = """
import signal, time
from noisybench.parallel.signals import StopSignals
with StopSignals() as signals:
    signals.defer()
    signal.raise_signal(signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # as where no line of Python runs any more
    time.sleep(120)
"""


@pytest.mark.slow
def test_what_hangs_is_ended_with_the_process():
    environment = {"NOISYBENCH_STOP_SECONDS": "0.2", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", HANGS], env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 128 + signal.SIGTERM
    assert (
        done.stderr
        == "noisybench: stopped by SIGTERM where it hung; what was saved before is intact: --resume goes on\n"
    )


def test_a_run_that_stops_in_time_is_left_alone(monkeypatch):
    monkeypatch.setenv("NOISYBENCH_STOP_SECONDS", "0.2")
    handled = []
    before = signal.signal(signal.SIGTERM, lambda *_: handled.append(1))
    try:
        with StopSignals() as signals:
            signals.defer()
            signal.raise_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert handled == [1]  # passed on once, to whoever handled it before
    finally:
        signal.signal(signal.SIGTERM, before)
