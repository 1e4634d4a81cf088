"""`noisybench compare`."""

from __future__ import annotations

import pytest
from records import make_record
from scipy import stats

from noisybench.leaderboard.side_by_side import differing_settings, fingerprint_rows, paired_lines


def saved(folder, *records):
    paths = []
    for number, record in enumerate(records):
        paths.append(folder / f"run{number}")
        paths[-1].mkdir()
        record.save(paths[-1] / "result.json")
    return paths


def test_two_runs_side_by_side(cli, tmp_path):
    paths = saved(tmp_path, make_record("ce", accuracy=0.5), make_record("mslg", accuracy=0.625, batch_size=32))
    code, out, _ = cli("compare", *paths)
    assert code == 0
    for part in ("batch_size", "same noise? yes", "same split? yes", "same final weights? no", "62.50"):
        assert part in out
    assert "B − A: paired difference +12.50 points of test accuracy, last epoch (1 pair, too few" in out


def test_only_what_differs_is_listed():
    optimizer = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": False}
    rows = differing_settings([make_record(output="a"), make_record(output="b", optimizer=optimizer)])
    assert rows == [["optimizer.lr", "0.05", "0.1"]]


def test_seeds_are_paired_with_the_interval_of_a_paired_t_test():
    first, second = (0.50, 0.55, 0.65), (0.70, 0.72, 0.81)
    records = [
        make_record(method, seed=seed, accuracy=value)
        for method, values in (("ce", first), ("elr", second))
        for seed, value in enumerate(values)
    ]
    expected = stats.ttest_rel(second, first).confidence_interval(0.95)
    (line,) = paired_lines(records, list("ABCDEF"))
    assert line.startswith("D+E+F − A+B+C: paired difference +17.67 [")
    assert f"[{100 * expected.low:+.2f}, {100 * expected.high:+.2f}]" in line
    assert "3 pairs" in line


def test_other_noise_is_not_paired():
    records = [make_record("ce", noise_rate=0.2), make_record("elr", noise_rate=0.4)]
    assert "not paired" in paired_lines(records, ["A", "B"])[0]
    assert [row[0] for row in fingerprint_rows(records)][:3] == [
        "same images? yes",
        "same noise? no",
        "same split? yes",
    ]
    assert "nothing but the seed" in paired_lines([make_record(), make_record(seed=1)], ["A", "B"])[0]


@pytest.mark.parametrize("arguments", [[], ["nowhere"], ["nowhere", "neither"]])
def test_bad_input_is_one_line(cli, arguments):
    code, _, err = cli("compare", *arguments)
    assert code == 2
    assert "Traceback" not in err
