"""The measuring commands, in this process."""

from __future__ import annotations

import functools

import pytest


@pytest.fixture
def benchmarks(cli):
    """As ``python -m benchmarks ARGUMENTS``: -> (exit code, stdout, stderr)."""
    from benchmarks.perf.cli import app

    return functools.partial(cli, commands=app)
