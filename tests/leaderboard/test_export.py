"""A board's numbers as CSV and LaTeX, and the list of boards."""

from __future__ import annotations

import csv
import io
import statistics

import pytest
from records import make_record

from noisybench.leaderboard.export import board_csv, board_latex, escaped
from noisybench.leaderboard.side_by_side import metric_rows
from noisybench.leaderboard.standings import Standings
from noisybench.leaderboard.store import open_board
from noisybench.spec import registry
from noisybench.train.progress import summary_table

CARD = registry.benchmark_card("digits-quick")
ACCURACIES = {"ce": (0.5, 0.6, 0.7), "mslg": (0.9, 0.8)}
RECORDS = [
    make_record(method, seed=seed, accuracy=value, clean_labels=100 * (method == "mslg"))
    for method, values in ACCURACIES.items()
    for seed, value in enumerate(values)
]


@pytest.fixture
def board(tmp_path):
    opened = open_board("digits-quick", tmp_path)
    opened.add_records([(record, "x") for record in RECORDS])
    return opened


def test_csv_holds_the_numbers_as_they_are(cli, tmp_path, board):
    code, out, err = cli("leaderboard", "export", "digits-quick", "--root", tmp_path)
    assert (code, err) == (0, "")
    lines = list(csv.DictReader(io.StringIO(out)))
    assert [(line["method"], line["noise_rate"], line["runs"], line["seeds"]) for line in lines] == [
        ("ce", "0.4", "3", "0 1 2"),
        ("mslg", "0.4", "2", "0 1"),
    ]
    for line, values in zip(lines, ACCURACIES.values(), strict=True):
        assert float(line["mean"]) == pytest.approx(statistics.mean(values))
        assert float(line["sd"]) == pytest.approx(statistics.stdev(values))
    assert lines[1]["information"] == "100 clean labels · trained from scratch"
    assert {line["metric"] for line in lines} == {"test_accuracy_last"}
    by_rule = board_csv(Standings(CARD, RECORDS), "test_accuracy_oracle")
    assert float(next(csv.DictReader(io.StringIO(by_rule)))["mean"]) == pytest.approx(
        statistics.mean(max(record.curves["test_accuracy"]) for record in RECORDS[:3])
    )


def test_latex_is_a_booktabs_table(cli, tmp_path, board):
    code, out, _ = cli("leaderboard", "export", "digits-quick", "--format", "latex", "--root", tmp_path)
    assert code == 0
    lines = [line for line in out.splitlines() if not line.startswith("%")]
    assert lines == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"method & digits \textperiodcentered{} symmetric 40 \% \\",
        r"\midrule",
        r"\multicolumn{2}{l}{\emph{No clean labels \textperiodcentered{} trained from scratch}} \\",
        r"ce & 60.00 $\pm$ 10.00 \\",
        r"\midrule",
        r"\multicolumn{2}{l}{\emph{100 clean labels \textperiodcentered{} trained from scratch}} \\",
        r"mslg & 85.00 $\pm$ 7.07 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_a_metric_that_few_have(cli, tmp_path, board):
    record = make_record("elr", estimates_labels=True)
    table = board_latex(Standings(CARD, [*RECORDS, record]), "noise_detection_auroc")
    assert r"ce & -- \\" in table
    assert rf"elr & {100 * record.metrics['noise_detection_auroc']:.2f} \\" in table
    line = list(csv.DictReader(io.StringIO(board_csv(Standings(CARD, [record]), "noise_detection_auroc"))))[0]
    assert line["by"] == "the method's label estimate" and line["sd"] == ""


def test_wrong_words_are_refused(cli, tmp_path, board):
    for arguments, said in [
        (("--format", "html"), "unknown format 'html'"),
        (("--metric", "noise_detection_f2"), "unknown metric 'noise_detection_f2'"),
    ]:
        code, out, err = cli("leaderboard", "export", "digits-quick", "--root", tmp_path, *arguments)
        assert code == 2 and out == "" and said in err and err.count("\n") == 1


def test_latex_shows_every_character_as_it_is():
    assert escaped("a_b & 50% #1 {x} ~ ^ \\ $") == (
        r"a\_b \& 50\% \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} \$"
    )


def test_boards_are_listed_by_the_command_alone(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    open_board("digits-quick", tmp_path / "leaderboards").add_records([(RECORDS[0], "x")])
    code, out, err = cli("leaderboard")
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert set(lines) == set(registry.card_names("benchmarks"))
    assert "1 run " in lines["digits-quick"] and lines["digits-quick"].endswith("Digits, quick")
    assert "0 runs" in lines["mslg-cifar10"]


def test_validation_stands_beside_test():
    rows = {row[0]: row[1:] for row in metric_rows(RECORDS[:2])}
    curves = [record.curves["noisy_val_accuracy"][-1] for record in RECORDS[:2]]
    assert rows["noisy validation accuracy, last epoch"] == [f"{100 * value:.2f}" for value in curves]
    assert list(rows)[:2] == ["noisy validation accuracy, last epoch", "clean validation accuracy, last epoch"]
    assert summary_table(RECORDS[0]).row_count >= 8
    assert [str(cell) for cell in summary_table(RECORDS[0]).columns[1].cells][0] == f"{100 * curves[0]:.2f}"
