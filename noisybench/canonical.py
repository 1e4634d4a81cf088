"""Canonical JSON: equal values give equal text, so text can be hashed."""

from __future__ import annotations

import json
from typing import Any


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces and no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
