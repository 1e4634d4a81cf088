"""What makes two configurations the same run: the run id, and the fields outside it."""

from __future__ import annotations

import hashlib
from typing import Any

from noisybench.core.files import canonical_json
from noisybench.core.nested import merge
from noisybench.spec.track import STANDARD

ENVIRONMENT_FIELDS = {
    "data_path",
    "noise_file",
    "clean_labels",
    "weights",
    "memory_budget",
    "workers",
    "output",
    "checkpoint_steps",
    "checkpoint_minutes",
    "wandb",
    "trackers",
}

# Of earlier releases, outside the run id then: read in what was stored, and left out. What they said is a setting of
# another name now (``sync_batchnorm``: ``batch_parts``), at a value that keeps the run id.
FORMER_FIELDS = {"sync_batchnorm"}


# Added when run ids were in use: left out of them at this value, so that no earlier id moves. A configuration without
# one of them was run as this value says.
LATER_FIELDS: dict[str, Any] = {
    "noise_release": None,
    "mixed_precision": "no",
    "channels_last": False,
    "batch_parts": 1,
    "initialisation": "model",
    "track": STANDARD,
    "schedule": {"warmup": 0, "settings": {}},
    "frozen": False,
    "head": "linear",
    "features": {"input_size": None, "views": 0, "standardise": True, "precision": "float32", "dtype": "float16"},
    # Since each augmentation draws under its own key, a run with any augmentation has draws = 2, and so another id
    # than the same run had before; one without any keeps its id.
    "augment": {"extra": {}, "draws": None},
    "weights_sha256": None,
    "optimizer": {"backbone_lr_factor": 1.0, "layer_decay": None},
    # With pretrained weights images are prepared as these ask for, so such a run has another id than it had before.
    "preprocess": {
        "input_size": None,
        "mean": None,
        "std": None,
        "interpolation": None,
        "crop_pct": None,
        "crop_mode": None,
    },
}


LATER_SETTINGS: dict[str, dict[str, Any]] = {  # of methods
    "mslg": {"meta_every": 1},
    "metalabelnet": {"label_floor": 0.0},
    "dividemix": {"warmup_batch_factor": 1},
}


def _later(config: dict[str, Any]) -> dict[str, Any]:
    settings = LATER_SETTINGS.get(str(config.get("method")))
    return LATER_FIELDS if settings is None else {**LATER_FIELDS, "settings": settings}


def with_later_fields(config: dict[str, Any]) -> dict[str, Any]:
    """A stored configuration with the fields that did not exist yet when it was stored, and without former ones."""
    return merge(_later(config), without_former_fields(config))


def without_former_fields(config: dict[str, Any]) -> dict[str, Any]:
    """A stored configuration without the fields that no longer exist."""
    return {name: value for name, value in config.items() if name not in FORMER_FIELDS}


def science(config: dict[str, Any]) -> dict[str, Any]:
    """A stored configuration without the fields that cannot change a result, nor later fields at their old value."""
    kept = {name: value for name, value in config.items() if name not in ENVIRONMENT_FIELDS | FORMER_FIELDS}
    return _without_later(kept, _later(config))


def _without_later(values: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    kept = {}
    for name, value in values.items():
        if name in later and value == later[name]:
            continue
        of_table = isinstance(value, dict) and isinstance(later.get(name), dict)
        kept[name] = _without_later(value, later[name]) if of_table else value
    return kept


def run_id_of(config: dict[str, Any]) -> str:
    """The run id of a configuration stored as plain JSON values, with or without its environment fields.

    The stored values are hashed as they are: no card is read and no method imported, so the id of an old record does
    not move when a card does.
    """
    return hashlib.sha256(canonical_json(science(config)).encode()).hexdigest()[:16]
