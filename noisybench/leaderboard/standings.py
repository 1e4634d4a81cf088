"""From records to standings: rows, cells and every number that a view shows, computed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from noisybench.leaderboard import statistics
from noisybench.leaderboard.cells import Cell, board_cells, cell_of, row_name
from noisybench.leaderboard.published import PaperClaim, claims_of
from noisybench.leaderboard.statistics import Differences, Interval
from noisybench.leaderboard.validate import information_class
from noisybench.leaderboard.verifications import Verification
from noisybench.spec.cards import BenchmarkCard
from noisybench.spec.metrics import with_later_rules
from noisybench.spec.record import InformationUsed, RunRecord


@dataclass(frozen=True)
class Row:
    """One line of a table: the runs of a method, in one setting of it, that knew equally much."""

    method: str  # with its differences to the recipe, if any: mslg[kappa=0]
    used: InformationUsed
    runs: dict[Cell, list[RunRecord]]  # by cell, each by seed

    @property
    def all_runs(self) -> list[RunRecord]:
        """Every run, cell by cell."""
        return [record for records in self.runs.values() for record in records]

    @property
    def group(self) -> str:
        """The declared information in words; rows are compared within it."""
        return describe(self.used)

    def scores(self, cell: Cell, rule: str) -> list[float | None]:
        """A selection rule's value for each run in a cell."""
        return [value_of(record, rule) for record in self.runs.get(cell, [])]


@dataclass(frozen=True)
class Score:
    """How a row does in one cell, or over all cells, under one selection rule.

    Attributes:
        mean: with its bootstrap interval.
        spread: standard deviation over runs; None for one run and over all cells.
        runs: how many the mean is over.
        iqm: interquartile mean over cells; None in a single cell or if cells have different numbers of runs.
        difference: paired with the baseline; None if nothing pairs.
        pairs: how many pairs that is over.
        improvement: P(a run scores higher than one of the baseline).
        rank: within the rows of equal information.
    """

    mean: Interval
    spread: float | None
    runs: int
    iqm: Interval | None
    difference: Interval | None
    pairs: int
    improvement: float | None
    rank: int


@dataclass(frozen=True)
class Scope:
    """The standings over some cells under one rule. Rows that miss one of the cells are not in ``scores``.

    Attributes:
        scores: by the row's number.
        mean_ranks: each row's rank among all rows, averaged over cells, by the row's number.
        ties: runs of neighbours by mean rank of which none is better than another.
    """

    scores: dict[int, Score]
    mean_ranks: dict[int, float]
    ties: list[list[int]]


