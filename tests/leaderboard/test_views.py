"""Pages are pure functions of records, and every name in them is text."""

from __future__ import annotations

import html.parser
import io
import json

import pytest
from records import make_board, make_record
from rich.console import Console

from noisybench.leaderboard.build import build
from noisybench.leaderboard.html import board_html, embedded_json
from noisybench.leaderboard.markdown import board_markdown, plain
from noisybench.leaderboard.standings import Standings
from noisybench.leaderboard.store import open_board
from noisybench.leaderboard.terminal import print_board
from noisybench.spec import registry

HOSTILE = "</script><script>alert(1)</script>|`[x](javascript:1)\n# h\x1b[2J<!--"
CARD = registry.benchmark_card("digits-quick")


def test_rebuilding_gives_the_same_bytes(tmp_path):
    records = make_board(seeds=2, epochs=40)
    pages = []
    for order in (records, records[::-1]):
        board = open_board("digits-quick", tmp_path / str(len(pages)))
        for record in order:
            board.add_records([(record, "x")])
        build(board)
        pages.append([(board.folder / name).read_bytes() for name in ("README.md", "index.html")])
    assert pages[0] == pages[1]


class Outline(html.parser.HTMLParser):
    """Tags, and the text of each script."""

    def __init__(self):
        super().__init__()
        self.tags, self.scripts = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "script" and self.scripts:
            self.scripts[-1] += data


def test_the_page_is_one_file_that_no_name_can_break():
    page = board_html(Standings(CARD, [make_record(HOSTILE)]))
    outline = Outline()
    outline.feed(page)
    assert len(outline.scripts) == 2
    data = json.loads(outline.scripts[0])
    assert data["rows"][0]["method"] == HOSTILE
    for tag, attributes in outline.tags:
        assert tag not in ("link", "img", "iframe", "object")
        assert not {"src", "onclick", "onerror"} & attributes.keys()
    assert "//" not in page.replace("http://www.w3.org/2000/svg", "").replace("// ", "")  # no address
    policy = next(a["content"] for t, a in outline.tags if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_embedded_json_has_no_markup():
    value = {"x": "<!--<script>&\u2028]]>"}
    text = embedded_json(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value


def test_scripts_never_write_markup():
    page = board_html(Standings(CARD, [make_record()]))
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert way not in page


def test_markdown_shows_names_as_text():
    text = board_markdown(Standings(CARD, [make_record(HOSTILE)]))
    row = next(line for line in text.splitlines() if "alert" in line)
    assert row.count("|") - row.count("\\|") == row.count("| ") - row.count("\\| ") + 1  # cells' own bars only
    assert "<script" not in text.replace("\\<", "")
    assert r"\[x\]\(javascript\:1\)" in row


@pytest.mark.parametrize("text", ["co-teaching", "92.78 [92.24, 93.33]", "+1.20 [-0.10, +2.50]", "95 % intervals; (3)"])
def test_ordinary_text_stays_readable(text):
    assert plain(text) == text


@pytest.mark.parametrize("text", ["[a](b)", "[a][b]", "[a]: b", "_x_", "www.x.org", "- x", "1. x", "<b>", "a|b", "# a"])
def test_markup_is_escaped(text):
    assert plain(text) != text


def test_the_terminal_gets_no_control_characters_and_no_markup():
    out = io.StringIO()
    console = Console(file=out, width=200)
    print_board(Standings(CARD, [make_record("[bold]x[/bold]\x1b[2J")]), "test_accuracy_last", console)
    assert "\x1b" not in out.getvalue()
    assert "[bold]x[/bold]" in out.getvalue()


def test_every_number_of_the_readme_is_that_of_the_page():
    standings = Standings(CARD, make_board(seeds=3))
    page = board_html(standings)
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    readme = board_markdown(standings)
    for number, row in enumerate(data["rows"]):
        score = data["scopes"]["test_accuracy_last"][0]["rows"][number]
        line = next(line for line in readme.splitlines() if f"| {row['method']} |" in line)
        assert f"| {score['rank']} | {row['method']} | {100 * score['mean'][0]:.2f} [" in line


def test_many_runs_have_thinner_curves_with_both_ends():
    records = [make_record(seed=seed, epochs=40, noise_rate=0.2) for seed in range(3)]
    data = json.loads(board_html(Standings(CARD, records)).split('id="data">')[1].split("</script>")[0])
    assert data["grids"] == {"40": list(range(40))}
    run = data["runs"][0]
    record = next(record for record in records if record.run_id == run["id"])
    assert run["curves"]["test_accuracy"] == [round(10_000 * value) for value in record.curves["test_accuracy"]]
    assert {**data["bases"][0], **run["config"]}["seed"] == record.config["seed"]
    assert data["hashes"][run["prints"]["weights"]] == record.fingerprints.weights


def test_the_page_tells_nobodys_folders():
    page = board_html(Standings(CARD, [make_record(output="/home/somebody/x", data_path="/data/private")]))
    assert "somebody" not in page
    assert "private" not in page


def test_an_empty_board_is_drawn():
    standings = Standings(CARD, [])
    assert "0 runs" in board_markdown(standings)
    assert '"runs":[]' in board_html(standings)
