"""What runs in this process at the moment, for those who ask why something takes long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..client.refs import VALUE, ObjectRef
from ..wire.reasons import Doing
from . import execute

if TYPE_CHECKING:
    import asyncio

    from .process import Worker

NESTED_MAX = 4
"""So deep is looked into what gathers other futures."""


def running_now(worker: Worker) -> list[Doing]:
    """The task or call of the main thread, or all calls of an actor that runs several."""
    actor = worker.actor
    if actor is not None and actor._async is not None:
        return [each for each in map(_of_async, list(actor._async._live.values())) if each is not None]
    if actor is not None and actor.is_threaded:
        now = time.perf_counter()
        return [
            Doing(execute.task_id(caller, task), _name(worker, function.name), now - began)
            for caller, task, function, began in list(actor.running.values())
        ]
    running = worker.running
    if running is None:
        return []
    caller, task, function = running
    seconds = time.perf_counter() - worker.began
    return [Doing(execute.task_id(caller, task), _name(worker, function.name), seconds)]


def _name(worker: Worker, method: str) -> str:
    return method if worker.actor is None else f"{worker.actor.spec.class_name}.{method}"


def _of_async(live: asyncio.Task[Any]) -> Doing | None:
    coroutine: Any = live.get_coro()
    frame = coroutine.cr_frame
    if frame is None:
        return None  # it has just ended
    caller, task, function = (frame.f_locals.get(name) for name in ("caller", "task", "function"))
    began = frame.f_locals.get("began")
    if caller is None or task is None or function is None or began is None:
        return None  # it has not begun: others run that are as many as may
    name = f"{frame.f_locals['self']._host.spec.class_name}.{function.name}"
    waits = [ref.hex() for ref in _awaited(live, NESTED_MAX) if ref._state < VALUE]
    return Doing(execute.task_id(caller, task), name, time.perf_counter() - began, waits)


def _awaited(future: Any, depth: int) -> Iterator[ObjectRef[Any]]:
    """The references that an asyncio task waits for, itself or through others."""
    ref = getattr(future, "skate_ref", None)
    if ref is not None:
        yield ref
        return
    if not depth:
        return
    inner = getattr(future, "_fut_waiter", None)
    for each in [inner] if inner is not None else getattr(future, "_children", None) or ():
        yield from _awaited(each, depth - 1)
