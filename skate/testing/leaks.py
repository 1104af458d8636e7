"""Prove that a test left nothing behind: no resource in use, no process, thread, descriptor, shared memory or file.

Most of what a runtime gives up is given up a moment later, by another process: so everything here looks again and
again until a deadline, and fails with a list of what is still there. The processes of a session are found by its
folder, which stands in their command line: also those that have lost their parent.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from traceback import clear_frames
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from ..client.runtime import ClientRuntime

POLL_S = 0.005
TIMEOUT_S = 5.0


def eventually(predicate: Callable[[], Any], timeout_s: float = TIMEOUT_S, what: str = "") -> Any:
    """Wait until a condition holds.

    Args:
        predicate: called again and again; what it returns counts as true or false.
        timeout_s: seconds to wait.
        what: what is waited for, for the error.

    Returns:
        The first true value.

    Raises:
        AssertionError: it did not become true in time.

    Example:
        >>> eventually(lambda: 1 + 1)
        2
    """
    deadline = time.monotonic() + timeout_s
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what or predicate}")
        time.sleep(POLL_S)


def session_processes(session_dir: str) -> list[int]:
    """The pids of a session's node, zygote and workers.

    Args:
        session_dir: the folder of the session, as `skate.init()` returns it.
    """
    mark = os.fsencode(session_dir)
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as command:
                if mark in command.read() and not _is_zombie(entry):
                    found.append(int(entry))
        except OSError:
            continue  # it has ended meanwhile
    return found


def _is_zombie(pid: str) -> bool:
    with open(f"/proc/{pid}/stat", "rb") as stat:
        return stat.read().rsplit(b")", 1)[1].split()[0] == b"Z"


def _descriptors() -> dict[str, str]:
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue  # the one of the listing itself
    return {fd: target for fd, target in found.items() if not target.startswith("/proc/")}


def _children() -> set[int]:
    children: set[int] = set()
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/children") as listing:
                children.update(int(pid) for pid in listing.read().split())
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread has ended meanwhile
    return children


@dataclass(frozen=True)
class Snapshot:
    """What this process has at a moment: take one before a test, and `check` it after.

    Example:
        >>> before = Snapshot.take()
        >>> before.check(timeout_s=1)
    """

    descriptors: dict[str, str]
    threads: set[int]
    children: set[int]

    @classmethod
    def take(cls) -> Snapshot:
        """Look now."""
        gc.collect()
        return cls(_descriptors(), {thread.ident or 0 for thread in threading.enumerate()}, _children())

    def left(self) -> list[str]:
        """What is there now and was not there before, in words."""
        gc.collect()
        now = Snapshot.take()
        out = [f"child process {pid}" for pid in now.children - self.children]
        named = {thread.ident: thread.name for thread in threading.enumerate()}
        out += [f"thread {named.get(ident, ident)}" for ident in now.threads - self.threads]
        if len(now.descriptors) > len(self.descriptors):
            new = sorted(set(now.descriptors.items()) - set(self.descriptors.items()))
            out += [f"descriptor {fd} -> {target}" for fd, target in new]
        return out

    def check(self, session_dir: str = "", timeout_s: float = TIMEOUT_S) -> None:
        """Wait until nothing is left over.

        Args:
            session_dir: the folder of a session that was shut down; it and its processes must be gone too.
            timeout_s: seconds to wait.

        Raises:
            AssertionError: something is left; the message lists it.
        """

        def left() -> list[str]:
            return self.left() + (_left_of(session_dir) if session_dir else [])

        _wait_empty(left, timeout_s)


def assert_ended(session_dir: str, timeout_s: float = TIMEOUT_S) -> None:
    """Wait until nothing is left of a session that was shut down.

    Args:
        session_dir: its folder, as `skate.init()` has returned it.
        timeout_s: seconds to wait.

    Raises:
        AssertionError: a process or the folder is left.
    """
    _wait_empty(lambda: _left_of(session_dir), timeout_s)


def _left_of(session_dir: str) -> list[str]:
    out = [f"process {pid} of the session" for pid in session_processes(session_dir)]
    return out + ([f"folder {session_dir}"] if os.path.exists(session_dir) else [])


def _wait_empty(left: Callable[[], list[str]], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while found := left():
        if time.monotonic() >= deadline:
            raise AssertionError(f"left over after {timeout_s:g} s: {'; '.join(found)}")
        time.sleep(POLL_S)


def let_go(traceback: TracebackType | None) -> None:
    """Forget the variables of a failed test, which its traceback keeps: the failure must not be reported again as a leak."""
    clear_frames(traceback)
    while traceback is not None:
        # Whoever has shown the variables has left a copy of them in the frame. To look again removes from it what is cleared.
        traceback.tb_frame.f_locals  # noqa: B018
        traceback = traceback.tb_next


@dataclass(frozen=True)
class Held:
    """What is in use in the cluster of this process at a moment, which a test may find and leave.

    A worker that is leased may have a task of before, or be kept for the next one: so tasks are told apart by themselves.
    """

    available: dict[str, float]
    actors: frozenset[str]
    objects: int
    workers: frozenset[int]
    tasks: frozenset[str]
    groups: frozenset[str]

    @classmethod
    def now(cls) -> Held:
        """Look now.

        Raises:
            AssertionError: skate does not run in this process.
        """
        runtime = _runtime()
        return cls(
            available=runtime.available_resources(),
            actors=frozenset(actor["actor_id"] for actor in runtime.ask("actors")),
            objects=objects_held(),
            workers=frozenset(worker["pid"] for worker in _at_work(runtime)),
            tasks=frozenset(_tasks(runtime)),
            groups=frozenset(_groups(runtime)),
        )


_NOTHING = Held({}, frozenset(), 0, frozenset(), frozenset(), frozenset())


def objects_held() -> int:
    """How many objects are in shared memory: those that the node knows, and those that only this process knows.

    Raises:
        AssertionError: skate does not run in this process.
    """
    runtime = _runtime()
    with runtime.lock:
        own = sum(block.mine and not block.held for block in runtime.memory.own.values())
    return int(runtime.ask("store")["objects"]) + own


def _runtime() -> ClientRuntime:
    from ..client import current

    if current.runtime is None:
        raise AssertionError("skate does not run in this process")
    return cast("ClientRuntime", current.runtime)


def _at_work(runtime: ClientRuntime) -> list[dict[str, Any]]:
    return [worker for worker in runtime.ask("workers") if worker["state"] != "idle"]


def _tasks(runtime: ClientRuntime) -> dict[str, str]:
    """The tasks and calls of this process that have not ended, by their ids: what they are called."""
    with runtime.lock:
        told = [runtime.telling.describe(task) for task in runtime.telling.unfinished()]
    return {task["task_id"]: task["name"] for task in told}


def _groups(runtime: ClientRuntime) -> dict[str, str]:
    """The placement groups of the cluster, by their ids: what they are called."""
    table = runtime.groups.table()
    return {group["placement_group_id"]: group["name"] for group in table if group["state"] != "REMOVED"}


def _busy(runtime: ClientRuntime, objects: int | None, before: Held | None) -> list[str]:
    from ..client.words import several

    gc.collect()
    stay = before or _NOTHING
    out = [f"task {name} ({ident})" for ident, name in _tasks(runtime).items() if ident not in stay.tasks]
    out += [f"placement group {name or ident}" for ident, name in _groups(runtime).items() if ident not in stay.groups]
    free = stay.available if before else runtime.cluster_resources()
    available = runtime.available_resources()
    if any(available.get(name, 0.0) < amount for name, amount in free.items()):
        out.append(f"resources in use: available {available} of {free}")
    actors = runtime.ask("actors")
    known = {actor["pid"] for actor in actors if actor["actor_id"] in stay.actors} | stay.workers
    out += [f"actor {actor}" for actor in actors if actor["actor_id"] not in stay.actors]
    out += [f"worker in use: {worker}" for worker in _at_work(runtime) if worker["pid"] not in known]
    if objects is not None and (count := objects_held()) > objects:
        out.append(f"{several(count, 'object')} in the store, {objects} before")
    return out


def assert_quiescent(objects: int | None = None, timeout_s: float = TIMEOUT_S, before: Held | None = None) -> None:
    """Wait until nothing runs and nothing is held, and let every state machine check itself.

    Args:
        objects: how many objects the store may hold; None is any number.
        timeout_s: seconds to wait.
        before: what is in use that may stay; None: there is nothing.

    Raises:
        AssertionError: something is in use still, or a state machine contradicts itself.
    """
    runtime = _runtime()
    _wait_empty(lambda: _busy(runtime, objects, before), timeout_s)
    assert runtime.ask("validate") is True
    with runtime.lock:
        runtime.tasks.submitter.validate()
