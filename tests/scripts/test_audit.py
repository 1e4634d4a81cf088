"""What `scripts/audit.py` makes of a report of pip-audit."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "scripts" / "audit.py"


@pytest.fixture
def audit():
    spec = importlib.util.spec_from_file_location("audit", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SOUND = {"name": "numpy", "version": "2.3", "vulns": []}
MENDED = {"name": "pillow", "version": "10.1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["10.2", "11.0"]}]}
OPEN = {"name": "torch", "version": "2.10", "vulns": [{"id": "PYSEC-2", "fix_versions": []}]}
UNKNOWN = {"name": "own", "skip_reason": "not found"}


@pytest.mark.parametrize(
    "packages, lines, code",
    [
        ([SOUND], ["audit: 0 known vulnerabilities in 1 packages"], 0),
        (
            [SOUND, MENDED, UNKNOWN],
            [
                "pillow 10.1: PYSEC-1; mended in 10.2, 11.0",
                "audit: 1 known vulnerabilities in 2 packages, 1 are not known to the service",
            ],
            1,
        ),
        ([OPEN], ["torch 2.10: PYSEC-2; mended in no version yet", "audit: 1 known vulnerabilities in 1 packages"], 0),
        ([UNKNOWN], ["audit: skipped: the service answers for none of 1 packages"], 0),
    ],
)
def test_verdicts(audit, packages, lines, code):
    assert audit.verdict({"dependencies": packages}) == (lines, code)


@pytest.mark.parametrize("said", [("", "Traceback\nConnectionError: no route"), ("{}", "ConnectionError: no route")])
def test_without_the_service_one_line_says_so(audit, capsys, monkeypatch, said):
    done = subprocess.CompletedProcess([], 1, *said)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert audit.main() == 0
    assert capsys.readouterr().out == "audit: skipped: ConnectionError: no route\n"
