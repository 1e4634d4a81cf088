"""How many tuning trials a run's settings rest on, by what its method's card says of the recipes it uses."""

from __future__ import annotations

from noisybench.core.nested import flatten
from noisybench.spec import registry
from noisybench.spec.cards import MethodCard
from noisybench.spec.config import ResolvedConfig
from noisybench.spec.frozen import FROZEN
from noisybench.spec.layers import recipe_conditions


def tuning_trials(config: ResolvedConfig) -> int:
    """The trials that found the recipes in force: as long as a single value of a tuned recipe is the run's, all of them
    count. Where every one was set otherwise, none do."""
    card = registry.method_card(config.method)
    values = flatten(config.model_dump(mode="json"))
    return sum(
        how.trials
        for name, how in card.tuned.items()
        if _is_laid_under(name, card, config)
        and any(key in values and values[key] == value for key, value in flatten(card.recipes[name]).items())
    )


def _is_laid_under(name: str, card: MethodCard, config: ResolvedConfig) -> bool:
    """Whether a run has this recipe among its layers."""
    conditions = recipe_conditions(name)
    dataset, _, condition = name.partition(":")
    if any(getattr(config, key) != value for key, value in conditions.items() if key != "dataset"):
        return False
    if dataset == "default" and condition == FROZEN:
        return True  # under the dataset's own
    served = [config.dataset, registry.dataset_card(config.dataset).base]
    candidates = [each if not condition else f"{each}:{condition}" for each in served if each is not None]
    if not condition:
        candidates.append("default")
    return name == next((each for each in candidates if each in card.recipes), None)
