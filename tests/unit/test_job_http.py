"""Where the cluster's token goes when jobs are submitted by HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from skate.client.job_http import HttpJobs

TOKEN = "0123456789abcdef"


class Server(ThreadingHTTPServer):
    """Remembers what it is asked, with which token; `elsewhere`: where it refers to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, str | None]] = []
        self.elsewhere = ""
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Answers with {}."""

    server: Server

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers.get("Authorization")))
        self.send_response(302 if self.server.elsewhere else 200)
        self.send_header("Location", self.server.elsewhere)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, Server]]:
    """Two of them; who asks here knows the token of a cluster."""
    monkeypatch.setenv("SKATE_TOKEN", TOKEN)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Server() as first, Server() as second:
        threads = [threading.Thread(target=each.serve_forever, args=(0.01,)) for each in (first, second)]
        for thread in threads:
            thread.start()
        yield first, second
        for each, thread in zip((first, second), threads, strict=True):
            each.shutdown()
            thread.join()


def test_this_machine_is_not_asked_by_way_of_a_proxy(
    servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    dashboard, proxy = servers
    monkeypatch.setenv("http_proxy", proxy.url)
    HttpJobs(dashboard.url).ping()
    assert dashboard.seen == [("/api/version", f"Bearer {TOKEN}")] and proxy.seen == []
    HttpJobs("http://cluster.example:8265").ping()
    assert proxy.seen == [("http://cluster.example:8265/api/version", None)], "others are, without the token"


def test_who_refers_to_another_is_not_followed(servers: tuple[Server, Server]) -> None:
    dashboard, other = servers
    dashboard.elsewhere = f"{other.url}/api/version"
    with pytest.raises(ValueError, match=f"refers to {other.url}/api/version: use that address"):
        HttpJobs(dashboard.url).ping()
    assert other.seen == []
