"""The routes and their guard: who is refused, what changes something, what the document says. No browser, no cluster."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from skate.dashboard import asgi
from skate.dashboard.app import ROUTES, Dashboard
from skate.dashboard.asgi import BODY_BYTES_MAX
from skate.dashboard.guard import Guard
from skate.dashboard.openapi import document
from skate.testing import eventually

from .fakes import FakeJobs, FakeSource

BASE = "http://127.0.0.1:8265"
TOKEN = "0123456789abcdef"
FILL = {"store": "skate", "kind": "tasks", "ident": "job_1", "name": "app.js"}


def client_of(guard: Guard | None = None) -> tuple[TestClient, FakeSource, FakeJobs]:
    """A client of a dashboard that shows a cluster which is not there."""
    source, jobs = FakeSource(200, 20), FakeJobs()
    app: Any = Dashboard(source, jobs, guard or Guard()).app()
    return TestClient(app, BASE, follow_redirects=False), source, jobs


@pytest.fixture
def client() -> Iterator[TestClient]:
    """On loopback, where no token is needed."""
    with client_of()[0] as found:
        yield found


def filled(path: str) -> str:
    """A path with something in the place of its parameters."""
    return re.sub(r"{(\w+)}", lambda found: FILL[found[1]], path)


REQUESTS = [(route.method, filled(route.path)) for route in ROUTES if route.path != "/api/ui/live"]
"""One request to each route. The stream never ends: it has tests of its own."""


def send(client: TestClient, method: str, path: str, **headers: str) -> Any:
    """A request with a body that makes sense to most routes."""
    body = b"{}" if method in ("POST", "PUT") else None
    query = {"pid": "1"} if path.endswith("/stacks") else None
    return client.request(method, path, content=body, params=query, headers=headers)


# ------------------------------------------------------------ who is refused


EVIL_HOSTS = (
    "evil.example",
    "evil.example:8265",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "",
    "a b",
    "[evil]",
)
EVIL_ORIGINS = (
    "http://evil.example",
    "null",
    "http://127.0.0.1:9999",
    "http://127.0.0.1",
    "https://127.0.0.1.evil.example:8265",
)


@pytest.mark.parametrize("method, path", [*REQUESTS, ("GET", "/api/ui/live"), ("GET", "/no/such/route")])
def test_other_hosts_and_origins_reach_no_route(method: str, path: str) -> None:
    client, source, jobs = client_of()
    with client:
        for host in EVIL_HOSTS:
            assert send(client, method, path, host=host).status_code == 403, host
        for origin in EVIL_ORIGINS:
            assert send(client, method, path, origin=origin).status_code == 403, origin
        for site in ("cross-site", "same-site"):
            assert send(client, method, path, **{"sec-fetch-site": site}).status_code == 403, site
    assert source.calls == [] and jobs.changes == []


@pytest.mark.parametrize("host", ["localhost:8265", "127.0.0.1:9000", "[::1]:8265", "10.1.2.3", "skate.internal"])
def test_own_hosts_and_origins_are_served(host: str) -> None:
    client, _, _ = client_of(Guard(frozenset({"skate.internal"})))
    with client:
        assert client.get("/healthz", headers={"host": host}).status_code == 200
        for scheme in ("http", "https"):
            headers = {"host": host, "origin": f"{scheme}://{host}", "sec-fetch-site": "same-origin"}
            assert client.post("/api/jobs/job_1/stop", headers=headers).status_code == 200


def test_a_link_from_another_site_may_be_followed_to_a_page_only(client: TestClient) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=headers).status_code == 200
    assert client.get("/api/jobs/", headers=headers).status_code == 403
    assert client.post("/logout", headers=headers).status_code == 403


@pytest.mark.parametrize("method", ["OPTIONS", "PATCH", "TRACE", "CONNECT", "PROPFIND"])
def test_other_methods_are_unknown(client: TestClient, method: str) -> None:
    assert client.request(method, "/api/jobs/").status_code == 405


def test_two_hosts_are_none() -> None:
    with client_of()[0] as client:
        answer = client.get("/healthz", headers=[("host", "127.0.0.1"), ("host", "evil.example")])
        assert answer.status_code == 403


# ------------------------------------------------------------ the token


@pytest.mark.parametrize("method, path", [*REQUESTS, ("GET", "/api/ui/live")])
def test_nothing_answers_without_the_token(method: str, path: str) -> None:
    client, source, jobs = client_of(Guard(token=TOKEN))
    with client:
        if path in ("/login", "/healthz") or path.startswith("/static/"):
            return
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}, {"cookie": "skate_session=x"}):
            assert send(client, method, path, **headers).status_code == 401
        assert client.get(path, params={"token": TOKEN}).status_code == 401
    assert source.calls == [] and jobs.changes == []


def test_the_token_opens_all_routes() -> None:
    client, _, _ = client_of(Guard(token=TOKEN))
    with client:
        for method, path in REQUESTS:
            if (method, path) == ("POST", "/login"):
                continue  # it wants the token in its body
            answer = send(client, method, path, authorization=f"Bearer {TOKEN}")
            assert answer.status_code not in (401, 403), path


def test_the_reading_token_opens_metrics_and_nothing_else() -> None:
    client, source, jobs = client_of(Guard(token=TOKEN, reading="read-me"))
    with client:
        for method, path in REQUESTS:
            if path in ("/login", "/healthz") or path.startswith("/static/"):
                continue
            status = send(client, method, path, authorization="Bearer read-me").status_code
            assert status == (200 if path == "/metrics" else 401), path
        assert client.get("/metrics", headers={"authorization": "Bearer "}).status_code == 401
    assert source.calls == ["metrics"] and jobs.changes == []


def test_another_user_s_prometheus_needs_the_reading_token_on_loopback_too() -> None:
    dashboard = Dashboard(FakeSource(20, 2), FakeJobs(), Guard(reading="read-me"))
    app: Any = dashboard.app(is_own=lambda _: False)
    with TestClient(app, BASE) as client:
        assert client.get("/metrics").status_code == 403
        assert client.get("/metrics", headers={"authorization": "Bearer wrong"}).status_code == 403
        answer = client.get("/metrics", headers={"authorization": "Bearer read-me"})
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert 'skate_workers{instance="10.0.0.1:6379",skate_node="machine-1",skate_node_no="1"} 4' in answer.text
        assert client.get("/nodes", headers={"authorization": "Bearer read-me"}).status_code == 403


def test_a_cookie_is_given_for_the_token_and_taken_back() -> None:
    client, _, _ = client_of(Guard(token=TOKEN))
    with client:
        assert client.get("/", headers={"accept": "text/html"}).headers["location"] == "/login"
        assert client.post("/login", json={"token": "wrong"}).status_code == 401
        assert client.get("/api/version").status_code == 401
        answer = client.post("/login", json={"token": TOKEN})
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie and TOKEN not in cookie
        assert client.get("/api/version").status_code == 200
        kept = client.cookies["skate_session"]
        assert client.post("/logout").status_code == 200
        assert client.get("/api/version", headers={"cookie": f"skate_session={kept}"}).status_code == 401


def test_cookies_end_and_are_few() -> None:
    guard = Guard(token=TOKEN)
    for number in range(100):
        guard.let_in(f"secret{number}", 0.0)
    assert not guard.is_known({"cookie": "skate_session=secret1"}, 1.0)
    assert guard.is_known({"cookie": "skate_session=secret99"}, 1.0)
    assert not guard.is_known({"cookie": "skate_session=secret99"}, 13 * 3600.0)


# ------------------------------------------------------------ what changes something


def test_a_get_changes_nothing() -> None:
    client, _, jobs = client_of()
    with client:
        for method, path in REQUESTS:
            if method == "GET":
                send(client, "GET", path)
                send(client, "HEAD", path)
        assert jobs.changes == []
        for path in {filled(route.path) for route in ROUTES if route.method != "GET" and route.path != "/login"}:
            assert client.get(path).status_code in (200, 405), path
        assert jobs.changes == []


def test_ray_s_job_routes(client: TestClient) -> None:
    assert client.get("/api/version").json()["ray_version"] >= "2.", "Ray's client asks for 1.9 at least"
    assert client.get("/api/packages/gcs/_ray_pkg_0.zip").status_code == 200
    assert client.get("/api/packages/s3/_ray_pkg_0.zip").status_code == 404
    assert client.post("/api/jobs/", json={"entrypoint": "true"}).json()["submission_id"] == "job_1"
    assert client.get("/api/jobs/job_1").json()["status"] == "RUNNING"
    assert client.get("/api/jobs/job_1/logs").json() == {"logs": "hello\n"}
    assert client.post("/api/jobs/job_1/stop").json() == {"stopped": True}
    assert client.delete("/api/jobs/job_1").json() == {"deleted": True}
    assert client.post("/api/jobs/", content=b"[]").status_code == 400


def test_bodies_are_bounded(client: TestClient) -> None:
    assert client.post("/api/jobs/", content=b"x" * (BODY_BYTES_MAX + 1)).status_code == 413

    def parts() -> Iterator[bytes]:
        for _ in range(3):
            yield b"x" * (BODY_BYTES_MAX // 2)

    answer = client.post("/api/jobs/", content=parts())
    assert answer.status_code == 413
    assert client.post("/login", headers={"content-length": "x"}, content=b"").status_code == 400


def spoken(dashboard: Dashboard, scope: dict[str, Any], receive: Any) -> list[Any]:
    """What is sent to who makes a request, and receives like this."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        await asyncio.sleep(0)  # as if it had to wait for room
        sent.append(message)

    about = {"type": "http", "query_string": b"", "headers": [(b"host", b"127.0.0.1")], "asgi": {"spec_version": "2.3"}}
    request: Any = dashboard.app()({**about, **scope}, receive, send)
    with ThreadPoolExecutor(1) as pool:  # in this thread, the browser's loop may be running
        pool.submit(asyncio.run, request).result(20)
    return sent


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "STALL_S", 0.01)
    parts = [{"type": "http.request", "body": b"PK", "more_body": True}]

    async def receive() -> Any:
        return parts.pop() if parts else await asyncio.Event().wait()

    dashboard = Dashboard(FakeSource(1, 1), FakeJobs(), Guard())
    sent = spoken(dashboard, {"method": "PUT", "path": "/api/packages/skate/a.zip"}, receive)
    assert sent[0]["status"] == 408 and not dashboard.one_package.locked()


