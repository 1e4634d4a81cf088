"""Runs of several configurations one after another, in however many processes this file is started.

``python distributed_runs.py CONFIGS FOLDER`` reads a JSON object (name: configuration) and runs each to FOLDER/name.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import noisybench
from noisybench.processes import leave


def run_all(configurations: dict[str, dict], folder: Path) -> None:
    for name, given in configurations.items():
        noisybench.run(noisybench.RunConfig(**given, output=folder / name))


if __name__ == "__main__":
    run_all(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
    leave()
