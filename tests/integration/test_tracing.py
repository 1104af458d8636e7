"""Spans of OpenTelemetry: where tasks and calls are submitted, and where they run, are one trace."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry import trace

import skate
from skate.client import current
from skate.testing import Snapshot

from . import spans

HOOK = "integration.spans:begin"


@pytest.fixture(scope="module", autouse=True)
def traced() -> Iterator[None]:
    """One node, and a program that wants spans."""
    skate.shutdown()
    before = Snapshot.take()
    skate.init(num_cpus=1, object_store_memory=100 << 20, _tracing_startup_hook=HOOK)
    runtime: Any = current.runtime
    folder = runtime.context().session_dir
    yield
    skate.shutdown()
    before.check(folder)


@skate.remote
def inner(x: int) -> int:
    return x + 1


@skate.remote
def parentage() -> tuple[int, int]:
    """The trace that this runs in, and the parent of its span."""
    span: Any = trace.get_current_span()
    return span.context.trace_id, span.parent.span_id


@skate.remote
def fails() -> None:
    raise ValueError("on purpose")


@skate.remote
def seen() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = importlib.import_module("integration.spans").spans()
    return found


@skate.remote
def generates() -> Iterator[str]:
    for _ in range(2):
        yield f"{trace.get_current_span().get_span_context().span_id}"


@skate.remote
class Plain:
    def add(self, x: int) -> int:
        return x + 1

    def outer(self) -> tuple[int, int]:
        with trace.get_tracer("test").start_as_current_span("mine"):
            return skate.get(parentage.remote())

    def seen(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = importlib.import_module("integration.spans").spans()
        return found


@skate.remote
class Async:
    async def add(self, x: int) -> int:
        await asyncio.sleep(0.01)
        with trace.get_tracer("test").start_as_current_span(f"within {x}"):
            await asyncio.sleep(0.01)
        return x

    async def items(self) -> AsyncIterator[int]:
        for x in range(2):
            yield x

    async def seen(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = importlib.import_module("integration.spans").spans()
        return found


def one(found: list[dict[str, Any]], name: str, parent: int | None = None) -> dict[str, Any]:
    """The span of that name."""
    matching = [span for span in found if span["name"] == name and parent in (None, span["parent"])]
    assert len(matching) == 1, (name, found)
    return matching[0]


def test_a_task_in_a_call_is_one_trace() -> None:
    spans.EXPORTER.clear()
    actor = Plain.options(num_cpus=0).remote()
    with trace.get_tracer("test").start_as_current_span("program"):
        ident, parent = skate.get(actor.outer.remote())
    mine, there = spans.spans(), skate.get(actor.seen.remote())
    program, submitted = one(mine, "program"), one(mine, "Plain.outer remote")
    ran, user, within = one(there, "Plain.outer run"), one(there, "mine"), one(there, "parentage remote")
    assert submitted["parent"] == program["id"] and submitted["kind"] == "PRODUCER"
    assert ran["parent"] == submitted["id"] and ran["kind"] == "CONSUMER"
    assert user["parent"] == ran["id"] and within["parent"] == user["id"] and parent == within["id"]
    assert {ident, *(span["trace"] for span in (program, submitted, ran, user, within))} == {program["trace"]}
    assert ran["attributes"]["skate.task_id"] and ran["attributes"]["skate.attempt"] == 0


def test_an_error_is_in_the_span() -> None:
    with pytest.raises(ValueError):
        skate.get(fails.remote())
    failed = one(skate.get(seen.remote()), "fails run")
    assert failed["status"] == "ERROR" and failed["events"] == ["exception"]


def test_a_stream_runs_in_its_span() -> None:
    inside = {skate.get(ref) for ref in generates.remote()}
    assert inside == {str(one(skate.get(seen.remote()), "generates run")["id"])}


def test_calls_of_actors_are_in_the_trace() -> None:
    spans.EXPORTER.clear()
    actor = Plain.options(num_cpus=0).remote()
    skate.get([actor.add.remote(x) for x in range(3)])
    there = skate.get(actor.seen.remote())
    submitted = [span for span in spans.spans() if span["name"] == "Plain.add remote"]
    ran = [span for span in there if span["name"] == "Plain.add run"]
    assert [span["parent"] for span in ran] == [span["id"] for span in submitted] and len(ran) == 3
    assert {span["attributes"]["skate.actor_id"] for span in ran} == {actor._actor_id.hex()}  # type: ignore[attr-defined]


def test_async_calls_at_the_same_time_do_not_mix() -> None:
    spans.EXPORTER.clear()
    actor = Async.options(num_cpus=0, max_concurrency=10).remote()
    skate.get([actor.add.remote(x) for x in range(10)])
    assert [skate.get(ref) for ref in actor.items.options(num_returns="streaming").remote()] == [0, 1]
    there = skate.get(actor.seen.remote())
    submitted = [span["id"] for span in spans.spans() if span["name"] == "Async.add remote"]
    for x, parent in enumerate(submitted):
        ran = one(there, "Async.add run", parent)
        within = one(there, f"within {x}")
        assert within["parent"] == ran["id"] and within["trace"] == ran["trace"]
    assert one(there, "Async.items run")["status"] == "UNSET"


def test_openetelemetry_is_set_up_once_in_each_process() -> None:
    @skate.remote
    def times() -> int:
        return len(importlib.import_module("integration.spans").CALLS)

    assert skate.get([times.remote() for _ in range(3)]) == [1, 1, 1]


def test_a_wrong_hook_is_an_error_at_once() -> None:
    skate.shutdown()
    for hook, error in (
        ("no_such_module:begin", ModuleNotFoundError),
        ("integration.spans:no_such", AttributeError),
        ("nonsense", ValueError),
        (17, ValueError),
    ):
        with pytest.raises(error):
            skate.init(num_cpus=1, _tracing_startup_hook=hook)
        assert not skate.is_initialized()
    for asked in ({"_tracing_startup_hook": HOOK}, {"_metrics_export_port": 9100}):
        with pytest.raises(skate.exceptions.UnsupportedError, match="no spans and serves no metrics"):
            skate.init(mode="inline", **asked)


def test_without_a_hook_there_are_no_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    skate.shutdown()
    spans.EXPORTER.clear()

    @skate.remote
    def knows() -> bool:
        return "opentelemetry" in sys.modules

    skate.init(num_cpus=1, object_store_memory=100 << 20)
    assert skate.get(knows.remote()) is False and not spans.spans()
    skate.shutdown()
    monkeypatch.setenv("SKATE_TRACING", HOOK)
    skate.init(num_cpus=1, object_store_memory=100 << 20)
    assert skate.get(inner.remote(1)) == 2
    assert [span["name"] for span in spans.spans()] == ["inner remote"]