def test_a_viewer_who_has_gone_before_the_first_event_has_gone() -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    dashboard = Dashboard(FakeSource(1, 1), FakeJobs(), Guard(), poll_s=0.01)
    spoken(dashboard, {"method": "GET", "path": "/api/ui/live"}, receive)
    assert dashboard.live.viewers == 0
    eventually(lambda: not dashboard.live.polls, 5, "the poller has ended")


def test_every_answer_has_the_headers_that_keep_others_out(client: TestClient) -> None:
    for answer in (
        client.get("/"),
        client.get("/static/app.js"),
        client.get("/nodes"),
        client.get("/x", headers={"host": "x"}),
    ):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("name", ["../app.py", "..%2fapp.py", "%2e%2e/app.py", "nothing.js"])
def test_only_files_of_the_dashboard_are_served(client: TestClient, name: str) -> None:
    assert client.get(f"/static/{name}").status_code == 404


# ------------------------------------------------------------ tables, state, document


def test_a_page_of_a_table(client: TestClient) -> None:
    found = client.get(
        "/api/ui/rows/tasks", params={"q": "function_1", "sort": "-task_id", "limit": 5, "offset": 2}
    ).json()
    assert found["matching"] == 29 and len(found["rows"]) == 5
    assert [int(row["task_id"], 16) for row in found["rows"]] == [183, 176, 169, 162, 155]
    failed = client.get("/api/ui/rows/tasks", params={"filter": "state=FAILED"}).json()
    assert {row["state"] for row in failed["rows"]} == {"FAILED"} and failed["matching"] == 3
    assert client.get("/api/ui/rows/tasks", params={"filter": "nothing=1"}).status_code == 400
    assert client.get("/api/ui/rows/cats").status_code == 400
    assert client.get("/api/ui/rows/tasks", params={"limit": "x"}).status_code == 400


