"""A board's folder over HTTP, for this machine only."""

from __future__ import annotations

import functools
import http.server
from pathlib import Path

from noisybench.core.errors import UserError

ADDRESS = "127.0.0.1"


def make_server(folder: Path, port: int) -> http.server.ThreadingHTTPServer:
    """A server for one folder, not yet running.

    Raises:
        UserError: the port cannot be had.
    """
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
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
