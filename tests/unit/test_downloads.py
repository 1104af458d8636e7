"""Zips from where a URI says."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from skate.exceptions import RuntimeEnvSetupError
from skate.wire.environments import Environment
from skate.worker import downloads
from skate.worker.downloads import download, name_of
from skate.worker.environment import Setup


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "x y.zip").write_bytes(b"content")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/x%20y.zip"
        server.shutdown()
        thread.join()


def test_the_ways_that_lead_to_a_file(served: str, tmp_path: Path) -> None:
    local = tmp_path / "served" / "x y.zip"
    for at, uri in enumerate([served, local.as_uri(), f"local://{local}"]):
        download(uri, tmp_path / str(at), 10.0)
        assert (tmp_path / str(at)).read_bytes() == b"content"


def test_what_is_not_there_or_too_large(served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = tmp_path / "served" / "x y.zip"
    for uri in (f"{served}x", f"{local.as_uri()}x", f"local://{local}x"):
        with pytest.raises(OSError, match=r"404|No such file"):
            download(uri, tmp_path / "out", 10.0)
    monkeypatch.setattr(downloads, "PACKAGE_BYTES_MAX", 5)
    for uri in (served, f"local://{local}"):
        with pytest.raises(ValueError, match="larger than 5 bytes"):
            download(uri, tmp_path / "out", 10.0)
    with pytest.raises(ValueError, match="Protocol not known"):
        download("nosuch://host/x.zip", tmp_path / "out", 10.0)


def test_one_uri_has_one_name() -> None:
    assert name_of("s3://a/x.zip") == name_of("s3://a/x.zip") != name_of("s3://b/x.zip")


def test_a_server_that_sends_a_byte_at_times_is_not_waited_for(tmp_path: Path) -> None:
    """Each step has a time limit, and so has the whole."""
    over = threading.Event()

    def trickle() -> None:
        sock, _ = listener.accept()
        with sock, contextlib.suppress(ConnectionError):
            sock.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while not over.wait(0.05):
                sock.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=trickle)
        thread.start()
        setup = Setup(None, Environment(timeout_s=0.3), str(tmp_path / "session"))
        began = time.monotonic()
        try:
            with pytest.raises(RuntimeEnvSetupError, match=r"cannot be used: it took longer than 0\.3 s"):
                setup.folder_of(f"http://127.0.0.1:{listener.getsockname()[1]}/x.zip")
        finally:
            over.set()
            thread.join()
    assert time.monotonic() - began < 10
    assert not list((tmp_path / "environments").iterdir())
