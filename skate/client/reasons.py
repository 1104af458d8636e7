"""What a task waits for, and why its process died, in words."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..exceptions import OutOfMemoryError, RayTaskError, WorkerCrashedError
from ..wire import messages as m
from ..wire.environments import crew
from ..wire.groups import CREATED
from ..wire.labels import describe
from ..wire.reasons import Known
from .actor_client import ACTOR_MOVING, ACTOR_PENDING, ACTOR_RESTARTING, ActorClient
from .errors import unpack_error
from .groups import GroupWait
from .refs import ERROR, PENDING, REMOTE, VALUE, ObjectRef
from .submitter import TaskRecord
from .words import several

if TYPE_CHECKING:
    from .runtime import ClientRuntime

DEATHS_MAX = 1000
WAITS_MAX = 16
"""Of what something waits for, so many are named."""
LINE_MAX = 2000
RUNS_ON = "runs on"
WAITS_AT = "waits at"


def why_ref(runtime: ClientRuntime, ref: ObjectRef[Any]) -> Known:
    """Why a reference is not done, as far as this process knows. Needs the lock."""
    if ref._state == ERROR:
        return Known(f"it failed: {one_line(ref._value)}", done=True)
    if ref._state >= VALUE:
        return Known("nothing: it is done", done=True)
    task = ref._task
    if isinstance(task, GroupWait):
        return Known(task.why())
    if isinstance(task, ActorClient):
        return Known(f"it is an actor, which is {task.state}", actor=task.id.hex())
    if task is None:
        return Known(f"object {ref.hex()} is made by another process, and not finished", waits=[ref.hex()])
    return why_task(runtime, task)


def one_line(error: Any) -> str:
    """An error, which may be packed, in one line."""
    error = error if isinstance(error, BaseException) else unpack_error(error)
    cause = error.cause if isinstance(error, RayTaskError) else error
    text = " | ".join(line.strip() for line in str(cause).splitlines() if line.strip())
    return f"{type(cause).__name__}: {text}"[:LINE_MAX]


def program_failure() -> str:
    """The exception by which this program ends, in one line; "" if it ends by none, or is a session that somebody types in."""
    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    return "" if error is None or hasattr(sys, "ps1") else one_line(error).removesuffix(": ")


def why_task(runtime: ClientRuntime, task: TaskRecord) -> Known:
    """Why a task or a call of this process is not done. Needs the lock."""
    known = _why_call(task, task.worker) if isinstance(task.worker, ActorClient) else _why_task(runtime, task)
    known.task_id = runtime.task_id_of_seq(task.seq)
    death = runtime.tasks.retries.deaths.get(known.task_id)
    if death is not None:
        known.text += f" (attempt {task.attempt + 1}; of the last one {death})"
    return known


def _why_task(runtime: ClientRuntime, task: TaskRecord) -> Known:
    name = task.function.options.name
    if task.missing:
        return _why_arguments(name, task)
    worker = task.worker
    if worker is None:
        return _why_queued(runtime, task)
    before = list(worker.inflight).index(task.seq)
    how = f"waits behind {several(before, 'short task')} on" if before else RUNS_ON
    known = Known(f"{name} {how} worker process {worker.pid}", name, pid=worker.pid, how=how)
    known.node = worker.node or runtime.node_no
    began = None if before else begun(task)
    known.seconds = max(0.0, time.time() - began) if began else 0.0
    return known


def _why_arguments(name: str, task: TaskRecord) -> Known:
    pending = [ref.hex() for _, ref in task.dependencies or () if ref._state in (PENDING, REMOTE)]
    return Known(f"{name} waits for {task.missing} of its arguments", name, waits=pending[:WAITS_MAX])


def _why_queued(runtime: ClientRuntime, task: TaskRecord) -> Known:
    name, shape = task.function.options.name, task.function.shape
    state, reason = runtime.groups.state_of(shape.resources)
    if state and state != CREATED:
        return Known(f"{name} is queued: its placement group is {state}" + (f", {reason}" if reason else ""), name)
    leased = len(shape.workers)
    busy = "the only worker for such tasks is busy" if leased == 1 else f"{leased} workers run such tasks, all busy"
    have = busy if leased else "no worker is leased for it yet"
    if shape.patient:
        have += f"; for now it waits for node {shape.prefers}, which has its arguments"
    also = " and its runtime environment" if shape.env else ""
    text = f"{name} is queued: it needs {describe(shape.resources)}{also}; {have}"
    return Known(text, name, needs=dict(shape.resources), crew=crew(runtime.welcome.job, shape.env))


def _why_call(task: TaskRecord, actor: ActorClient) -> Known:
    """Of a call, which only this process may know of: what was sent to the actor stands behind what others have sent."""
    name = f"{actor.class_name or 'actor'}.{task.function.options.name}"
    sent = task.seq in actor.inflight
    if task.missing:
        return _why_arguments(name, task)
    known = Known("", name, actor=actor.id.hex(), sent=sent, pid=actor.pid, node=actor.node)
    before = list(actor.inflight).index(task.seq) if sent else len(actor.inflight)
    if actor.trouble and not sent:
        known.text = f"{name} waits: {actor.trouble}"
    elif actor.state in (ACTOR_PENDING, ACTOR_RESTARTING, ACTOR_MOVING):
        known.text = f"{name} waits: its actor is {actor.state}"
    else:
        known.how = f"waits behind {several(before, 'earlier call')} of this process on" if before else RUNS_ON
        known.text = f"{name} {known.how} actor process {actor.pid}"
    return known


def begun(task: TaskRecord) -> float | None:
    """When a task has begun that its worker has: as soon as it was there and the worker was free. Of one that may have waited for
    something else, and of a call, only its process knows."""
    if isinstance(task.worker, ActorClient) or task.dependencies is not None or task.attempt or not task.submitted:
        return None
    since: float = task.worker.answered
    return max(task.submitted, time.time() - (time.monotonic() - since))


class Deaths:
    """How the processes of tasks ended that were tried again or have failed: the last `DEATHS_MAX`, by their tasks."""

    def __init__(self) -> None:
        self._by_task: dict[str, str] = {}

    def add(self, task_ids: Iterable[str], text: str) -> None:
        """A process has died; all ids that its task is known by."""
        for task_id in task_ids:
            self._by_task.pop(task_id, None)
            self._by_task[task_id] = text
        while len(self._by_task) > DEATHS_MAX:
            del self._by_task[next(iter(self._by_task))]

    def get(self, task_id: str) -> str | None:
        """In words, if its process has died."""
        return self._by_task.get(task_id)


def may_retry(task: TaskRecord, death: m.Death) -> bool:
    """Whether a task that may be retried is, after this death: one for want of memory counts on a budget of its own."""
    if not death.out_of_memory:
        return True
    task.ooms += 1
    if 0 <= death.oom_retries < task.ooms:
        return False
    if task.retries_left > 0:
        task.retries_left += 1  # this attempt is not one of them
    return True


def death_in_words(death: m.Death) -> str:
    """How a process ended, in one line."""
    parts = [death.reason]
    if death.memory_bytes and not death.out_of_memory:  # else the reason says it
        parts.append(f"{death.memory_bytes / 1e6:.0f} MB of memory in use")
    last = [line.strip() for line in death.last_lines if line.strip()]
    if last:
        parts.append(f"its last output: {' | '.join(last)}"[:LINE_MAX])
    return "; ".join(parts)


def crash_error(what: str, death: m.Death, attempts: int) -> WorkerCrashedError:
    """The error of work whose process died."""
    times = "" if attempts == 1 else f" on each of {attempts} attempts"
    cause = f"The worker process of {what} died{times}: {death.reason}"
    kind = OutOfMemoryError if death.out_of_memory else WorkerCrashedError
    error = kind(cause, memory_bytes=death.memory_bytes or None, last_output=death.last_lines)
    error.exit_signal = death.signal or None  # the reason names them already
    error.exit_code = death.exit_code
    return error