class Standings:
    """Everything a board shows, as a function of its card and records."""

    def __init__(
        self,
        card: BenchmarkCard,
        records: list[RunRecord],
        verifications: Mapping[str, Verification] | None = None,
    ):
        self.card = card
        self.verifications = dict(verifications or {})  # by run id
        self.records = sorted(records, key=lambda record: record.run_id)
        self.cells = board_cells(card)
        self.rows = _rows(card, self.records)
        self._scopes: dict[tuple, Scope] = {}

    @cached_property
    def covered(self) -> list[Cell]:
        """The cells that any row has runs in: what "all cells" means. The rest is listed as without runs."""
        return [cell for cell in self.cells if any(cell in row.runs for row in self.rows)]

    @property
    def empty(self) -> list[Cell]:
        """The cells nobody has run."""
        return [cell for cell in self.cells if cell not in self.covered]

    def missing(self, row: Row) -> list[Cell]:
        """The covered cells that a row has no run in."""
        return [cell for cell in self.covered if cell not in row.runs]

    def baseline(self, row: Row) -> int | None:
        """The number of the row that a row is compared with: the baseline method from an equal initialisation."""
        for number, other in enumerate(self.rows):
            equal = (other.used.pretrained_weights, other.used.extra_data) == (
                row.used.pretrained_weights,
                row.used.extra_data,
            )
            if other.method == self.card.baseline and equal:
                return number
        return None

    def claim(self, row: Row, cell: Cell) -> PaperClaim | None:
        """The published number of a row's method in a cell."""
        return claims_of(self.card, row.method).get(cell)

    def claim_difference(self, row: Row, cell: Cell, rule: str) -> Interval | None:
        """A row's runs against the published number of its method."""
        claim, scores = self.claim(row, cell), row.scores(cell, rule)
        if claim is None or not scores or None in scores:
            return None
        return statistics.difference_to(np.array(scores), claim.accuracy)

    def scope(self, cells: list[Cell], rule: str) -> Scope:
        """The standings over these cells: one cell, or :attr:`covered`. Computed once; views ask again."""
        asked = (tuple(cells), rule)
        if asked not in self._scopes:
            self._scopes[asked] = self._scope(cells, rule)
        return self._scopes[asked]

    def _scope(self, cells: list[Cell], rule: str) -> Scope:
        complete = [
            number
            for number, row in enumerate(self.rows)
            if cells and all(row.scores(cell, rule) and None not in row.scores(cell, rule) for cell in cells)
        ]
        if not complete:
            return Scope({}, {}, [])
        runs = {n: [np.array(self.rows[n].scores(cell, rule)) for cell in cells] for n in complete}
        paired = statistics.paired_differences([self._conditions(cell, complete, rule) for cell in cells])
        better = paired.better()
        rank = self._ranks_within_groups(complete, better)
        mean, iqm = self._means(runs, cells, rule)
        scores = {
            number: Score(
                mean=mean[number],
                spread=statistics.spread(runs[number][0]) if len(cells) == 1 else None,
                runs=sum(len(scores) for scores in runs[number]),
                iqm=iqm.get(number),
                rank=rank[place],
                **self._against_baseline(number, place, complete, runs, paired),
            )
            for place, number in enumerate(complete)
        }
        means = np.array([[scores.mean() for scores in runs[number]] for number in complete])
        mean_rank = statistics.mean_ranks(list(means.T))
        order = sorted(range(len(complete)), key=lambda place: (mean_rank[place], place))
        return Scope(
            scores,
            {number: float(mean_rank[place]) for place, number in enumerate(complete)},
            [[complete[place] for place in group] for group in statistics.ties(order, better)],
        )

    def _means(self, runs: dict[int, list[np.ndarray]], cells: list[Cell], rule: str) -> tuple[dict, dict]:
        """Means and interquartile means by row; rows with as many runs in each cell are computed at once."""
        alike: dict[tuple[int, ...], list[int]] = {}
        for number, scores in runs.items():
            alike.setdefault(tuple(map(len, scores)), []).append(number)
        mean: dict[int, Interval] = {}
        iqm: dict[int, Interval] = {}
        for sizes, numbers in alike.items():
            stacked = [np.stack([runs[number][place] for number in numbers]) for place in range(len(cells))]
            key = "/".join([self.card.name, rule, *(cell.key for cell in cells), *map(str, sizes)])
            mean |= zip(numbers, statistics.mean_over_cells(stacked, key), strict=True)
            middle = statistics.interquartile_mean(stacked, "iqm/" + key) if len(cells) > 1 else None
            if middle is not None:
                iqm |= zip(numbers, middle, strict=True)
        return mean, iqm

    def _conditions(self, cell: Cell, numbers: list[int], rule: str) -> np.ndarray:
        """M×S scores, one column for each seed with its noise and split; NaN where a row has no such run."""
        columns: dict[tuple, int] = {}
        found = []
        for place, number in enumerate(numbers):
            for record in self.rows[number].runs[cell]:
                column = columns.setdefault(condition(record), len(columns))
                found.append((place, column, value_of(record, rule)))
        scores = np.full((len(numbers), len(columns)), np.nan)
        for place, column, value in found:
            scores[place, column] = value
        return scores

    def _ranks_within_groups(self, numbers: list[int], better: np.ndarray) -> list[int]:
        groups = np.array([self.rows[number].group for number in numbers])
        return statistics.ranks(better & (groups[:, None] == groups[None, :]))

    def _against_baseline(self, number: int, place: int, complete: list[int], runs, paired: Differences) -> dict:
        base = self.baseline(self.rows[number])
        if base is None or base == number or base not in runs:
            return {"difference": None, "pairs": 0, "improvement": None}
        other = complete.index(base)
        return {
            "difference": paired.of(place, other),
            "pairs": int(paired.pairs[place, other]),
            "improvement": statistics.probability_of_improvement(list(zip(runs[number], runs[base], strict=True))),
        }


def value_of(record: RunRecord, rule: str) -> float | None:
    """What a selection rule says of a record, also of one that is older than the rule."""
    return with_later_rules(record.metrics, record.curves)[rule]


def condition(record: RunRecord) -> tuple:
    """What must be equal for two runs to be compared as a pair: seed, images, noise and split."""
    prints = record.fingerprints
    return (record.config["seed"], prints.dataset, prints.noise, prints.split)


def describe(used: InformationUsed) -> str:
    """Declared information in words."""
    parts = [f"{used.clean_labels:,} clean labels" if used.clean_labels else "No clean labels"]
    parts.append("pretrained" if used.pretrained_weights else "trained from scratch")
    if used.noise_prior:
        parts.append("told the " + ", ".join(prior.replace("_", " ") for prior in sorted(used.noise_prior)))
    if used.extra_data:
        parts.append("extra data")
    if used.tuning_trials:
        parts.append(f"{used.tuning_trials} tuning trials")
    return " · ".join(parts)


def _rows(card: BenchmarkCard, records: list[RunRecord]) -> list[Row]:
    """Rows in the order of information used, then of the method's name."""
    found: dict[tuple, Row] = {}
    for record in records:
        entry = (information_class(record.information_used), row_name(card, record.config))
        row = found.setdefault(entry, Row(entry[1], record.information_used, {}))
        row.runs.setdefault(cell_of(card, record.config), []).append(record)
    rows = [found[entry] for entry in sorted(found)]
    for row in rows:
        order = {cell: place for place, cell in enumerate(board_cells(card))}
        ordered = sorted(row.runs.items(), key=lambda item: order[item[0]])
        row.runs.clear()
        row.runs.update((cell, sorted(runs, key=lambda record: record.config["seed"])) for cell, runs in ordered)
    return rows
