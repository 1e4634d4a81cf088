"""`noisybench leaderboard serve`: one folder's own files, for this machine's own browser."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from noisybench.leaderboard.serve import BoardRequests, make_server


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "board"
    (folder / "runs").mkdir(parents=True)
    (folder / "index.html").write_text("here")
    (folder / "runs" / "a.json").write_text("{}")
    with make_server(folder, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def ask(server, path: str, *headers: str, method: str = "GET") -> tuple[int, str]:
    """Status and content of one answer to a request written by hand."""
    lines = [f"{method} {path} HTTP/1.0", *(headers or ("Host: 127.0.0.1",)), "", ""]
    with socket.create_connection(server.server_address, timeout=60) as connection:
        connection.sendall("\r\n".join(lines).encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    head, _, content = answer.partition("\r\n\r\n")
    return int(head.split()[1]), content


def test_the_page_and_the_files_of_the_folder_are_given(server):
    assert server.server_address[0] == "127.0.0.1"
    for path in ("/", "/index.html", "/?x", "/index.html?x=1#y"):
        assert ask(server, path) == (200, "here")
    assert ask(server, "/runs/a.json") == (200, "{}")
    assert ask(server, "/", method="HEAD") == (200, "")
    assert ask(server, "/", "Host: localhost:8000") == (200, "here")


def test_only_this_machines_name_is_answered(server):
    port = server.server_address[1]
    for host in ("example.org", f"example.org:{port}", "127.0.0.1.example.org", "localhost@example.org", "[::1", ""):
        assert ask(server, "/", f"Host: {host}")[0] == 421, host
    assert ask(server, "/", "Accept: */*")[0] == 421
    assert ask(server, "/", "Host: 127.0.0.1", "Host: example.org")[0] == 421


def test_nothing_outside_the_folder_is_given(server, tmp_path):
    folder, outside = tmp_path / "board", tmp_path / "secret"
    outside.mkdir()
    (outside / "key").write_text("secret")
    (folder / "link").symlink_to(outside / "key")
    (folder / "folder").symlink_to(outside)
    (folder / ".lock").write_text("")
    os.mkfifo(folder / "pipe")
    names = ("/link", "/folder/key", "/../secret/key", "/%2e%2e/secret/key", "/runs/../../secret/key", "//etc/passwd")
    for path in (*names, "/.lock", "/pipe", "/runs", "/runs/", "/folder/", "/none", "/a%00b", "/%ff", "/" + "x" * 5000):
        assert ask(server, path)[0] == 404, path
    (folder / "index.html").unlink()
    (folder / "index.html").symlink_to(outside / "key")
    assert ask(server, "/")[0] == 404


def test_whoever_says_nothing_is_hung_up_on(server, monkeypatch):
    assert BoardRequests.timeout == 10
    monkeypatch.setattr(BoardRequests, "timeout", 0.1)
    for said in (b"", b"GET / HTTP/1.0\r\nHost: "):
        with socket.create_connection(server.server_address, timeout=60) as connection:
            connection.sendall(said)
            assert connection.recv(1000) == b""
    monkeypatch.setattr(BoardRequests, "timeout", 10.0)
    assert ask(server, "/") == (200, "here")
