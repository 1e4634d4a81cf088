"""The settings that a configuration gives to extensions: checked by the extension itself, its defaults filled in."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from noisybench.core.errors import UserError, unknown_name
from noisybench.spec import registry
from noisybench.spec.extensions import NEEDED, own_parameters
from noisybench.spec.invalid import as_user_error
from noisybench.spec.values import ScheduleConfig

# Augmentations that have a key of their own in the configuration.
SWITCHES = {"crop": "crop_padding", "horizontal-flip": "horizontal_flip", "vertical-flip": "vertical_flip"}


def augmentation_settings(extra: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The settings of each augmentation of ``augment.extra``, as plain JSON values.

    Raises:
        UserError: there is no such augmentation, it cannot be used, or a setting is wrong.
    """
    filled = {}
    for name, given in extra.items():
        if name in SWITCHES:
            raise UserError(f"augment.extra.{name}: switch it on by augment.{SWITCHES[name]}")
        model = registry.load("augmentation", name).Settings
        try:
            filled[name] = model.model_validate(given).model_dump(mode="json")
        except ValidationError as error:
            raise as_user_error(error, model, f"augment.extra.{name}.") from error
    return filled


def schedule_settings(schedule: ScheduleConfig) -> dict[str, Any]:
    """The settings of a configuration's schedule: the keyword-only parameters of its function.

    Raises:
        UserError: there is no such schedule, it cannot be used, or a setting is unknown or missing.
    """
    own = own_parameters(registry.load("schedule", schedule.name))
    for name in schedule.settings:
        if name not in own:
            known = [f"schedule.settings.{each}" for each in own]
            raise unknown_name("configuration key", f"schedule.settings.{name}", known)
    filled = own | schedule.settings
    missing = [name for name, value in filled.items() if value is NEEDED]
    if missing:
        raise UserError(f"schedule.settings.{missing[0]}: missing; schedule {schedule.name!r} needs it")
    return filled
