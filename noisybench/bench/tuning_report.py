"""What a study found: a table, the recipe as lines for a card, and the card itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from noisybench.bench.tuning import Question, TrialResult, chosen
from noisybench.core.console import literal, say
from noisybench.core.errors import UserError
from noisybench.core.files import replace_file, reported
from noisybench.core.nested import merge
from noisybench.spec import registry
from noisybench.spec.frozen import FROZEN
from noisybench.spec.identity import ENVIRONMENT_FIELDS
from noisybench.spec.tuned import tuning_trials
from noisybench.spec.tuning import values_given
from noisybench.spec.user_images import is_own

# Of what a user sets for a study these say which run it is, and on how much data; the others belong into the recipe.
NOT_OF_A_RECIPE = ENVIRONMENT_FIELDS | {
    "method", "dataset", "noise", "noise_rate", "noise_seed", "frozen", "protocol", "ruleset", "track", "limit_train",
    "meta_size", "noisy_val_size", "clean_val_size",
}  # fmt: skip


def figure(value: Any) -> str:
    """One value of a setting."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def told_trial(result: TrialResult, console: Console) -> None:
    """One line for a trial that is over."""
    values = "  ".join(f"{key} {figure(value)}" for key, value in result.values.items())
    outcome = f"failed: {result.reason}" if result.score is None else f"{100 * result.score:.2f} %"
    say(f"trial {result.number}: {values}  {outcome}  ({result.seconds:.1f} s)", console)


def table_of(question: Question, results: list[TrialResult]) -> Table:
    """All trials, the chosen one marked."""
    best = chosen(results)
    table = Table(title=literal(f"{question.base.method} on {question.base.dataset}: {question.judge}, last epoch"))
    for heading in ("trial", *question.spaces, "%", "seconds"):
        table.add_column(literal(heading), justify="right")
    for result in results:
        mark = " *" if result is best else ""
        score = "failed" if result.score is None else f"{100 * result.score:.2f}"
        cells = [f"{result.number}{mark}", *(figure(result.values[key]) for key in question.spaces)]
        table.add_row(*(literal(cell) for cell in [*cells, score, f"{result.seconds:.1f}"]))
    return table


def recipe_name(question: Question) -> str:
    """Under which name a card keeps what was found: ``DATASET`` or ``DATASET:frozen``."""
    return question.base.dataset + (f":{FROZEN}" if question.base.frozen else "")


def recipe(question: Question, result: TrialResult) -> dict[str, Any]:
    """The whole recipe: what the card's recipe of this name holds, what was set for the study, the chosen values."""
    recipes = registry.method_card(question.base.method).recipes
    former = recipes.get(recipe_name(question), {} if question.base.frozen else recipes.get("default", {}))
    values = {key: value for key, value in result.values.items() if value is not None}
    set_for_it = {name: value for name, value in question.given.items() if name not in NOT_OF_A_RECIPE}
    return merge(merge(former, set_for_it), values_given(values, question.base))


def provenance(question: Question, trials: int) -> dict[str, Any]:
    """The card's entry ``tuned`` of the recipe. Trials behind the recipe that the study began at count too."""
    entry = {
        "trials": trials + tuning_trials(question.base),
        "seeds": list(question.seeds),
        "judge": question.judge,
        "noise": question.base.noise,
    }
    return entry | ({"noise_rate": question.base.noise_rate} if question.base.noise_rate else {})


def source(question: Question, trials: int) -> str:
    """The card's line on where the recipe's values come from."""
    noise = question.base.noise + (f" {question.base.noise_rate:g}" if question.base.noise_rate else "")
    seeds = ", ".join(map(str, question.seeds))
    return f"noisybench tune: {trials} trials, judged by {question.judge} on seeds {seeds} under {noise} noise"


def toml_lines(question: Question, result: TrialResult, trials: int) -> str:
    """Recipe and provenance as they stand on a card."""
    name = json.dumps(recipe_name(question))
    tables = {f"recipes.{name}": recipe(question, result), f"tuned.{name}": provenance(question, trials)}
    return "\n".join(
        f"[{table}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in content.items())
        for table, content in tables.items()
    )


def write_card(question: Question, result: TrialResult, trials: int, folder: Path | None = None) -> Path:
    """Put recipe and provenance into the method's card; everything else in it stays as it is.

    Args:
        folder: of the cards; the source tree's if not given.

    Raises:
        UserError: there is no source tree, or no card of this method in it.
    """
    cards = folder or registry.builtin_cards() / "methods"
    file, name = cards / f"{question.base.method}.toml", recipe_name(question)
    if folder is None and registry.builtin_cards().name == "_cards":
        raise UserError("--write-card: only in noisybench's source tree; copy the printed lines into your card")
    if is_own(question.base.dataset):
        raise UserError(f"--write-card: {question.base.dataset} is a dataset of your own, and cards are for all")
    if not file.is_file():
        raise UserError(f"--write-card: {file} does not exist; copy the printed lines into the method's card")
    try:
        import tomlkit
    except ImportError as error:
        raise UserError("--write-card needs tomlkit: pip install 'noisybench[tune]'") from error
    document = tomlkit.parse(file.read_text(encoding="utf-8"))
    if "recipe_sources" not in document:
        document["recipe_sources"] = tomlkit.table()
    document["recipe_sources"][name] = source(question, trials)
    for table, content in (("recipes", recipe(question, result)), ("tuned", provenance(question, trials))):
        if table not in document:
            document[table] = tomlkit.table(is_super_table=True)
        entry = tomlkit.table()
        for key, value in content.items():
            entry[key] = tomlkit.value(_toml(value))
        entry.add(tomlkit.nl())
        document[table][name] = entry
    with reported(file), replace_file(file) as temporary:
        temporary.write_text(tomlkit.dumps(document).rstrip("\n") + "\n", encoding="utf-8")
    registry.forget()
    return file


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items() if inner is not None) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)
