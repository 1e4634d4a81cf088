"""What a record must be before a board believes it. Records are untrusted input: everything is checked, nothing run."""

from __future__ import annotations

import math
from typing import Any

from noisybench.core.errors import UserError
from noisybench.core.files import canonical_json
from noisybench.core.nested import _overridden, merge
from noisybench.leaderboard.cells import board_cells, cell_of, required, required_by_track
from noisybench.spec import registry
from noisybench.spec.cards import BenchmarkCard
from noisybench.spec.identity import ENVIRONMENT_FIELDS, run_id_of, with_later_fields
from noisybench.spec.metrics import FRACTIONS, LABEL_METRICS, select
from noisybench.spec.record import InformationUsed, RunRecord, parse_record

MAX_CHARACTERS = 16_000_000  # a run of 300 epochs takes about 100,000

CONFIG_TYPES = {
    "method": str,
    "dataset": str,
    "noise": str,
    "noise_rate": (int, float),
    "seed": int,
    "protocol": str,
    "ruleset": str,
    "model": str,
    "pretrained": bool,
    "epochs": int,
    "meta_size": int,
}
# What a run must not have changed unless the board's card says so: all of the data, as it is, with its own noise.
WHOLE_DATA = {"limit_train": None, "image_size": None, "noise_seed": None}
# Python's sum() rounds differently from 3.12 on; a digit that anybody changed is found by the hash before.
TOLERANCE = 1e-12


def read_record(text: str, source: str) -> RunRecord:
    """A record from untrusted text, checked in itself: form, hashes, and that its numbers agree with each other.

    Raises:
        UserError: with the first thing that is wrong.
    """
    if len(text) > MAX_CHARACTERS:
        raise UserError(f"{source}: {len(text):,} characters; a record has at most {MAX_CHARACTERS:,}")
    record = parse_record(text, source)
    reason = _first_reason(record)
    if reason is None and _without_space(text) != _without_space(canonical_json(record.content())):
        # Two texts can hold one value (0.10 and 0.1, a key given twice): only one of them is filed.
        reason = "not in the form that noisybench writes; take the result.json as the run wrote it"
    if reason is not None:
        raise UserError(f"{source}: {reason}")
    return record


def _without_space(text: str) -> str:
    """Texts of equal JSON content differ in nothing but the space between tokens if they are equal without any."""
    return "".join(text.split())


def _first_reason(record: RunRecord) -> str | None:
    for check in (_config, _identity, _completed, _curves, _fractions, _metrics, _information, _cost):
        reason = check(record)
        if reason is not None:
            return reason
    return None


def _config(record: RunRecord) -> str | None:
    for name, kind in CONFIG_TYPES.items():
        value = record.config.get(name)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            return f"config.{name} is {value!r}: missing or of a wrong type"
    return None


def _identity(record: RunRecord) -> str | None:
    found = run_id_of(record.config)
    if record.run_id != found:
        return f"run_id {record.run_id[:40]!r} is not that of its configuration, {found!r}"
    for name, value in record.fingerprints.model_dump().items():
        if value is None or len(value) != 64 or set(value) - set("0123456789abcdef"):
            return f"fingerprints.{name} is no sha256 in hexadecimal"
    return None


def _completed(record: RunRecord) -> str | None:
    if record.status != "completed":
        return f"the run failed ({record.error}); a board holds completed runs, a failed one is a missing cell"
    return None


def _curves(record: RunRecord) -> str | None:
    epochs = record.config["epochs"]
    for name, values in record.curves.items():
        if len(values) != epochs:
            return f"curves.{name} has {len(values)} values for {epochs} epochs"
    test = record.curves.get("test_accuracy")
    if not test or None in test:
        return "curves.test_accuracy is missing or has gaps"
    for name, values in record.curves.items():
        if name.partition("_accuracy")[0] in ("noisy_val", "clean_val") and None in values:
            return f"curves.{name} has gaps"
    return None


def _fractions(record: RunRecord) -> str | None:
    named: list[tuple[str, float | None]] = [(f"metrics.{name}", value) for name, value in record.metrics.items()]
    for head, metrics in record.heads.items():
        named += [(f"heads.{head}.{name}", value) for name, value in metrics.items()]
    for name, values in record.curves.items():
        known = [value for value in values if value is not None]
        if known and any(word in name for word in FRACTIONS):
            named += [(f"the lowest of curves.{name}", min(known)), (f"the highest of curves.{name}", max(known))]
    for name in ("requested_rate", "achieved_rate", "achieved_rate_train_set"):
        value = record.noise.get(name)
        if value is None and name in record.noise and record.config["noise"] == "none":
            continue  # labels as shipped: nobody may know how many are wrong
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"noise.{name} is {value!r}, not a number"
        named.append((f"noise.{name}", value))
    for name, value in named:
        if value is not None and not 0 <= value <= 1:
            return f"{name} is {value:g}: a fraction lies in [0, 1]"
    return None


