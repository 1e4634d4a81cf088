"""``noisybench features``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

HELP = "Compute the features that frozen runs on a dataset need, ahead of them; say where they are and their size."
EXAMPLE = "Example: noisybench features imagefolder:photos/ --model noisybench_lite0"


def features(
    dataset: Annotated[str, typer.Argument(help="A name from `noisybench datasets`, imagefolder:PATH or csv:FILE.")],
    model: Annotated[str | None, typer.Option(help="Any timm name. [default: noisybench_lite0]")] = None,
    method: Annotated[str | None, typer.Option(help="With the views that this method's recipe wants.")] = None,
    data_path: Annotated[Path | None, typer.Option(help="Folder with the dataset's files.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Decode to this side. [default: the dataset's]")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other setting, e.g. features.views=2."),
    ] = None,
) -> None:
    given: dict[str, Any] = {"dataset": dataset, "frozen": True, "noise": "none", "noise_rate": 0.0}
    options = {"model": model, "method": method, "data_path": data_path, "image_size": image_size}
    given |= {name: value for name, value in options.items() if value is not None}
    from noisybench.core.nested import merge
    from noisybench.spec.layers import resolve_dict
    from noisybench.spec.text import parse_override

    for text in overrides or []:
        given = merge(given, parse_override(text))
    config = resolve_dict(given)

    from noisybench.core.console import console, say
    from noisybench.parallel.connect import make_accelerator
    from noisybench.train.extract import extract
    from noisybench.train.prepare import official_parts
    from noisybench.train.progress import ConsoleProgress

    device = make_accelerator(mixed_precision="no").device
    files = extract(config, official_parts(config), device, ConsoleProgress(console()))
    for file in files:
        say(f"{file.file}: {file.rows} × {file.width} {file.dtype}, {file.size / 2**20:.1f} MiB")
    say(f"{sum(file.size for file in files) / 2**20:.1f} MiB in all")
