"""Whatever is said in a configuration, a card or a record: a UserError in one line, or it is taken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import records
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noisybench.core.errors import UserError
from noisybench.core.files import json_text
from noisybench.leaderboard.validate import read_record
from noisybench.spec import registry
from noisybench.spec.config import RunConfig
from noisybench.spec.layers import resolve_dict
from noisybench.spec.text import parse_override, read_config_file

FEW = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
KEYS = st.sampled_from(sorted(set(RunConfig.model_fields) - {"output"})) | st.text(max_size=8)


def one_line(error: UserError) -> None:
    assert str(error) and len(str(error)) < 20_000


@FEW
@given(st.dictionaries(KEYS, VALUES, max_size=3))
def test_configurations(content):
    try:
        resolved = resolve_dict(content)
    except UserError as error:
        one_line(error)
    else:
        assert json.loads(resolved.model_dump_json())["method"] == resolved.method and len(resolved.run_id) == 16


@FEW
@given(st.sampled_from(["", "method", "method.x", "optimizer.lr", "a.b", "epochs"]) | st.text(), st.text())
def test_settings_of_the_command_line(key, value):
    try:
        parsed = parse_override(f"{key}={value}")
    except UserError as error:
        one_line(error)
    else:
        assert len(parsed) == 1


@FEW
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_files_of_settings(tmp_path_factory, content):
    file = Path(tmp_path_factory.getbasetemp()) / "given.toml"
    file.write_bytes(content)
    try:
        assert isinstance(read_config_file(file), dict)
    except UserError as error:
        one_line(error)


@pytest.mark.parametrize("kind", registry.CARDS)
def test_cards(tmp_path_factory, kind):
    file = Path(tmp_path_factory.getbasetemp()) / "card.toml"
    fields = sorted(registry.CARDS[kind].model_fields)

    @FEW
    @given(st.dictionaries(st.sampled_from(fields), st.booleans() | st.integers() | st.text(max_size=9), max_size=4))
    def card(content):
        lines = [f"{name} = {json.dumps(value)}" for name, value in content.items()]
        file.write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")
        try:
            registry.parse_card(file, registry.CARDS[kind])
        except UserError as error:
            one_line(error)

    card()


WHOLE = json.loads(json_text(records.make_record().model_dump(mode="json")))


@FEW
@given(st.sampled_from(sorted(WHOLE)), VALUES)
def test_records(name, value):
    text = json.dumps({**WHOLE, name: value})
    if json.loads(text) == WHOLE:
        return
    with pytest.raises(UserError) as raised:  # its hash is that of what it was
        read_record(text, "result.json")
    one_line(raised.value)