def _metrics(record: RunRecord) -> str | None:
    """The selection rules, applied again to the curves; curves hold one value per epoch of every evaluation."""
    expected: dict[str, float | None] = _selected(record, "")
    for name in LABEL_METRICS:
        if name in record.curves:
            expected[name] = record.curves[name][-1]
    reason = _difference("metrics", record.metrics, expected)
    if reason is not None:
        return reason
    plain = [head for head in record.heads if f"test_accuracy/{head}" not in record.curves]
    if len(plain) != 1:
        return f"heads {sorted(record.heads)}: exactly one of them is the headline, without curves of its own name"
    for head, metrics in record.heads.items():
        suffix = "" if head == plain[0] else f"/{head}"
        reason = _difference(f"heads.{head}", metrics, _selected(record, suffix))
        if reason is not None:
            return reason
    return None


def _selected(record: RunRecord, suffix: str) -> dict[str, float | None]:
    parts = (record.curves.get(f"{part}_accuracy{suffix}") for part in ("test", "noisy_val", "clean_val"))
    return select(*parts)


def _difference(place: str, stated: dict[str, float | None], expected: dict[str, float | None]) -> str | None:
    if stated.keys() != expected.keys():
        names = ", ".join(sorted(stated.keys() ^ expected.keys()))
        return f"{place}: the curves give other metrics than stated ({names})"
    for name, value in expected.items():
        given = stated[name]
        same = given == value or (
            given is not None and value is not None and math.isclose(given, value, rel_tol=0, abs_tol=TOLERANCE)
        )
        if not same:
            return f"{place}.{name} is {given}, but the curves give {value}"
    return None


def _information(record: RunRecord) -> str | None:
    used = record.information_used
    if used.pretrained_weights != record.config["pretrained"]:
        return "information_used.pretrained_weights does not agree with the configuration"
    if not 0 <= used.clean_labels <= record.config["meta_size"]:
        return f"information_used.clean_labels is {used.clean_labels}; the meta set has {record.config['meta_size']}"
    unknown = set(used.noise_prior) - {"noise_rate", "noise_kind", "transition_matrix"}
    if unknown:
        return f"information_used.noise_prior names {', '.join(sorted(unknown))}"
    return None


def _cost(record: RunRecord) -> str | None:
    for name, value in record.cost.model_dump().items():
        if isinstance(value, int | float) and value < 0:
            return f"cost.{name} is {value:g}"
    return None


def misfit(card: BenchmarkCard, record: RunRecord) -> str | None:
    """Why a record does not belong on a board; None if it does."""
    cell = cell_of(card, record.config)
    cells = board_cells(card)
    if cell not in cells:
        return f"{cell.label} is no cell of board {card.name!r} ({', '.join(known.label for known in cells)})"
    if not card.noise_rates:
        expected = (registry.dataset_card(cell.dataset).noise_rate or 0.0) if cell.noise == "none" else 0.0
        if record.config["noise_rate"] != expected:
            wanted = f"what is expected of the labels is {expected}" if expected else "this board's noise takes none"
            return f"noise_rate is {record.config['noise_rate']}; {wanted}"
    config = with_later_fields(record.config)
    wanted = {**WHOLE_DATA, **registry.dataset_card(cell.dataset).splits.model_dump(), **required(card)}
    of_track = merge(required_by_track(card, cell.dataset), required(card))
    return _overridden(wanted, config, "") or _overridden(of_track, config, "")


def information_class(used: InformationUsed) -> tuple:
    """What separates rows: two runs with equal classes knew equally much."""
    return (
        used.clean_labels,
        used.pretrained_weights,
        used.extra_data,
        tuple(sorted(used.noise_prior)),
        used.tuning_trials,
    )


class Filed:
    """The records a board holds so far, and whether one more may join them."""

    def __init__(self, card: BenchmarkCard):
        self._card = card
        self._run_ids: set[str] = set()
        self._taken: dict[tuple, str] = {}
        self._settings: dict[tuple, tuple[str, dict[str, Any]]] = {}

    def refusal(self, record: RunRecord) -> str | None:
        """Why a record may not join; None if it may, and then it has."""
        if record.run_id in self._run_ids:
            return f"run {record.run_id} is on the board already"
        reason = misfit(self._card, record)
        if reason is not None:
            return reason
        cell = cell_of(self._card, record.config)
        entry = (record.config["method"], information_class(record.information_used), cell)
        place = (*entry, record.config["seed"])
        if place in self._taken:
            return (
                f"{record.config['method']}, {cell.label}, seed {record.config['seed']} is taken by run "
                f"{self._taken[place]}; a board holds one run per method, cell and seed"
            )
        config = with_later_fields(record.config)
        settings = {name: value for name, value in config.items() if name not in NOT_SHARED}
        other, known = self._settings.setdefault(entry, (record.run_id, settings))
        if known != settings:
            changed = sorted(name for name in known.keys() | settings.keys() if known.get(name) != settings.get(name))
            return f"its settings differ from those of run {other} of the same method and cell ({', '.join(changed)})"
        self._run_ids.add(record.run_id)
        self._taken[place] = record.run_id
        return None


NOT_SHARED = {"seed", "noise_file_sha256", *ENVIRONMENT_FIELDS}
