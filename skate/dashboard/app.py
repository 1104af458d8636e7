"""The routes of the dashboard: pages, what pages ask for (`/api/ui`), and Ray's REST routes.

Each route is one line of `ROUTES`; `/openapi.json` is made of the same lines. What asks the cluster runs in a thread.

INV-1: a GET changes nothing: it calls only what reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ..client import filters as conditions, job_routes, parameters
from ..client.jobs import JobsApi
from ..client.state import COLUMNS, DETAILS, SUMMARIES
from ..client.words import choices
from ..exceptions import RayError
from ..version import __version__
from . import ray_api, tables
from .asgi import App, Guarded
from .federation import CONTENT_TYPE
from .guard import COOKIE, METRICS, SESSION_S, Guard
from .live import Lists, Live, TooManyViewers
from .patches import patch
from .source import PROFILE_SAMPLES_MAX, Source, profile

STATIC = Path(__file__).parent / "static"
KINDS = (*COLUMNS, "events")
HEARTBEAT_S = 15.0
"""So often a viewer hears something, also when nothing has changed: else a dead connection looks like a calm cluster."""
PROFILE_SAMPLES = 40
TAIL_MAX = 1000


class Dashboard:
    """What the routes share.

    Args:
        source: the cluster.
        jobs: its jobs.
        guard: who may ask.
        poll_s: how often the cluster is read, at the most.
        secure: it is served by TLS, so cookies are for TLS only.
    """

    def __init__(self, source: Source, jobs: JobsApi, guard: Guard, poll_s: float = 1.0, secure: bool = False) -> None:
        self.source = source
        self.jobs = jobs
        self.guard = guard
        self.secure = secure
        self.live = Live(source, poll_s)
        self.lists = Lists(poll_s)
        self.one_package = asyncio.Semaphore(1)
        """Packages may be large: one at a time is held here."""
        self.one_profile = asyncio.Semaphore(1)
        self.ending = False
        self._streams: set[asyncio.Event] = set()

    def app(self, is_own: Callable[[Any], bool] = lambda _: True) -> App:
        """The application, behind its guard; `is_own` says whose connection may do without a token."""
        routes = [Route(route.path, self._endpoint(route), methods=[route.method]) for route in ROUTES]
        app = Starlette(routes=routes, lifespan=self._lifespan)
        return Guarded(app, self.guard, {"/api/packages/": job_routes.BODY_BYTES_MAX}, is_own)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        yield
        self.end_streams()
        await run_in_threadpool(self.live.close)

    def end_streams(self) -> None:
        """Those who follow hear that it is over, rather than be cut off."""
        self.ending = True
        for woken in self._streams:
            woken.set()

    def _endpoint(self, route: Operation) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                if route.path.startswith("/api/"):
                    parameters.only(request.query_params, (each.partition(":")[0] for each in route.query))
                return await route.handler(self, request)
            except (ConnectionError, TooManyViewers) as error:
                return JSONResponse({"error": str(error)}, 503)
            except RayError as error:
                return JSONResponse({"error": str(error)}, 502)
            except KeyError as error:
                return JSONResponse({"error": f"{error.args[0]} is missing"}, 400)
            except (ValueError, TypeError) as error:
                return JSONResponse({"error": str(error)}, 400)

        return endpoint

    def rows(self, kind: str, filters: list[conditions.Filter]) -> dict[str, Any]:
        """The rows of a kind, read now or a moment ago."""
        key = json.dumps([kind, filters])
        found: dict[str, Any] = self.lists.get(key, lambda: self.source.rows(kind, filters))
        return found


Handler = Callable[[Dashboard, Request], Awaitable[Response]]


class Operation(NamedTuple):
    """A route."""

    method: str
    path: str
    handler: Handler
    summary: str
    query: tuple[str, ...] = ()
    """What it takes in the query, each with what it is, after a colon."""


# ------------------------------------------------------------ pages


def _file(name: str) -> Handler:
    async def handler(_: Dashboard, __: Request) -> Response:
        return FileResponse(STATIC / name)

    return handler


async def _static(_: Dashboard, request: Request) -> Response:
    path = STATIC / request.path_params["name"]
    if path.parent != STATIC or not path.is_file():
        return JSONResponse({"error": "there is no such file"}, 404)
    return FileResponse(path, headers={"cache-control": "no-cache"})


async def _health(_: Dashboard, __: Request) -> Response:
    return JSONResponse({"status": "ok", "version": __version__})


async def _openapi(_: Dashboard, __: Request) -> Response:
    from .openapi import document

    return JSONResponse(document(ROUTES))


async def _login(dashboard: Dashboard, request: Request) -> Response:
    given = (await _object(request)).get("token")
    if not isinstance(given, str) or not dashboard.guard.is_token(given.strip()):
        return JSONResponse({"error": "that is not the token of this cluster"}, 401)
    secret = secrets.token_urlsafe(32)
    dashboard.guard.let_in(secret, time.monotonic())
    answer = JSONResponse({})
    answer.set_cookie(
        COOKIE, secret, int(SESSION_S), httponly=True, samesite="strict", secure=dashboard.secure, path="/"
    )
    return answer


async def _logout(dashboard: Dashboard, request: Request) -> Response:
    dashboard.guard.let_out({"cookie": request.headers.get("cookie", "")})
    answer = JSONResponse({})
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict", secure=dashboard.secure)
    return answer


async def _about(dashboard: Dashboard, _: Request) -> Response:
    return JSONResponse({"version": __version__, "login": bool(dashboard.guard.token)})


async def _object(request: Request) -> dict[str, Any]:
    """The JSON object of a request."""
    return parameters.json_object(await request.body())


# ------------------------------------------------------------ what pages ask for


async def _live(dashboard: Dashboard, request: Request) -> Response:
    """Server-sent events: `{"state": merge patch, "samples": the new ones}`; the first has everything."""
    live = dashboard.live
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(woken.set)

    number = live.enter(wake)
    if live.state:
        woken.set()

    async def events() -> AsyncIterator[str]:
        known: dict[str, Any] = {}
        last = 0
        dashboard._streams.add(woken)
        try:
            while not dashboard.ending:
                try:
                    await asyncio.wait_for(woken.wait(), HEARTBEAT_S)
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                woken.clear()
                state, samples = live.state, live.news(last)
                last = int(samples[-1]["no"] or 0) if samples else last
                change = {"state": patch(known, state), "samples": samples}
                known = state
                yield f"data: {json.dumps(change, separators=(',', ':'))}\n\n"
        finally:
            dashboard._streams.discard(woken)

    return _Stream(events(), lambda: live.leave(number))


class _Stream(StreamingResponse):
    """Events for a viewer; `leave` is called when it ends, also before the first event, when a generator has no `finally`."""

    def __init__(self, events: AsyncIterator[str], leave: Callable[[], None]) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"x-accel-buffering": "no"})
        self._leave = leave

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


async def _rows(dashboard: Dashboard, request: Request) -> Response:
    kind, query = _kind(request), request.query_params
    sort = query.get("sort", "")
    if sort and kind in COLUMNS and sort.removeprefix("-") not in (columns := [*COLUMNS[kind], *DETAILS[kind]]):
        raise ValueError(f"sort is a column of {kind}, or -column, not {sort!r}{choices(sort, columns)}")
    try:
        filters = [conditions.parse(each) for each in query.getlist("filter")]
    except ValueError as error:
        raise ValueError(f"filter: {error}") from None
    found = await run_in_threadpool(dashboard.rows, kind, filters)
    rows, matching = await run_in_threadpool(
        tables.page,
        found["rows"],
        query.get("q", ""),
        sort,
        parameters.whole(query, "offset", 0, parameters.OFFSET_MAX, 0),
        parameters.whole(query, "limit", 1, tables.PAGE_ROWS_MAX, 100),
    )
    return JSONResponse({**found, "rows": rows, "matching": matching, "looked_at": len(found["rows"])})


async def _thing(dashboard: Dashboard, request: Request) -> Response:
    found = await run_in_threadpool(dashboard.source.get, _kind(request), request.path_params["ident"])
    return JSONResponse({"rows": found})


def _kind(request: Request) -> str:
    kind = str(request.path_params["kind"])
    if kind not in KINDS:
        raise ValueError(f"there are no {kind!r}; there are {', '.join(KINDS)}")
    return kind


async def _datasets(dashboard: Dashboard, _: Request) -> Response:
    reading = await run_in_threadpool(dashboard.lists.get, "reading", dashboard.source.reading)
    return JSONResponse({"datasets": reading["datasets"]})


async def _timeline(dashboard: Dashboard, _: Request) -> Response:
    bars = await run_in_threadpool(dashboard.lists.get, "timeline", dashboard.source.timeline)
    return JSONResponse({"bars": bars})


async def _logs(dashboard: Dashboard, request: Request) -> Response:
    query = request.query_params
    wish: dict[str, Any] = {name: query[name] for name in ("task", "actor", "job") if query.get(name)}
    for name, most in (("pid", parameters.PID_MAX), ("node", parameters.NODE_MAX)):
        if query.get(name):
            wish[name] = parameters.whole(query, name, 0, most)
    wish["tail"] = parameters.whole(query, "tail", 1, TAIL_MAX, TAIL_MAX)
    if parameters.yes(query, "errors"):
        wish["errors"] = True
    key = json.dumps(["logs", wish])
    found = await run_in_threadpool(dashboard.lists.get, key, lambda: dashboard.source.logs(wish))
    return JSONResponse(found)


async def _stacks(dashboard: Dashboard, request: Request) -> Response:
    node, pid = _place(request.query_params)
    return JSONResponse({"threads": await run_in_threadpool(dashboard.source.stacks, node, pid)})


def _place(given: Mapping[str, Any]) -> tuple[int, int]:
    """Node and process."""
    node = parameters.whole(given, "node", 0, parameters.NODE_MAX, 0)
    return node, parameters.whole(given, "pid", 1, parameters.PID_MAX)


async def _profile(dashboard: Dashboard, request: Request) -> Response:
    """It makes a worker stop again and again, if only for a moment: so it is a POST, and one at a time."""
    wish = await _object(request)
    parameters.only(wish, ("node", "pid", "samples"))
    node, pid = _place(wish)
    samples = parameters.whole(wish, "samples", 1, PROFILE_SAMPLES_MAX, PROFILE_SAMPLES)
    async with dashboard.one_profile:
        return JSONResponse(await run_in_threadpool(profile, dashboard.source, node, pid, samples))


# ------------------------------------------------------------ Ray's routes


async def _jobs(dashboard: Dashboard, request: Request) -> Response:
    path = request.scope.get("raw_path", request.url.path.encode()).decode().partition("?")[0]
    query = dict(request.query_params)
    method = request.method
    if method == "PUT":
        async with dashboard.one_package:
            body = await request.body()
            found = await run_in_threadpool(job_routes.answer, dashboard.jobs, method, path, query, body)
    else:
        body = await request.body()
        found = await run_in_threadpool(job_routes.answer, dashboard.jobs, method, path, query, body)
    status, value = found or (404, {"error": "there is no such route"})
    return JSONResponse(value, status)


async def _list(dashboard: Dashboard, request: Request) -> Response:
    kind = ray_api.kind_of(request.path_params["kind"])
    filters, limit, detail = ray_api.wish(request.query_params.multi_items())
    found = await run_in_threadpool(dashboard.rows, kind, filters)
    return JSONResponse(ray_api.listed(kind, found, limit, detail))


async def _summary(dashboard: Dashboard, request: Request) -> Response:
    kind = ray_api.kind_of(request.path_params["kind"], SUMMARIES)
    found = await run_in_threadpool(dashboard.lists.get, f"summary {kind}", lambda: dashboard.source.summary(kind))
    return JSONResponse(ray_api.summary(found))


async def _nodes(dashboard: Dashboard, _: Request) -> Response:
    reading = await run_in_threadpool(dashboard.lists.get, "reading", dashboard.source.reading)
    return JSONResponse(ray_api.nodes(reading))


async def _cluster_status(dashboard: Dashboard, _: Request) -> Response:
    reading = await run_in_threadpool(dashboard.lists.get, "reading", dashboard.source.reading)
    return JSONResponse(ray_api.cluster_status(reading))


async def _metrics(dashboard: Dashboard, _: Request) -> Response:
    text = await run_in_threadpool(dashboard.lists.get, "metrics", dashboard.source.metrics)
    return Response(text, media_type=CONTENT_TYPE)


_WHICH = ("node: its number", "pid: of the process")
ROUTES: tuple[Operation, ...] = (
    Operation("GET", "/", _file("index.html"), "The dashboard"),
    Operation("GET", "/login", _file("login.html"), "The page that asks for the token"),
    Operation("POST", "/login", _login, "Get a cookie for the token in {token}"),
    Operation("POST", "/logout", _logout, "Give the cookie back"),
    Operation("GET", "/static/{name}", _static, "A file of the dashboard"),
    Operation("GET", "/healthz", _health, "Whether the dashboard runs"),
    Operation("GET", "/openapi.json", _openapi, "This document"),
    Operation("GET", METRICS, _metrics, "The metrics of all nodes, for Prometheus; the reading token will do"),
    Operation("GET", "/api/ui/about", _about, "The version, and whether one has to log in"),
    Operation("GET", "/api/ui/live", _live, "Server-sent events: the state, and then what changes"),
    Operation(
        "GET",
        "/api/ui/rows/{kind}",
        _rows,
        "A page of a table",
        (
            "filter: KEY=VALUE or KEY!=VALUE, may be repeated",
            "q: words that must be in a row",
            "sort: a column, or -column",
            "offset: of the first row",
            "limit: how many rows, at most 500",
        ),
    ),
    Operation("GET", "/api/ui/thing/{kind}/{ident}", _thing, "All that is known of one thing"),
    Operation("GET", "/api/ui/datasets", _datasets, "Datasets that are being carried out, operator by operator"),
    Operation("GET", "/api/ui/timeline", _timeline, "The last tasks that have ended, and where they ran"),
    Operation(
        "GET",
        "/api/ui/logs",
        _logs,
        "What workers have printed",
        (
            *("task: its id", "actor: its id", "job: its id", *_WHICH),
            *("errors: 1 or true for stderr only", "tail: so many lines of each file, at most 1000"),
        ),
    ),
    Operation("GET", "/api/ui/stacks", _stacks, "What the threads of a process do now", _WHICH),
    Operation("POST", "/api/ui/profile", _profile, "A flame graph of {node, pid, samples}"),
    Operation("GET", "/api/version", _jobs, "The version, and the address of a node of the cluster"),
    Operation("GET", "/api/jobs/", _jobs, "All submitted jobs"),
    Operation("POST", "/api/jobs/", _jobs, "Submit a job"),
    Operation("GET", "/api/jobs/{ident}", _jobs, "A submitted job"),
    Operation("DELETE", "/api/jobs/{ident}", _jobs, "Forget a job that is over"),
    Operation("POST", "/api/jobs/{ident}/stop", _jobs, "Stop a job"),
    Operation(
        "GET",
        "/api/jobs/{ident}/logs",
        _jobs,
        "The log of a job",
        ("offset: where the wanted part begins", "wait_s: how long to wait for it"),
    ),
    Operation("GET", "/api/packages/{store}/{name}", _jobs, "Whether a package of files is there"),
    Operation("PUT", "/api/packages/{store}/{name}", _jobs, "Bring a package of files for a job"),
    Operation("GET", "/api/v0/{kind}", _list, "A list of Ray's state API", ray_api.QUERY),
    Operation("GET", "/api/v0/{kind}/summarize", _summary, "How many there are of what"),
    Operation("GET", "/nodes", _nodes, "The nodes"),
    Operation("GET", "/api/cluster_status", _cluster_status, "What the cluster has, and what waits"),
)
