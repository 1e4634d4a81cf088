"""Draw how a run corrected its labels (README's figure).

noisybench run --method mslg --output runs/figure
python scripts/figure_labels.py runs/figure docs/labels.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pyarrow.parquet

from noisybench.spec.layers import resolve_dict
from noisybench.spec.record import RunRecord
from noisybench.train.prepare import prepare

SHOWN = 10


def main(folder: Path, figure_file: Path) -> None:
    record = RunRecord.load(folder / "result.json")
    data = prepare(resolve_dict({**record.config, "output": None}))
    table = pyarrow.parquet.read_table(folder / "labels.parquet").to_pydict()
    true = data.dataset.train.labels
    wrong = [row for row, index in enumerate(table["index"]) if table["given_label"][row] != true[index]]
    rows = wrong[:: max(1, len(wrong) // SHOWN)][:SHOWN]  # from the most to the least suspicious

    figure = plt.figure(figsize=(11, 5.2), layout="constrained")
    samples, curves = figure.subfigures(2, 1, height_ratios=[1.25, 1])
    axes = samples.subplots(2, SHOWN, gridspec_kw={"height_ratios": [1.1, 1]})
    for (top, bottom), row in zip(axes.T, rows, strict=True):
        index, given, soft = table["index"][row], table["given_label"][row], np.array(table["soft_label"][row])
        top.imshow(data.dataset.train.pixels[index : index + 1][0, 0], cmap="gray_r")
        top.set_title(f"given {given}\ntrue {true[index]}", fontsize=9)
        top.axis("off")
        colours = ["tab:red" if c == given else "tab:green" if c == true[index] else "0.6" for c in range(len(soft))]
        bottom.bar(range(len(soft)), soft, color=colours)
        bottom.set(ylim=(0, 1), xticks=range(0, len(soft), 3), yticks=[])
        bottom.tick_params(labelsize=7)
    axes[1, 0].set_ylabel("learned label", fontsize=9)

    left, right = curves.subplots(1, 2)
    epochs = np.arange(1, len(record.curves["test_accuracy"]) + 1)
    left.plot(epochs, 100 * np.array(record.curves["label_accuracy_estimated"]), label="labels right, as learned")
    left.axhline(100 * record.metrics["label_accuracy_given"], color="0.5", ls=":", label="labels right, as given")
    right.plot(epochs, 100 * np.array(record.curves["test_accuracy"]), label="test accuracy")
    right.plot(epochs, 100 * np.array(record.curves["memorised"]), label="wrong labels memorised")
    for axis in (left, right):
        axis.axvline(record.config["settings"]["warmup_epochs"], color="0.8", lw=1)
        axis.set(xlabel="epoch (line: end of warm-up)", ylabel="%", ylim=(0, 100))
        axis.legend(fontsize=8)
    figure.savefig(figure_file, dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
