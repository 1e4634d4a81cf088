"""Records with anything anywhere: each is read, or refused with one line; whatever is read can be shown."""

from __future__ import annotations

import io
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from records import make_record
from rich.console import Console

from noisybench.core.errors import UserError
from noisybench.core.files import json_text
from noisybench.leaderboard.filing import as_filed
from noisybench.leaderboard.html import board_html
from noisybench.leaderboard.markdown import board_markdown
from noisybench.leaderboard.side_by_side import print_comparison
from noisybench.leaderboard.standings import Standings
from noisybench.leaderboard.terminal import print_board
from noisybench.leaderboard.validate import Filed, read_record
from noisybench.spec import registry
from noisybench.spec.identity import run_id_of
from noisybench.spec.record import RunRecord, content_hash

CARD = registry.benchmark_card("digits-quick")
RIGHT = json_text(make_record("mslg", epochs=40, clean_labels=100, estimates_labels=True).content())
BOUNDED = settings(max_examples=150, deadline=None, derandomize=True, database=None)

odd_numbers = st.one_of(
    st.sampled_from([0, -1, 1, 2**31, 2**63 - 1, 2**63, -(2**63), 10**400, 1e308, -0.0, 5e-324, 0.1 + 0.2, True]),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
)
odd_texts = st.one_of(
    st.sampled_from(
        ["", "ce", "\x1b[2J", "\u202e", "a\nb", "\ud800", "/etc/passwd", "../x", "с\u0435", "x" * 5000, "[b]"]
    ),
    st.text(st.characters(), max_size=20),
)
odd_values = st.recursive(
    st.one_of(st.none(), st.booleans(), odd_numbers, odd_texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(odd_texts, inner, max_size=4)),
    max_leaves=12,
)


def places(value, place=()) -> list[tuple]:
    """Every place in a record: keys of tables, positions in lists (of a curve the ends)."""
    if isinstance(value, dict):
        return [place, *(found for name, item in value.items() for found in places(item, (*place, name)))]
    if isinstance(value, list):
        ends = {0, len(value) - 1} if value else ()
        return [place, *(found for number in ends for found in places(value[number], (*place, number)))]
    return [place]


PLACES = [place for place in places(json.loads(RIGHT)) if place and place != ("sha256",)]


@st.composite
def odd_records(draw) -> str:
    """The text of a right record after one to three edits: a value replaced, taken away, or added under an odd name;
    with the run id and hash that a careful forger would put in."""
    content = json.loads(RIGHT)
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from(PLACES))
        inner = content
        try:
            for parent in parents:
                inner = inner[parent]
            inner[last]
        except (LookupError, TypeError):  # an earlier edit took it away
            continue
        edit = draw(st.sampled_from(["replace", "replace", "replace", "take away", "add"]))
        if edit == "take away":
            del inner[last]
        elif edit == "add" and isinstance(inner[last], dict):
            inner[last][draw(odd_texts)] = draw(odd_values)
        else:
            inner[last] = draw(odd_values)
    try:
        if draw(st.booleans()):
            content["run_id"] = run_id_of(content["config"])
        content["sha256"] = content_hash(content)
    except (AttributeError, LookupError, TypeError, ValueError):  # no table any more
        content["sha256"] = "0" * 64
    return json.dumps(content, indent=draw(st.sampled_from([None, 2])), sort_keys=draw(st.booleans()))


def shown(record: RunRecord) -> str:
    """Everything that a board prints of a record."""
    standings = Standings(CARD, [record])
    out = io.StringIO()
    print_board(standings, CARD.headline, Console(file=out, width=200))
    page = board_html(standings)
    assert page.encode() and json.loads(page.split('id="data">')[1].split("</script>")[0])
    return out.getvalue() + board_markdown(standings)


@BOUNDED
@given(odd_records())
def test_an_odd_record_is_refused_with_a_line_or_can_be_shown(text):
    try:
        record = read_record(text, "x")
    except UserError as error:
        assert str(error).startswith("x: ")
        return
    filed = as_filed(record)
    assert read_record(json_text(filed.content()), "x") == filed
    if Filed(CARD).refusal(filed) is None:
        assert shown(filed).replace("\n", "").isprintable()


@BOUNDED
@given(odd_records())
def test_compare_refuses_an_odd_record_or_shows_it(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("odd")
    (folder / "odd.json").write_text(text)
    (folder / "right.json").write_text(RIGHT)
    out = io.StringIO()
    try:
        print_comparison([folder / "odd.json", folder / "right.json"], Console(file=out, width=200))
    except UserError:
        return
    assert out.getvalue().replace("\n", "").isprintable()


@BOUNDED
@given(st.one_of(st.text(st.characters(), max_size=200), odd_values.map(json.dumps)))
def test_anything_else_is_refused_with_a_line(text):
    try:
        read_record(text, "x")
    except UserError as error:
        assert str(error).startswith("x: ")
    else:
        raise AssertionError("this is no record")


def test_what_is_edited_was_right():
    assert shown(as_filed(read_record(RIGHT, "x"))) and len(PLACES) > 100