def test_ray_s_state_routes(client: TestClient) -> None:
    query = {"filter_keys": "state", "filter_predicates": "=", "filter_values": "FAILED", "limit": "2"}
    found = client.get("/api/v0/tasks", params=query).json()["data"]["result"]
    assert found["total"] == 3 and len(found["result"]) == 2 and "end_time_ms" not in found["result"][0]
    assert "end_time_ms" in client.get("/api/v0/tasks?detail=true").json()["data"]["result"]["result"][0]
    assert client.get("/api/v0/placement_groups").status_code == 200
    found = client.get("/api/v0/actors/summarize").json()["data"]["result"]
    assert found["result"]["node_id_to_summary"]["cluster"]["total_actors"] == 20
    assert found["partial_failure_warning"] == "node 2 (b): away"
    assert client.get("/api/v0/nodes/summarize").status_code == 400
    assert client.get("/api/v0/tasks?limit=0").status_code == 400
    assert client.get("/api/v0/tasks?filter_keys=state").status_code == 400
    usage = client.get("/api/cluster_status").json()["data"]["clusterStatus"]["loadMetricsReport"]["usage"]
    assert usage["CPU"] == [3.0, 4.0]
    assert len(client.get("/nodes").json()["data"]["summary"]) == 2


def test_a_cluster_that_does_not_answer_is_said(client: TestClient) -> None:
    client, source, _ = client_of()
    source.trouble = "the head does not answer"
    with client:
        answer = client.get("/nodes")
    assert answer.status_code == 503 and answer.json() == {"error": "the head does not answer"}


