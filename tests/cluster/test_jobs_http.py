"""Submitted jobs by Ray's REST routes: both ends of them, with a plain server of the standard library in between."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from skate.client import job_routes, observing, token
from skate.client.job_http import HttpJobs
from skate.client.jobs import ClusterJobs
from skate.job_submission import JobStatus, JobSubmissionClient
from skate.testing import eventually

from .conftest import Nodes
from .test_jobs import over


class Handler(BaseHTTPRequestHandler):
    """Serves the routes; `ray` leaves out what a dashboard of Ray does not know."""

    jobs: ClusterJobs
    ray = False
    seen: list[tuple[str, str]] = []

    def serve(self) -> None:
        parts = urlsplit(self.path)
        query = {} if self.ray else dict(parse_qsl(parts.query))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen.append((f"{self.command} {parts.path}", self.headers.get("Authorization") or ""))
        status, value = job_routes.answer(self.jobs, self.command, parts.path, query, body) or (
            404,
            {"error": "no page"},
        )
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = serve

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""


@pytest.fixture
def server(nodes: Nodes) -> Iterator[str]:
    """The address of a server in front of a cluster of one node."""
    nodes.add(1)
    Handler.jobs = ClusterJobs(observing.observe(nodes.address))
    Handler.seen = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("ray", [False, True])
def test_jobs_by_http(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray: bool) -> None:
    monkeypatch.setattr(Handler, "ray", ray)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "told.txt").write_text("told")
    client = JobSubmissionClient(server)
    ident = client.submit_job(
        entrypoint=f"cat told.txt; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo ' all'",
        runtime_env={"working_dir": str(tmp_path / "work")},
        submission_id="by=http",
        metadata={"a": "b"},
    )
    assert ident == "by=http" and client.list_jobs()[0].metadata == {"a": "b"}
    parts = []
    for part in client.follow_job_logs(ident):
        parts.append(part)
        (tmp_path / "go").touch()
    assert "".join(parts) == "told all\n" == client.get_job_logs(ident)
    assert over(client, ident).status is JobStatus.SUCCEEDED
    assert client.stop_job(ident) is False
    assert client.delete_job(ident)
    with pytest.raises(RuntimeError, match="there is no job 'by=http'"):
        client.get_job_status(ident)
    long = client.submit_job(entrypoint="sleep 100")
    eventually(lambda: client.get_job_status(long) is JobStatus.RUNNING)
    assert client.stop_job(long) and over(client, long).status is JobStatus.STOPPED
    assert {sent for _, sent in Handler.seen} == {f"Bearer {token.find()}"}
    again = client.submit_job(entrypoint="cat told.txt", runtime_env={"working_dir": str(tmp_path / "work")})
    assert over(client, again).status is JobStatus.SUCCEEDED
    assert sum(what.startswith("PUT") for what, _ in Handler.seen) == 1, "what is there is not brought again"
    changing = ("POST", "PUT", "DELETE")
    assert [what for what, _ in Handler.seen if what.startswith(changing)][:2] == [
        next(what for what, _ in Handler.seen if what.startswith("PUT /api/packages/skate/")),
        "POST /api/jobs/",
    ]


def test_what_the_routes_refuse(server: str) -> None:
    api = HttpJobs(server)
    for method, path, body, said in (
        ("POST", "/api/jobs/", {"entrypoint": ""}, "a command for the shell"),
        ("POST", "/api/jobs/", {"entrypoint": "true", "sudo": True}, "a job has no sudo"),
        (
            "POST",
            "/api/jobs/",
            {"entrypoint": "true", "runtime_env": {"working_dir": "/etc"}},
            "no package of the cluster",
        ),
        ("POST", "/api/jobs/", [], "a JSON object"),
        ("PUT", "/api/packages/skate/x.zip", {}, "no part of a package"),
        ("GET", "/api/jobs/x/stop", None, "knows POST"),
        ("GET", "/api/jobs/x/other", None, "no page"),
        ("GET", "/api/jobs/x/logs?offset=y", None, "offset is a whole number of 0 or more, not 'y'"),
    ):
        with pytest.raises(ValueError, match=said):
            api.request(method, path, body)


def test_files_that_rays_own_client_brings(server: str) -> None:
    """It names a package itself, asks whether it is there, and then names it in the job."""
    api = HttpJobs(server)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as out:
        out.writestr("told.txt", "told")
    path, uri = "/api/packages/gcs/_ray_pkg_0123.zip", "gcs://_ray_pkg_0123.zip"
    with pytest.raises(ValueError, match=r"there is no package '_ray_pkg_0123\.zip'"):
        api.request("GET", path)
    job = {"entrypoint": "cat told.txt", "runtime_env": {"working_dir": uri}}
    with pytest.raises(ValueError, match="its files are not here"):
        api.request("POST", "/api/jobs/", job)
    api._send("PUT", path, packed.getvalue(), "application/octet-stream")
    api.request("GET", path)
    ident = api.request("POST", "/api/jobs/", job)["submission_id"]
    client = JobSubmissionClient(server)
    assert over(client, ident).status is JobStatus.SUCCEEDED and client.get_job_logs(ident) == "told"
    with pytest.raises(ValueError, match="py_modules of Ray's own client are not supported"):
        api.request("POST", "/api/jobs/", {"entrypoint": "true", "runtime_env": {"py_modules": [uri]}})


def test_the_token_goes_nowhere_in_the_clear(home: Path) -> None:
    token.find() or token.write(token.default_path(), token.make())
    assert "Authorization" in HttpJobs("http://localhost:1")._headers
    assert "Authorization" in HttpJobs("https://example.org:1")._headers
    assert "Authorization" not in HttpJobs("http://example.org:1")._headers
    assert "Authorization" not in HttpJobs("https://example.org:1", verify=False)._headers
    assert HttpJobs("http://example.org:1", {"authorization": "mine"})._headers == {"authorization": "mine"}
