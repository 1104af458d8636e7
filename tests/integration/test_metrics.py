"""Metrics of real processes: what they count arrives at the node once, and by HTTP."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from ports import free_port

import skate
from skate.client import current, observing
from skate.testing import Snapshot, eventually
from skate.util.metrics import Counter, Gauge, Histogram

from . import scrape
from .scrape import fetch, value


def session_dir() -> str:
    assert current.runtime is not None
    return current.runtime.context().session_dir


PORT = free_port()


@pytest.fixture(scope="module", autouse=True)
def node() -> Iterator[None]:
    """A node that serves its metrics on a port."""
    skate.shutdown()
    before = Snapshot.take()
    skate.init(num_cpus=2, object_store_memory=100 << 20, _metrics_export_port=PORT)
    folder = session_dir()
    yield
    skate.shutdown()
    before.check(folder)


def read() -> scrape.Read:
    return scrape.read("127.0.0.1", PORT)


@skate.remote
def count(name: str, times: int) -> int:
    counter = Counter(name, tag_keys=("where",)).set_default_tags({"where": "task"})
    for _ in range(times):
        counter.inc()
    return os.getpid()


@skate.remote
def fails() -> None:
    raise ValueError("on purpose")


@skate.remote
class Counting:
    def __init__(self, name: str) -> None:
        self.counter = Counter(name)
        self.gauge = Gauge(f"{name}_gauge")

    def count(self, times: int) -> int:
        self.counter.inc(times)
        self.gauge.set(times)
        return os.getpid()

    def leave(self) -> None:
        self.counter.inc(100)
        skate.exit_actor()


@skate.remote
class AsyncCounting:
    async def count(self, counter: Counter, histogram: Histogram) -> None:
        counter.inc(1)
        histogram.observe(0.5)

    async def nothing(self) -> None:
        """Counted by its node alone."""


def test_all_kinds_of_processes_are_added_up() -> None:
    mine = Counter("all_kinds", tag_keys=("where",))
    mine.inc(5, {"where": "driver"})
    skate.get([count.remote("all_kinds", 10) for _ in range(20)])
    eventually(
        lambda: (
            value(read(), "ray_all_kinds_total", where="task") == 200
            and value(read(), "ray_all_kinds_total", where="driver") == 5
        )
    )
    assert value(read(), "skate_tasks_total", name="count", outcome="finished") == 20


def test_async_and_threaded_actors_are_counted() -> None:
    counter, histogram = Counter("in_async"), Histogram("in_async_h", boundaries=[0.1, 1.0])
    actor = AsyncCounting.remote()
    skate.get([actor.count.remote(counter, histogram) for _ in range(50)])
    skate.get([actor.nothing.remote() for _ in range(7)])
    threaded = Counting.options(max_concurrency=4).remote("in_threads")
    skate.get([threaded.count.remote(1) for _ in range(50)])
    eventually(lambda: value(read(), "skate_tasks_total", name="AsyncCounting.nothing", outcome="finished") == 7)
    eventually(lambda: value(read(), "skate_tasks_total", name="Counting.count", outcome="finished") == 50)
    found = read()
    assert value(found, "ray_in_async_total") == value(found, "ray_in_threads_total") == 50
    assert value(found, "ray_in_async_h_bucket", le="0.1") == 0
    assert value(found, "ray_in_async_h_bucket", le="1.0") == value(found, "ray_in_async_h_count") == 50
    assert value(found, "skate_workers", state="actor") == 2
    assert value(found, "skate_actors", state="alive") == 2


def test_a_task_that_runs_long_is_heard_meanwhile() -> None:
    @skate.remote
    def long(name: str) -> bool:
        Counter(name).inc()
        until = time.monotonic() + 8
        while time.monotonic() < until:
            if value(scrape.read("127.0.0.1", PORT), f"ray_{name}_total"):
                return True
        return False

    for attempt in range(2):  # also when the process has told something just before
        assert skate.get(long.remote(f"meanwhile_{attempt}"))


def test_what_ended_in_order_has_told_everything() -> None:
    actor = Counting.remote("in_order")
    skate.get(actor.count.remote(1))
    with pytest.raises(skate.exceptions.ActorDiedError):
        skate.get(actor.leave.remote())

    @skate.remote(max_calls=1)
    def once() -> None:
        Counter("in_order").inc()

    @skate.remote(max_retries=0)
    def exits() -> None:
        Counter("in_order").inc(1000)
        sys.exit(3)

    skate.get([once.remote() for _ in range(5)])
    with pytest.raises(skate.exceptions.WorkerCrashedError):
        skate.get(exits.remote())
    eventually(lambda: value(read(), "ray_in_order_total") == 1106, 5)
    assert not [key for key in read() if key[0] == "ray_in_order_gauge"]  # a gauge ends with its process


def test_a_death_is_counted_by_its_cause_and_failures_by_name() -> None:
    before = value(read(), "skate_worker_deaths_total", cause="crashed")

    @skate.remote(max_retries=0)
    def dies() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(skate.exceptions.WorkerCrashedError):
        skate.get(dies.remote())
    with pytest.raises(ValueError):
        skate.get(fails.remote())
    eventually(lambda: value(read(), "skate_tasks_total", name="fails", outcome="failed") == 1)
    assert value(read(), "skate_worker_deaths_total", cause="crashed") == before + 1
    eventually(lambda: crashes("dies") == 1)


def crashes(name: str) -> float:
    """Of all tasks whose name ends so."""
    return sum(
        count
        for (metric, labels), count in read().items()
        if metric == "skate_tasks_total" and ("outcome", "crashed") in labels and dict(labels)["name"].endswith(name)
    )


# ---------------------------------------------------------------- HTTP


def raw(data: bytes) -> bytes:
    """What comes back for these bytes, until the other end closes."""
    with socket.create_connection(("127.0.0.1", PORT), timeout=15) as sock:
        sock.sendall(data)
        out = b""
        while part := sock.recv(65536):
            out += part
        return out


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 200),
        (b"GET /metrics?x=1 HTTP/1.1\r\nHost: localhost:1\r\n\r\n", 200),
        (b"HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        (b"GET /api/prometheus/sd HTTP/1.1\r\n\r\n", 200),
        (b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
        (b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer 1\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404),
        (b"GET /../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 405),
        (b"GET /metrics\r\n\r\n", 400),
        (b"\xff\x00 nonsense\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nnonsense\r\n\r\n", 400),
        (b"GET /" + b"x" * 8187, 431),
    ],
)
def test_only_metrics_are_served(request_: bytes, status: int) -> None:
    answer = raw(request_)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    if request_.startswith(b"HEAD"):
        assert answer.endswith(b"\r\n\r\n")


def is_closed(sock: socket.socket) -> bool:
    """Waits until it is; fails after 15 s."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def test_those_who_do_not_ask_hold_up_nobody() -> None:
    silent = [socket.create_connection(("127.0.0.1", PORT), timeout=15) for _ in range(40)]
    try:
        for sock in silent[::2]:
            sock.sendall(b"GET /metrics HT")
        assert fetch("127.0.0.1", PORT)[0] == 200
        assert is_closed(silent[0])  # the oldest, for a newer one
    finally:
        for sock in silent:
            sock.close()


def test_a_slow_reader_holds_up_nobody() -> None:
    counter = Counter("many", tag_keys=("i",))
    for i in range(8000):
        counter.inc(1, {"i": f"{i:0200}"})
    eventually(lambda: value(read(), "skate_metric_series") > 8000)
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", PORT))
        slow.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        for _ in range(3):
            assert value(read(), "ray_many_total", i=f"{5:0200}") == 1
        runtime: Any = observing.require().runtime  # type: ignore[attr-defined]
        began = time.monotonic()
        runtime.ask("validate")
        assert time.monotonic() - began < 1.0


def test_the_text_is_also_an_answer() -> None:
    observer = observing.require()
    (member,) = observing.members(observer)
    found = scrape.parse(observer.ask(member, "metrics"))
    assert value(found, "skate_machine_cpus") == os.cpu_count()
    assert value(found, "skate_loop_rounds_total", process="node") > 0
    assert observer.ask(member, "metric_targets") == []  # it is no node of a cluster