def test_a_flame_graph(client: TestClient) -> None:
    root = client.post("/api/ui/profile", json={"node": 1, "pid": 4001, "samples": 10}).json()
    assert root["count"] == 10 and root["children"][0]["name"].startswith("main")
    assert {child["count"] for child in root["children"][0]["children"]} == {5}
    assert client.get("/api/ui/profile").status_code == 405


def test_the_document_has_every_route_and_no_other(client: TestClient) -> None:
    served = client.get("/openapi.json").json()
    assert served == json.loads(json.dumps(document(ROUTES)))
    operations = {(method.upper(), path) for path, all in served["paths"].items() for method in all}
    assert operations == {(route.method, route.path) for route in ROUTES} and len(operations) == len(ROUTES)
    assert len({each["operationId"] for all in served["paths"].values() for each in all.values()}) == len(ROUTES)
    for method, path in REQUESTS:
        assert send(client, method, path).status_code not in (404, 405, 500) or path.startswith("/api/packages"), path


@pytest.mark.parametrize(
    "path, error",
    [
        ("/api/v0/tasks?limit=x", "limit is a whole number from 1 to 10000, not 'x'"),
        ("/api/v0/tasks?detail=perhaps", "detail is 1 or true, 0 or false, not 'perhaps'"),
        ("/api/v0/tasks?timeout=soon", "timeout is a number of seconds, 0 or more, not 'soon'"),
        ("/api/v0/tasks?exclude_driver=bla", "exclude_driver is 1 or true, 0 or false, not 'bla'"),
        ("/api/v0/tasks?limt=3", "there is no parameter 'limt' here: did you mean limit? There are limit, detail,"),
        (
            "/api/v0/tasks?filter_keys=state",
            "filter_keys, filter_predicates and filter_values come in equal numbers, not 1, 0, 0",
        ),
        ("/api/v0/tasks/summarize?x=1", "there is no parameter 'x' here: there are none"),
        ("/api/ui/rows/tasks?limit=501", "limit is a whole number from 1 to 500, not '501'"),
        ("/api/ui/rows/tasks?offset=-1", "offset is a whole number of 0 or more, not '-1'"),
        ("/api/ui/rows/tasks?filter=x", "filter: 'x' is not KEY=VALUE"),
        ("/api/ui/rows/tasks?sort=nme", "sort is a column of tasks, or -column, not 'nme': did you mean name?"),
        ("/api/ui/logs?tail=0", "tail is a whole number from 1 to 1000, not '0'"),
        ("/api/ui/logs?node=one", "node is a whole number of 0 or more, not 'one'"),
        ("/api/ui/logs?errors=y", "errors is 1 or true, 0 or false, not 'y'"),
        ("/api/ui/stacks?node=1", "pid is missing: a whole number, of 1 or more"),
        ("/api/ui/stacks?pid=me", "pid is a whole number of 1 or more, not 'me'"),
        ("/api/jobs/job_1/logs?offset=x", "offset is a whole number of 0 or more, not 'x'"),
        ("/api/jobs/job_1/logs?offset=0&wait_s=x", "wait_s is a number of seconds, 0 or more, not 'x'"),
    ],
)
def test_what_is_wrong_with_a_parameter_is_said(client: TestClient, path: str, error: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 400 and answer.json()["error"].startswith(error), answer.text


@pytest.mark.parametrize(
    "body, error",
    [
        (b"{", "the body is to be a JSON object, and is no JSON: "),
        (b"[]", "the body is to be a JSON object, not list"),
        (b'{"node": 1}', "pid is missing"),
        (b'{"pid": 7, "samples": true}', "samples is a whole number from 1 to 100, not True"),
        (b'{"pid": 7, "sample": 9}', "there is no parameter 'sample' here: did you mean samples?"),
    ],
)
def test_what_is_wrong_with_a_body_is_said(client: TestClient, body: bytes, error: str) -> None:
    answer = client.post("/api/ui/profile", content=body)
    assert answer.status_code == 400 and answer.json()["error"].startswith(error), answer.text
