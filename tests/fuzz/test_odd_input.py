"""A small, fixed part of `scripts/fuzz.py`: odd input is taken, or refused in one line with exit code 2."""

from __future__ import annotations

import pytest
from fuzzing.surfaces import surfaces
from fuzzing.tally import Tally, attempt

CASES = {
    "command line": 60,
    "image files": 400,
    "CSV tables": 150,
    "cards": 200,
    "configurations": 80,
    "records": 400,
    "noise files": 150,
    "checkpoints": 200,
    "environments": 3,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_no_odd_input_ends_in_a_traceback_or_hangs(tmp_path, name):
    case, tally = surfaces(tmp_path)[name], Tally()
    for seed in range(CASES[name]):
        attempt(tally, case, seed)
    assert tally.told == [] and tally.failed == 0 and tally.tried == CASES[name]
    assert tally.refused > 0


def test_what_is_wrong_is_counted_and_named_with_its_seed():
    tally = Tally()

    def case(chance):
        if chance.random() < 0.5:
            raise KeyError("a")

    for seed in range(20):
        attempt(tally, case, seed)
    assert tally.tried == 20 and tally.taken + tally.failed == 20 and 0 < tally.failed < 20
    assert len(tally.told) == 1 and "KeyError" in tally.told[0]
