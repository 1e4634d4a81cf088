"""Whether a configuration that somebody stored can be one of a run.

Only the kinds of its values are looked at: no card is read and no method imported, so that a record of a method that is
not installed here can be judged, and an old one when cards have moved on.
"""

from __future__ import annotations

import functools
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from noisybench.core.files import canonical_json
from noisybench.spec.config import RunConfig
from noisybench.spec.identity import FORMER_FIELDS

# What every board looks at. What else may be missing was added later, or says nothing but where a run lay.
NEEDED = (
    "method",
    "dataset",
    "noise",
    "noise_rate",
    "seed",
    "protocol",
    "ruleset",
    "model",
    "pretrained",
    "epochs",
    "meta_size",
    "clean_val_size",
)


@functools.cache
def _stored() -> type[BaseModel]:
    """The fields of a run's configuration with their bounds, but without what fills them in and fits them together."""
    given = RunConfig.model_fields.items()
    fields: dict[str, Any] = {name: (field.rebuild_annotation(), None) for name, field in given}
    fields |= {name: (bool, None) for name in FORMER_FIELDS}
    return create_model("StoredConfig", __config__=ConfigDict(extra="forbid"), **fields)


def config_fault(config: dict[str, Any]) -> str | None:
    """What is wrong with a stored configuration; None if nothing is."""
    for name in NEEDED:
        if config.get(name) is None:
            return f"config.{name} is missing"
    try:
        _stored().model_validate_json(canonical_json(config), strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(["config", *map(str, first["loc"])])[:100]
        if first["type"] == "extra_forbidden":
            return f"{place} is no setting of a run that this release knows"
        message = first["msg"].removeprefix("Value error, ")
        return f"{place} is wrong: {message[0].lower()}{message[1:]}"
    return None
