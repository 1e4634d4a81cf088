"""A board as one self-contained page: it opens from a file, asks no network, and shows every name as text."""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.resources
import json

from noisybench.leaderboard.page_data import page_data
from noisybench.leaderboard.standings import Standings

SCRIPTS = ("core.js", "charts.js", "plots.js", "detail.js", "table.js", "main.js")


def board_html(standings: Standings) -> str:
    """The whole page: template, style, scripts and data in one text."""
    style = _file("style.css")
    script = "".join(_file(name) for name in SCRIPTS)
    script = f'"use strict";\n(() => {{\n{script}}})();\n'
    parts = {
        "TITLE": html.escape(standings.card.title),
        # The browser runs this script and no other: should a name ever become markup, it still would not run.
        "POLICY": f"default-src 'none'; style-src '{_source_hash(style)}'; script-src '{_source_hash(script)}'",
        "STYLE": style,
        "DATA": embedded_json(page_data(standings)),
        "SCRIPT": script,
    }
    page = _file("template.html")
    pieces = []
    for name, value in parts.items():
        before, _, page = page.partition(f"[[{name}]]")
        pieces += [before, value]
    return "".join([*pieces, page])


def embedded_json(value) -> str:
    """JSON that can stand inside a script element: nothing in it can end the element or open another."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _file(name: str) -> str:
    return (importlib.resources.files("noisybench.leaderboard") / "page" / name).read_text(encoding="utf-8")


def _source_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
