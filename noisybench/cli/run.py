"""``noisybench run``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

HELP = "Train and evaluate one method under the protocol, and write its record."
EXAMPLE = "Example: noisybench run --method mslg --noise symmetric --noise-rate 0.6 --seed 1"


def run(
    method: Annotated[str | None, typer.Option(help="A name from `noisybench methods`. [default: ce]")] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="A name from `noisybench datasets`, imagefolder:PATH or csv:FILE. [default: digits]"),
    ] = None,
    noise: Annotated[
        str | None, typer.Option(help="KIND or KIND:FILE, KIND from `noisybench noises`. [default: symmetric]")
    ] = None,
    noise_rate: Annotated[float | None, typer.Option(help="In [0, 1). [default: 0.4]")] = None,
    seed: Annotated[int | None, typer.Option(help="Of noise, split, weights and order. [default: 0]")] = None,
    model: Annotated[str | None, typer.Option(help="Any timm name. [default: the dataset's]")] = None,
    frozen: Annotated[
        bool | None, typer.Option("--frozen", help="Fix the model; train a head on its features, computed once.")
    ] = None,
    head: Annotated[str | None, typer.Option(help="Of a frozen run: linear or mlp:WIDTH,…. [default: linear]")] = None,
    pretrained: Annotated[bool | None, typer.Option("--pretrained", help="Start from timm's weights.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Start from a file of weights: safetensors, or .pth (tensors alone).")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="[default: the recipe's]")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per step. [default: the recipe's]")] = None,
    meta_size: Annotated[int | None, typer.Option(help="Clean meta images. [default: the dataset's]")] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Resize to this side. [default: the dataset's or the weights']")
    ] = None,
    protocol: Annotated[str | None, typer.Option(help="sealed or authors. [default: sealed]")] = None,
    ruleset: Annotated[str | None, typer.Option(help="paper or blind settings. [default: paper]")] = None,
    track: Annotated[
        str | None, typer.Option(help="standard, or fast: the dataset's short schedule. [default: standard]")
    ] = None,
    data_path: Annotated[Path | None, typer.Option(help="Folder with the dataset's files.")] = None,
    clean_labels: Annotated[
        Path | None, typer.Option(help="CSV (path,label) of checked images: the meta set and clean validation.")
    ] = None,
    memory_budget: Annotated[
        int | None, typer.Option(help="MiB of decoded images kept in memory; larger sets stream. [default: 4096]")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that decode streamed images. [default: 4]")] = None,
    limit_train: Annotated[
        int | None, typer.Option(help="Use so many training images; held-out parts shrink alike.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for the results. [default: runs/…]")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with any of these settings.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other setting, e.g. method.inner_lr=0.5."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the output folder.")] = False,
    checkpoint_steps: Annotated[
        int | None, typer.Option(help="Save every so many training steps too. [default: not by steps]")
    ] = None,
    checkpoint_minutes: Annotated[
        float | None, typer.Option(help="Save after so many minutes too; 0: at ends of epochs only. [default: 10]")
    ] = None,
    wandb: Annotated[bool | None, typer.Option("--wandb", help="Log to Weights & Biases too.")] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Processes on this machine, one a GPU. [default: 1]")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved configuration and stop.")] = False,
) -> None:
    options = {
        name: value
        for name, value in locals().items()
        if value is not None and name not in ("config", "overrides", "resume", "processes", "dry_run")
    }
    from noisybench.core.nested import merge
    from noisybench.spec.layers import resolve_dict
    from noisybench.spec.text import parse_override, read_config_file, refuse_former_settings

    given: dict[str, Any] = read_config_file(config) if config is not None else {}
    given = merge(given, options)
    for text in overrides or []:
        given = merge(given, parse_override(text))
    refuse_former_settings(given)
    resolved = resolve_dict(given)
    if dry_run:
        print(resolved.model_dump_json(indent=2))
        return

    if processes is not None and processes > 1:
        from noisybench.parallel.launch import launch, refuse_nested, without_processes

        refuse_nested()
        raise typer.Exit(launch(without_processes(sys.argv[1:]), processes))

    from noisybench.parallel.launch import end_with_launcher

    end_with_launcher()
    import noisybench
    from noisybench.core.console import console
    from noisybench.parallel.connect import leave
    from noisybench.train.progress import ConsoleProgress

    noisybench.run(resolved, resume=resume, progress=ConsoleProgress(console(outlives_reader=True)))
    leave()
