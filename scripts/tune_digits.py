"""How the digits recipes were chosen: a small grid, judged by clean validation accuracy, on seeds no board uses.

    python scripts/tune_digits.py mslg      # prints one line per setting, best first

The last epoch's clean validation accuracy is averaged over seeds 100-102 and noise rates 40 and 60 % (symmetric). The
test set is not looked at.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

GRIDS = {
    "ce": {"optimizer.lr": [0.02, 0.05, 0.1]},
    "joint": {"settings.label_start": [5, 10], "settings.window": [5, 10]},
    "mslg": {
        "optimizer.lr": [0.05, 0.1, 0.3],
        "settings.warmup_epochs": [5, 10],
        "settings.kappa": [1.5625, 4.0, 10.0],
    },
    "pencil": {"optimizer.lr": [0.1, 0.3], "settings.label_lr": [600.0, 2000.0]},
}
SEEDS = (100, 101, 102)
RATES = (0.4, 0.6)


def validation_accuracy(job: tuple[str, dict[str, float], float, int]) -> float:
    """The last epoch's clean validation accuracy of one run."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    import noisybench
    from noisybench.core.nested import merge

    torch.set_num_threads(1)
    method, setting, rate, seed = job
    given = {"method": method, "dataset": "digits", "noise_rate": rate, "seed": seed}
    for name, value in setting.items():
        for part in reversed(name.split(".")):
            value = {part: value}
        given = merge(given, value)
    with tempfile.TemporaryDirectory() as folder:
        config = noisybench.RunConfig(**given, output=Path(folder) / "run")
        return noisybench.run(config).curves["clean_val_accuracy"][-1]


def main() -> None:
    method = sys.argv[1]
    names, values = zip(*GRIDS[method].items(), strict=True)
    settings = [dict(zip(names, choice, strict=True)) for choice in itertools.product(*values)]
    cells = list(itertools.product(RATES, SEEDS))
    jobs = [(method, setting, rate, seed) for setting in settings for rate, seed in cells]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(validation_accuracy, jobs))
    means = [sum(found[i : i + len(cells)]) / len(cells) for i in range(0, len(found), len(cells))]
    for mean, setting in sorted(zip(means, settings, strict=True), key=lambda pair: -pair[0]):
        print(f"{100 * mean:6.2f} %  " + "  ".join(f"{name}={value:g}" for name, value in setting.items()))


if __name__ == "__main__":
    main()
