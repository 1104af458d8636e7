"""Where the cluster's token goes when jobs are submitted by HTTP, and how much of a log is given at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from skate.client import job_routes
from skate.client.job_http import HttpJobs
from skate.client.jobs import whole_log

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


class Printed:
    """The log of a job: ten parts of ten characters."""

    def log(self, ident: str, offset: int = 0, wait_s: float = 0.0) -> dict[str, Any]:
        return {"logs": f"{offset:09}\n", "offset": offset + 10, "over": offset == 90}


def test_only_so_much_of_a_log_is_had_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: Any = Printed()
    assert len(whole_log(jobs, "a")) == 100
    assert whole_log(jobs, "a", 100) == whole_log(jobs, "a")
    assert whole_log(jobs, "a", 15) == "[the first 80 characters are left out]\n000000080\n000000090\n"
    monkeypatch.setattr(job_routes, "WHOLE_MAX", 5)
    answer = job_routes.answer(jobs, "GET", "/api/jobs/a/logs", {}, b"")
    assert answer == (200, {"logs": "[the first 90 characters are left out]\n000000090\n"})
