"""Draw what heads on frozen features reach, and how fast: docs/frozen.md's figure and table, from a board's records.

python scripts/figure_frozen.py leaderboards/cifar10n-frozen human-worse docs/frozen.svg
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import matplotlib.pyplot as plt

from noisybench.spec.record import RunRecord

ACCURACY, DETECTION = "test_accuracy_last", "noise_detection_auroc"
PANELS = {ACCURACY: "test accuracy, last epoch, %", DETECTION: "wrong labels found, AUROC, %"}


def rows(board: Path, noise: str) -> dict[str, list[RunRecord]]:
    """The completed records of one noise, by method."""
    found: dict[str, list[RunRecord]] = {}
    for file in sorted((board / "runs").glob("*.json")):
        record = RunRecord.load(file)
        if record.config["noise"] == noise and record.status == "completed":
            found.setdefault(record.config["method"], []).append(record)
    return found


def mean(records: list[RunRecord], metric: str) -> float | None:
    """In per cent; None where a record has no such value."""
    values = [record.metrics.get(metric) for record in records]
    known = [value for value in values if value is not None]
    return 100 * statistics.fmean(known) if len(known) == len(values) else None


def table(found: dict[str, list[RunRecord]]) -> str:
    """A Markdown table, the most accurate first."""
    lines = [
        "| method | seeds | test accuracy, last | ± | wrong labels found, AUROC | F1 | clean labels | training, s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for method, records in sorted(found.items(), key=lambda item: -(mean(item[1], ACCURACY) or 0)):
        accuracies = [100 * (record.metrics[ACCURACY] or 0) for record in records]
        spread = f"{statistics.stdev(accuracies):.2f}" if len(accuracies) > 1 else ""
        detection, f1 = mean(records, DETECTION), mean(records, "noise_detection_f1")
        figures = ["" if value is None else f"{value:.1f}" for value in (detection, f1)]
        seconds = statistics.median(record.cost.train_seconds for record in records)
        clean = records[0].information_used.clean_labels or ""
        cells = [method, len(records), f"{statistics.fmean(accuracies):.2f}", spread, *figures, clean, f"{seconds:.0f}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def draw(found: dict[str, list[RunRecord]], file: Path) -> None:
    """Accuracy and detection against training seconds, a point for each method."""
    plt.switch_backend("svg")
    plt.rcParams["svg.hashsalt"] = "noisybench"  # equal records give equal bytes
    figure, axes = plt.subplots(1, 2, figsize=(12, 5.5), layout="constrained")
    for panel, (metric, title) in zip(axes, PANELS.items(), strict=True):
        for method, records in found.items():
            value = mean(records, metric)
            if value is None:
                continue
            seconds = statistics.median(record.cost.train_seconds for record in records)
            clean = records[0].information_used.clean_labels > 0
            panel.plot(seconds, value, "o" if clean else ".", color="tab:green" if clean else "tab:blue")
            panel.annotate(method, (seconds, value), fontsize=7, xytext=(3, 2), textcoords="offset points")
        panel.set(xscale="log", xlabel="training, s on one core (median)", ylabel=title)
        panel.grid(alpha=0.3)
    figure.suptitle("blue: noisy labels alone; green: told clean labels", fontsize=9)
    figure.savefig(file, metadata={"Date": None})


def main(board: Path, noise: str, file: Path) -> None:
    found = rows(board, noise)
    draw(found, file)
    print(table(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
