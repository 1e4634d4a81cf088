"""Try odd input on every surface for a time: `python scripts/fuzz.py --seconds 600 --seed 1` prints what came of it.

Every input is taken, or refused in one line with exit code 2; anything else is named with the seed that draws it again
(`--surface NAME --case SEED`). Exit code 1 if there is any. `pytest` runs a small part of the same.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="for all surfaces together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--surface", help="only this one")
    parser.add_argument("--case", type=int, help="only the case that this seed draws")
    asked = parser.parse_args()

    from fuzzing.surfaces import surfaces
    from fuzzing.tally import Tally, attempt

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    tallies: dict[str, Tally] = {}
    with tempfile.TemporaryDirectory() as folder:
        found = surfaces(Path(folder))
        chosen = found if asked.surface is None else {asked.surface: found[asked.surface]}
        for name, case in chosen.items():
            tally = tallies[name] = Tally()
            if asked.case is not None:
                attempt(tally, case, asked.case)
                continue
            until, seed = time.monotonic() + asked.seconds / len(chosen), asked.seed * 10**9
            while time.monotonic() < until:
                attempt(tally, case, seed)
                seed += 1
    print(f"{'surface':16}{'tried':>9}{'taken':>9}{'refused':>9}{'wrong':>7}{'hangs':>7}{'slowest, s':>12}")
    for name, tally in tallies.items():
        wrong = sum(tally.bad.values())
        numbers = f"{tally.tried:9}{tally.taken:9}{tally.refused:9}{wrong:7}{tally.hangs:7}{tally.slowest:12.1f}"
        print(f"{name:16}{numbers}")
    for name, tally in tallies.items():
        for line in tally.told:
            print(f"{name}, {line}".encode("ascii", "backslashreplace").decode())
    return 1 if any(tally.failed for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
