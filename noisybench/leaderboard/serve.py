"""A board's folder over HTTP, for this machine only.

A page in the same browser could ask this address too, under a name of its own that it lets point here, so the name that
was asked for must be this machine's. Nothing outside the folder is given, through whatever link.
"""

from __future__ import annotations

import functools
import http.server
import os
import urllib.parse
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

from noisybench.core.errors import UserError

ADDRESS = "127.0.0.1"
OWN_NAMES = (ADDRESS, "localhost")
SECONDS = 10.0  # that a browser may be silent for


class BoardRequests(http.server.SimpleHTTPRequestHandler):
    """Gives the regular files of one folder, hidden ones and links left out, and lists nothing."""

    timeout = SECONDS  # of every wait for the other side; the base class closes the connection then

    def send_head(self) -> BinaryIO | None:
        """What GET and HEAD do before a file's content: check who is asked for what."""
        if self._asked_name() not in OWN_NAMES:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, "This server has another name")
            return None
        file = self._file()
        if file is None:
            self.send_error(HTTPStatus.NOT_FOUND, "No such file")
            return None
        return super().send_head()

    def _asked_name(self) -> str | None:
        """The host that was asked for, without its port; None if it is none, or given twice."""
        hosts = self.headers.get_all("Host", [])
        try:
            return urllib.parse.urlsplit(f"//{hosts[0]}").hostname if len(hosts) == 1 else None
        except ValueError:
            return None

    def _file(self) -> Path | None:
        """The file that was asked for, if it may be given: it lies in the folder, however it is called."""
        root = Path(os.path.realpath(self.directory))
        asked = self.translate_path(self.path)
        if urllib.parse.urlsplit(self.path).path == "/":
            asked = os.path.join(asked, "index.html")
        try:
            found = Path(os.path.realpath(asked))
            hidden = any(part.startswith(".") for part in found.relative_to(root).parts)
            return found if not hidden and os.path.isfile(found) else None
        except (OSError, ValueError):  # it lies elsewhere, or there can be no such name
            return None

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: what is asked is text from elsewhere, and a page asks for itself alone."""


def make_server(folder: Path, port: int) -> http.server.ThreadingHTTPServer:
    """A server for one folder, not yet running.

    Raises:
        UserError: the port cannot be had.
    """
    handler = functools.partial(BoardRequests, directory=str(folder))
    try:
        return http.server.ThreadingHTTPServer((ADDRESS, port), handler)
    except (OSError, OverflowError) as error:
        raise UserError(f"--port {port}: {error}; choose another, or 0 for any free one") from error


def serve_folder(folder: Path, port: int) -> None:
    """Serve until interrupted."""
    with make_server(folder, port) as server:
        print(f"http://{ADDRESS}:{server.server_address[1]}/ (Ctrl-C ends)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
