"""``noisybench tune``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from noisybench.core.errors import UserError, unknown_name

HELP = (
    "Tune a method's settings over the ranges that its card states, judged by validation on seeds that are no board's, "
    "never by test. Start it again to go on, or several times at once to share the trials."
)
EXAMPLE = "Example: noisybench tune --method mslg --dataset cifar10n --noise human-worse --frozen --trials 20"
JUDGES = ("noisy-val", "clean-val")


def tune(
    method: Annotated[str, typer.Option(help="A name from `noisybench methods`.")],
    dataset: Annotated[str, typer.Option(help="A name from `noisybench datasets`, imagefolder:PATH or csv:FILE.")],
    trials: Annotated[int, typer.Option(min=1, help="The budget: how many settings are tried, the recipe's first.")],
    frozen: Annotated[bool | None, typer.Option("--frozen", help="Tune heads on a fixed model's features.")] = None,
    noise: Annotated[
        str | None, typer.Option(help="KIND or KIND:FILE, KIND from `noisybench noises`. [default: symmetric]")
    ] = None,
    noise_rate: Annotated[float | None, typer.Option(help="In [0, 1). [default: 0.4]")] = None,
    seeds: Annotated[
        str, typer.Option(metavar="SEED,SEED…", help="Each 100 or more: boards count from 0.")
    ] = "100,101,102",
    judge: Annotated[str, typer.Option(help="noisy-val or clean-val: accuracy there in the last epoch.")] = "noisy-val",
    data_path: Annotated[Path | None, typer.Option(help="Folder with the dataset's files.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the study. [default: runs/tune-…]")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other setting of all trials, e.g. epochs=10."),
    ] = None,
    write_card: Annotated[
        bool, typer.Option("--write-card", help="Write the recipe into the method's card (source tree only).")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be tried and stop.")] = False,
) -> None:
    given: dict[str, Any] = {"method": method, "dataset": dataset}
    options = {"frozen": frozen, "noise": noise, "noise_rate": noise_rate, "data_path": data_path}
    given |= {name: value for name, value in options.items() if value is not None}
    from noisybench.core.nested import merge
    from noisybench.spec import registry
    from noisybench.spec.layers import resolve_dict
    from noisybench.spec.text import parse_override, refuse_former_settings
    from noisybench.spec.tuning import spaces

    for text in overrides or []:
        given = merge(given, parse_override(text))
    refuse_former_settings(given)
    numbers = _seeds(seeds)
    if judge not in JUDGES:
        raise unknown_name("judge", judge, JUDGES)
    if "seed" in given:
        raise UserError("--set seed: give --seeds")
    base = resolve_dict(given | {"seed": numbers[0]})
    if base.protocol == "authors":
        raise UserError("tune with protocol 'authors', which takes its clean images from the test set: leave it out")
    ranges = spaces(registry.method_card(method).tune, base)
    folder = output or _default_output(base)
    if dry_run:
        count = f"{trials} trials of {len(numbers)} runs of {base.epochs} epochs"
        print(
            f"{method} on {dataset}, {base.noise} {base.noise_rate:g}: {count}, judged by {judge}; output in {folder}"
        )
        for key, space in ranges.items():
            print(f"{key}: {space.text()}; the recipe's {space.recipe}")
        return

    from noisybench.bench import tuning, tuning_report
    from noisybench.core.console import console, say
    from noisybench.train.progress import ConsoleProgress

    out = console(outlives_reader=True)
    question = tuning.Question(given, base, ranges, numbers, judge)
    study = tuning.Study(question, folder)
    results = study.run(trials, ConsoleProgress(out), lambda result: tuning_report.told_trial(result, out))
    out.print(tuning_report.table_of(question, results))
    best = tuning.chosen(results)
    if best is None:
        raise UserError(f"all {trials} trials failed, the first by: {results[0].reason}")
    say(f"{folder / tuning.RESULT}", out)
    print(tuning_report.toml_lines(question, best, trials), end="")
    if write_card:
        say(f"{tuning_report.write_card(question, best, trials)}: written", out)


def _seeds(text: str) -> tuple[int, ...]:
    from noisybench.spec.tuning import FIRST_SEED

    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--seeds {text!r}: whole numbers separated by commas, for example 100,101,102") from None
    if len(set(numbers)) != len(numbers):
        raise UserError(f"--seeds {text}: one is named twice")
    if min(numbers) < FIRST_SEED:
        raise UserError(
            f"--seeds {text}: {min(numbers)} may be a board's, which count from 0; give {FIRST_SEED} or more"
        )
    return numbers


def _default_output(base: Any) -> Path:
    frozen = "-frozen" if base.frozen else ""
    name = f"tune-{base.method.replace(':', '.')}-{base.dataset}{frozen}-{base.noise}-{base.noise_rate:g}"
    return Path("runs") / re.sub(r"[^\w.-]+", "-", name)
