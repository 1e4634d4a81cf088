"""What a record must be before a board believes it. Records are untrusted input: everything is checked, nothing run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from noisybench.core.console import printable
from noisybench.core.errors import UserError
from noisybench.core.files import canonical_json
from noisybench.core.names import name_fault, shown_name
from noisybench.core.nested import _overridden, merge
from noisybench.leaderboard.cells import board_cells, cell_of, required, required_by_track, row_name
from noisybench.leaderboard.filing import as_filed, named_place, texts
from noisybench.leaderboard.stored_config import config_fault
from noisybench.spec import registry
from noisybench.spec.cards import BenchmarkCard
from noisybench.spec.identity import ENVIRONMENT_FIELDS, run_id_of, with_later_fields
from noisybench.spec.metrics import METHOD_LOGS, ON_TEST, RULES, Metric, final_values, metric_of, selected
from noisybench.spec.record import LOGS_APART, MAX_BYTES, InformationUsed, RunRecord, parse_record
from noisybench.spec.values import PreprocessConfig

LONGEST_TEXT = 2000  # characters; a noise's rule takes a hundred
NAMED = ("config.method", "config.dataset", "config.noise", "config.model", "noise.kind", "git_commit")
LARGEST_COST = 1e18  # of seconds, bytes and passes: far more than there is, and a number that can be rounded
NOISE_RATES = ("requested_rate", "achieved_rate", "achieved_rate_train_set")
# What a run must not have changed unless the board's card says so: all of the data, as it is, with its own noise.
# And all of the network is trained.
WHOLE_DATA = {"limit_train": None, "image_size": None, "noise_seed": None, "frozen": False}
# Python's sum() rounds differently from 3.12 on; a digit that anybody changed is found by the hash before.
TOLERANCE = 1e-12


def read_record(text: str, source: str) -> RunRecord:
    """A record from untrusted text, checked in itself: form, hashes, and that its numbers agree with each other.

    Raises:
        UserError: with the first thing that is wrong.
    """
    if len(text) > MAX_BYTES:
        raise UserError(f"{source}: {len(text):,} characters; a record has at most {MAX_BYTES:,}")
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
    checks = (_texts, _config, _identity, _completed, _curves, _ranges, noise_fault, _metrics, _information, _cost)
    for check in checks:
        reason = check(record)
        if reason is not None:
            return reason
    return None


def _texts(record: RunRecord) -> str | None:
    """Names keep the rule for names; every other text is one line that shows all there is to it."""
    parts = {name: getattr(record, name) for name in ("config", "noise", "heads", "curves", "metrics", "versions")}
    for place, name in _keys(parts):
        plain = place == "curves" and record.schema_version < LOGS_APART  # logs of that time kept no rule
        fault = text_fault(name) if plain else name_fault(name)
        if fault is not None:
            return f"the name {shown_name(name)} in {place} {fault}"
    for place, text in texts(record.model_dump(exclude={"curves"})):
        fault = name_fault(text) if place in NAMED else text_fault(text)
        if fault is not None:
            return f"{place}, {shown_name(text)}, {fault}"
    return None


def _keys(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of nested tables, with the dotted place of its table."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield place or "the record", name
            yield from _keys(item, f"{place}.{name}" if place else str(name))
    elif isinstance(value, list):
        for item in value:
            yield from _keys(item, place)


def text_fault(text: str) -> str | None:
    """What is wrong with a text that people are shown; None if nothing is."""
    if len(text) > LONGEST_TEXT:
        return f"has {len(text):,} characters; at most {LONGEST_TEXT:,} will do"
    odd = next((character for character in text if printable(character) != character), None)
    return None if odd is None else f"holds {ascii(odd)}, which cannot be seen"


def _config(record: RunRecord) -> str | None:
    return config_fault(record.config)


def _identity(record: RunRecord) -> str | None:
    found = run_id_of(record.config)
    if record.run_id != found:
        return f"run_id {record.run_id[:40]!r} is not that of its configuration, {found!r}"
    if record.config.get("sync_batchnorm") is False and record.cost.processes > 1:
        return (
            f"it was made on {record.cost.processes} processes by a release whose BatchNorm then saw each process's "
            f"own part of a batch, which its run id does not say: run it again"
        )
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
        metric = metric_of(name)
        if record.schema_version >= LOGS_APART:
            reason = _foreign_curve(record, name, metric)
            if reason is not None:
                return reason
        if metric is not None and metric.evaluates and None in values:
            return f"curves.{name} has gaps"
    return None if ON_TEST.name in record.curves else f"curves.{ON_TEST.name} is missing"


def _foreign_curve(record: RunRecord, name: str, metric: Metric | None) -> str | None:
    """Why a curve is neither the benchmark's nor, under its own name, the method's."""
    if name.startswith(METHOD_LOGS):
        return None
    if metric is None:
        return f"curves.{name} is no metric of the benchmark that this release knows; a method's log is {METHOD_LOGS}…"
    head = name.removeprefix(metric.name).removeprefix("/")
    return None if not head or head in record.heads else f"curves.{name} is of a head that the record does not have"


def _ranges(record: RunRecord) -> str | None:
    for name, values in record.curves.items():
        metric, known = metric_of(name), [value for value in values if value is not None]
        if metric is None or not known:
            continue
        for which, value in (("lowest", min(known)), ("highest", max(known))):
            fault = metric.out_of_range(value)
            if fault is not None:
                return f"the {which} of curves.{name} {fault}"
    return None


def noise_fault(record: RunRecord) -> str | None:
    """What is wrong with what a record says of its noise; None if nothing is."""
    shipped = record.config["noise"] == "none"  # labels as they come: nobody may know how many are wrong
    for name in NOISE_RATES:
        if not (name in record.noise if shipped else record.noise.get(name) is not None):
            return f"noise.{name} is missing"
    for name, value in record.noise.items():
        if isinstance(value, dict | list):
            return f"noise.{name} is neither text nor number"
        if name.endswith("rate") or name in NOISE_RATES:
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                return f"noise.{name} is {_shown(value)}, not a number"
            if not 0 <= value <= 1:
                return f"noise.{name} is {value:g}: a fraction lies in [0, 1]"
    return None


def _shown(value: Any) -> str:
    return ascii(value)[:60]


def _metrics(record: RunRecord) -> str | None:
    """The selection rules, applied again to the curves; curves hold one value per epoch of every evaluation."""
    headlines = [head for head in record.heads if ON_TEST.of_head(head, "") not in record.curves]
    if len(headlines) != 1:
        heads = ", ".join(sorted(record.heads))
        return f"heads ({heads}): exactly one of them is the headline, without curves of its own name"
    headline = headlines[0]
    expected = selected(record.curves, headline, headline) | final_values(record.curves)
    reason = _difference("metrics", record.metrics, expected)
    if reason is not None:
        return reason
    for head, metrics in record.heads.items():
        reason = _difference(f"heads.{head}", metrics, selected(record.curves, head, headline))
        if reason is not None:
            return reason
    return None


def _difference(place: str, stated: dict[str, float | None], expected: dict[str, float | None]) -> str | None:
    later = {name for name, rule in RULES.items() if rule.later}
    other = (expected.keys() - stated.keys() - later) | (stated.keys() - expected.keys())
    if other:
        return f"{place}: the curves give other metrics than stated ({', '.join(sorted(other))})"
    for name, given in stated.items():
        value = expected[name]
        same = given == value or (
            given is not None and value is not None and math.isclose(given, value, rel_tol=0, abs_tol=TOLERANCE)
        )
        if not same:
            return f"{place}.{name} is {given}, but the curves give {value}"
    return None


def _information(record: RunRecord) -> str | None:
    used, config = record.information_used, record.config
    if not _agree_on_weights(used.pretrained_weights, config):
        return "information_used.pretrained_weights does not agree with the configuration"
    held_out = {"clean_labels": "meta_size", "clean_labels_for_selection": "clean_val_size"}
    for name, size in held_out.items():
        if not 0 <= getattr(used, name) <= config[size]:
            return f"information_used.{name} is {getattr(used, name)}; {size} is {config[size]}"
    if used.tuning_trials < 0:
        return f"information_used.tuning_trials is {used.tuning_trials}"
    unknown = set(used.noise_prior) - {"noise_rate", "noise_kind", "transition_matrix"}
    if unknown:
        return f"information_used.noise_prior names {', '.join(sorted(unknown))}"
    if used.noise_prior != sorted(set(used.noise_prior)):
        return "information_used.noise_prior is not in order, or names something twice"
    return None


def _agree_on_weights(used: bool | str, config: dict[str, Any]) -> bool:
    """Whether the weights that a record names are those of its configuration."""
    of_file = config.get("weights_sha256")
    if of_file is not None:
        return not config["pretrained"] and used == f"sha256:{of_file}"
    if not config["pretrained"]:
        return used is False
    # Release 0.1 said only that there were some.
    return used is True or isinstance(used, str) and used.startswith(config["model"])


def _cost(record: RunRecord) -> str | None:
    for name, value in record.cost.model_dump().items():
        if isinstance(value, int | float) and not 0 <= value <= LARGEST_COST:
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
            right = f"what is expected of the labels is {expected}" if expected else "this board's noise takes none"
            return f"noise_rate is {record.config['noise_rate']}; {right}"
    config = with_later_fields(record.config)
    wanted: dict[str, Any] = {**WHOLE_DATA, **registry.dataset_card(cell.dataset).splits.model_dump(), **required(card)}
    if not record.information_used.pretrained_weights and "preprocess" not in wanted:
        wanted["preprocess"] = PreprocessConfig().model_dump()  # pretrained weights ask for their own
    images = card.dataset_fingerprints.get(cell.dataset)
    if images not in (None, record.fingerprints.dataset):
        return (
            f"its images are not the board's: fingerprint {record.fingerprints.dataset[:16]}…, the board wants "
            f"{images[:16]}…"
        )
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


def place_fault(record: RunRecord) -> str | None:
    """Why a record may not be filed as it is: it names a place; None if it may."""
    place = named_place(record)
    if place is None:
        return None
    return f"{place} of somebody's machine; a board holds records as `noisybench leaderboard add` files them"


class Filed:
    """The records a board holds so far, and whether one more may join them."""

    def __init__(self, card: BenchmarkCard):
        self._card = card
        self._runs: dict[str, RunRecord] = {}
        self._taken: dict[tuple, str] = {}
        self._settings: dict[tuple, tuple[str, dict[str, Any]]] = {}

    def holds(self, record: RunRecord) -> bool:
        """Whether this very record is on the board already, so that there is nothing to do."""
        known = self._runs.get(record.run_id)
        return known is not None and as_filed(known) == as_filed(record)

    def refusal(self, record: RunRecord) -> str | None:
        """Why a record may not join; None if it may, and then it has."""
        if record.run_id in self._runs:
            return f"run {record.run_id} is on the board already, with other results"
        # Before that version records were filed as the runs wrote them.
        reason = place_fault(record) if record.schema_version >= LOGS_APART else None
        reason = reason or misfit(self._card, record)
        if reason is not None:
            return reason
        cell = cell_of(self._card, record.config)
        entry = (row_name(self._card, record.config), information_class(record.information_used), cell)
        position = (*entry, record.config["seed"])
        if position in self._taken:
            return (
                f"{entry[0]}, {cell.label}, seed {record.config['seed']} is taken by run "
                f"{self._taken[position]}; a board holds one run per method, cell and seed"
            )
        config = with_later_fields(record.config)
        settings = {name: value for name, value in config.items() if name not in NOT_SHARED}
        other, known = self._settings.setdefault(entry, (record.run_id, settings))
        if known != settings:
            changed = sorted(name for name in known.keys() | settings.keys() if known.get(name) != settings.get(name))
            return f"its settings differ from those of run {other} of the same method and cell ({', '.join(changed)})"
        self._runs[record.run_id] = record
        self._taken[position] = record.run_id
        return None


NOT_SHARED = {"seed", "noise_file_sha256", *ENVIRONMENT_FIELDS}
