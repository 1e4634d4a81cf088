"""The cells of a board, and the runs that fill them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from noisybench.core.nested import merge
from noisybench.spec import registry
from noisybench.spec.cards import BenchmarkCard
from noisybench.spec.config import RunConfig
from noisybench.spec.variants import parse_variant, variant_of


@dataclass(frozen=True)
class Cell:
    """One condition that methods are compared under. ``noise_rate`` is None where there is no rate to choose."""

    dataset: str
    noise: str
    noise_rate: float | None

    @property
    def label(self) -> str:
        """For people: ``digits · symmetric 40 %``."""
        rate = "" if self.noise_rate is None else f" {100 * self.noise_rate:g} %"
        noise = "as shipped" if self.noise == "none" else self.noise
        return f"{self.dataset} · {noise}{rate}"

    @property
    def key(self) -> str:
        """For machines: ``digits/symmetric/0.4``."""
        return "/".join([self.dataset, self.noise, "-" if self.noise_rate is None else f"{self.noise_rate:g}"])


def board_cells(card: BenchmarkCard) -> list[Cell]:
    """Every cell of a board, in the card's order."""
    rates: list[float | None] = [*card.noise_rates] or [None]
    return [Cell(dataset, noise, rate) for dataset in card.datasets for noise in card.noises for rate in rates]


def cell_of(card: BenchmarkCard, config: dict[str, Any]) -> Cell:
    """The cell that a run's configuration belongs to, on the board or not."""
    rate = config["noise_rate"] if card.noise_rates else None
    return Cell(config["dataset"], config["noise"], rate)


def required(card: BenchmarkCard) -> dict[str, Any]:
    """The configuration that every run of a board shares."""
    shared: dict[str, Any] = {"protocol": card.protocol, "ruleset": card.ruleset, "track": card.track}
    if card.model is not None:
        shared["model"] = card.model
    if card.epochs is not None:
        shared["epochs"] = card.epochs
    return merge(shared, card.overrides)


def row_name(card: BenchmarkCard, config: dict[str, Any]) -> str:
    """What a board calls the method of a run: ``mslg``, or ``mslg[kappa=0]`` where it departs from the recipe."""
    return variant_of(config, required(card))


def required_by_track(card: BenchmarkCard, dataset: str) -> dict[str, Any]:
    """What a board's short track says of every run on a dataset, in full: nothing on the standard track."""
    tables = registry.dataset_card(dataset).tracks
    wanted = next((dict(table) for track, table in tables.items() if track == card.track), {})
    for name, value in wanted.items():
        default = RunConfig.model_fields[name].default
        if isinstance(default, BaseModel):  # a table replaces a table: what it leaves out is as by default
            wanted[name] = type(default).model_validate(value).model_dump(mode="json")
    return wanted


def expand(card: BenchmarkCard, *, seeds: int | None = None, methods: list[str] | None = None) -> list[dict[str, Any]]:
    """The runs of a board, as what to build a :class:`~noisybench.spec.config.RunConfig` from.

    Seeds are outermost, so that a suite stopped early has every cell before it has any twice; methods innermost.

    Args:
        seeds: how many, counted from 0; the card's number if not given.
        methods: whose runs, each NAME or NAME[KEY=VALUE,…]; the card's methods if not given.
    """
    runs = []
    for seed in range(card.seeds if seeds is None else seeds):
        for cell in board_cells(card):
            rate = {} if cell.noise_rate is None else {"noise_rate": cell.noise_rate}
            for method in card.methods if methods is None else methods:
                name, settings = parse_variant(method)
                run = {"method": name, "dataset": cell.dataset, "noise": cell.noise, **rate, "seed": seed}
                runs.append(merge(merge(run, required(card)), settings))
    return runs
