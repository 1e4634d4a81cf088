"""Every registered method on digits, three seeds at 60 % symmetric and at 40 % pair-flip noise, as a Markdown table.

    python scripts/methods_table.py runs/methods-table [METHOD …]
    python scripts/methods_table.py runs/engines mslg 'mslg[engine=head]' 'mslg[meta_every=2;mixed_precision=bf16]'

A name may be followed by the method's own settings and the run's fields; of one name it is the setting.
Runs that are finished are not repeated, interrupted ones are resumed, and one that fails is named below the table.
Each run gets one thread; as many run at a time as there are cores.
"""

from __future__ import annotations

import os
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

NOISES = (("symmetric", 0.6), ("pair-flip", 0.4))
SEEDS = (0, 1, 2)


def run_one(folder: str, method: str, noise: str, rate: float, seed: int) -> tuple[float, float]:
    """Last-epoch test accuracy and training seconds of one run."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    import noisybench
    from noisybench.core.nested import merge
    from noisybench.spec.method_settings import method_settings
    from noisybench.spec.text import parse_override

    torch.set_num_threads(1)
    output = Path(folder) / f"{method}-{noise}-{rate:g}-{seed}"
    name, _, inside = method.removesuffix("]").partition("[")
    given = {"method": name, "dataset": "digits", "noise": noise, "noise_rate": rate, "seed": seed}
    for setting in filter(None, inside.split(";")):
        of_method = setting.partition("=")[0] in method_settings(name).model_fields
        given = merge(given, parse_override(f"method.{setting}" if of_method else setting))
    record = noisybench.run(noisybench.RunConfig(**given, output=output), resume=True)
    return record.metrics["test_accuracy_last"], record.cost.train_seconds


def main() -> None:
    from noisybench.spec import registry

    folder, methods = sys.argv[1], sys.argv[2:] or registry.method_names()
    jobs = [(m, noise, rate, seed) for seed in SEEDS for noise, rate in NOISES for m in methods]
    found, failed = {}, []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        futures = {pool.submit(run_one, folder, *job): job for job in jobs}
        for future in as_completed(futures):
            try:
                found[futures[future]] = future.result()
            except Exception as error:
                failed.append(f"{futures[future]}: {error}")

    print("| method | " + " | ".join(f"{noise} {rate:.0%}" for noise, rate in NOISES) + " | seconds per run |")
    print("| --- |" + " --- |" * (len(NOISES) + 1))
    for method in methods:
        cells, seconds = [], []
        for noise, rate in NOISES:
            runs = [found[method, noise, rate, seed] for seed in SEEDS if (method, noise, rate, seed) in found]
            accuracies = [100 * accuracy for accuracy, _ in runs]
            seconds += [spent for _, spent in runs]
            spread = f" ± {statistics.stdev(accuracies):.1f}" if len(runs) > 1 else ""
            cells.append(f"{statistics.mean(accuracies):.1f}{spread} (n={len(runs)})" if runs else "missing")
        print(f"| {method} | " + " | ".join([*cells, f"{statistics.mean(seconds):.0f}" if seconds else "-"]) + " |")
    for line in failed:
        print(f"failed: {line}")


if __name__ == "__main__":
    main()
