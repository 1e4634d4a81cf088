"""Configurations as people write them."""

from __future__ import annotations

import pytest

from noisybench.core.errors import UserError
from noisybench.core.nested import merge
from noisybench.spec.text import parse_override


def test_overrides():
    assert parse_override("optimizer.lr=0.1") == {"optimizer": {"lr": 0.1}}
    assert parse_override("method.engine=head") == {"settings": {"engine": "head"}}
    assert parse_override("schedule.steps=[[0, 0.1]]") == {"schedule": {"steps": [[0, 0.1]]}}
    assert merge({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}) == {"a": {"b": 3, "c": 2}}
    with pytest.raises(UserError, match="write KEY=VALUE"):
        parse_override("optimizer.lr")
