"""What a task waits for, and why its process died, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exceptions import OutOfMemoryError, WorkerCrashedError
from ..wire import messages as m
from ..wire.groups import CREATED
from ..wire.labels import describe
from .refs import PENDING, REMOTE
from .submitter import TaskRecord

if TYPE_CHECKING:
    from .runtime import ClientRuntime


def why_task(runtime: ClientRuntime, task: TaskRecord) -> tuple[str, dict[str, float] | None]:
    """What a task waits for, and the resources if it is these. Needs the lock."""
    name = task.function.options.name
    if task.missing:
        pending = [ref for _, ref in task.dependencies or () if ref._state in (PENDING, REMOTE)]
        inner, needed = runtime._why(pending[0]) if pending else ("", None)
        return f"{name} waits for {task.missing} of its arguments: {inner}", needed
    worker = task.worker
    if worker is None:
        shape = task.function.shape
        state, reason = runtime.groups.state_of(shape.resources)
        if state and state != CREATED:
            return f"{name} is queued: its placement group is {state}" + (f", {reason}" if reason else ""), None
        wants = describe(shape.resources)
        leased = len(shape.workers)
        have = f"{leased} workers run such tasks, all busy" if leased else "no worker is leased for it yet"
        if shape.patient:
            have += f"; for now it waits for node {shape.prefers}, which has its arguments"
        return f"{name} is queued: it needs {wants}; {have}", shape.resources
    before = 0
    for seq in worker.inflight:
        if seq == task.seq:
            break
        before += 1
    if before:
        return f"{name} waits behind {before} short tasks on worker process {worker.pid}", None
    return f"{name} runs on worker process {worker.pid}", None


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


def crash_error(what: str, death: m.Death, attempts: int) -> WorkerCrashedError:
    """The error of work whose process died."""
    times = "" if attempts == 1 else f" on each of {attempts} attempts"
    cause = f"The worker process of {what} died{times}: {death.reason}"
    kind = OutOfMemoryError if death.out_of_memory else WorkerCrashedError
    error = kind(cause, memory_bytes=death.memory_bytes or None, last_output=death.last_lines)
    error.exit_signal = death.signal or None  # the reason names them already
    error.exit_code = death.exit_code
    return error
