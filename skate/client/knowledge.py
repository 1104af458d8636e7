"""What a process answers when it is asked why something of it is not done, and what it is doing.

It knows the tasks that it has submitted, and where each of them is; and, for each thread of a worker, what that waits for.
"""

from __future__ import annotations

import heapq
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

from ..wire.reasons import HOLDERS_MAX, Doing, Known, told
from .reasons import WAITS_MAX, why_ref, why_task
from .refs import REMOTE, VALUE, ObjectRef
from .sites import of_block
from .submitter import TaskRecord

if TYPE_CHECKING:
    from .runtime import ClientRuntime
    from .telling import Telling
    from .waiting import Wait

FRAMES_MAX = 100


def _describe(wait: Wait, doing: Doing) -> None:
    """Say what is waited for."""
    pending = [ref for ref in wait.waiter.refs if type(ref) is ObjectRef and ref._state < VALUE]
    doing.waits = [ref.hex() for ref in pending[:WAITS_MAX]]
    left = wait.waiter.left
    doing.enough = left if left < len(pending) else 0
    doing.gives_up = wait.gives_up


class Knowledge:
    """The answers of one client. Everything here needs the lock."""

    def __init__(self, runtime: ClientRuntime, telling: Telling) -> None:
        self.runtime = runtime
        telling.questions |= {
            "why": self._why,
            "runs": self._runs,
            "doing": self._doing,
            "stack": self._stack,
            "blocks": self._blocks,
        }

    # ------------------------------------------------------------ why

    def _why(self, argument: dict[str, Any]) -> Any:
        """`{"id": of a task, or of an object that was made here}`; None when it is not known."""
        ident = bytes.fromhex(str(argument["id"]))
        task = self._find(ident)
        if task is not None:
            return told(why_task(self.runtime, task))
        ref = self.runtime.objects.known.get(ident)
        if ref is not None and ref._state != REMOTE:
            return told(why_ref(self.runtime, ref))
        death = self.runtime.tasks.retries.deaths.get(ident.hex())
        return None if death is None else told(Known(death, done=True))

    def _find(self, ident: bytes) -> TaskRecord | None:
        """The task with this id, or that makes the object with this id, if it has not ended."""
        runtime = self.runtime
        if ident[:8] != runtime.client_id:
            return None
        seq = int.from_bytes(ident[8:], "big")
        places = [runtime.tasks.awaiting]
        places += [worker.inflight for worker in runtime.tasks.submitter.workers.values()]
        places += [actor.inflight for actor in runtime.actors.by_id.values()]
        for place in places:
            if seq in place:
                return place[seq]
        for task in runtime.telling.unfinished():
            made = task.ref if type(task.ref) is list else (task.ref,)
            if task.seq == seq or any(ref is not None and ref._id in (seq, ident) for ref in made):
                return task
        return None

    # ------------------------------------------------------------ what runs

    def _runs(self, argument: dict[str, Any]) -> dict[str, str]:
        """`{"node", "pids"}`: what these workers of a node run of the tasks of this process, or actors of what it
        has called first: names, by process."""
        node, pids = int(argument["node"]), set(argument["pids"])
        found = {}
        for worker in self.runtime.tasks.submitter.workers.values():
            if worker.pid in pids and (worker.node or self.runtime.node_no) == node and worker.inflight:
                task = next(iter(worker.inflight.values()))
                found[str(worker.pid)] = f"{task.function.options.name} {self.runtime.task_id_of_seq(task.seq)}"
            if len(found) >= HOLDERS_MAX:
                break
        for actor in self.runtime.actors.by_id.values():
            if actor.pid in pids and (actor.node or self.runtime.node_no) == node and actor.inflight:
                call = next(iter(actor.inflight.values()))
                found[str(actor.pid)] = (
                    f"{actor.class_name}.{call.function.options.name} {self.runtime.task_id_of_seq(call.seq)}"
                )
        return found

    def _doing(self, argument: dict[str, Any]) -> dict[str, Any]:
        """`{"first": id?, "limit": n?}`: what runs in this process, this task before others, and what it waits for."""
        doings = self.runtime.running_now()
        doings.sort(key=lambda doing: doing.task_id != argument.get("first"))
        waits = {wait.task: wait for wait in list(self.runtime.waits.now.values()) if wait.task is not None}
        for doing in doings:
            ident = bytes.fromhex(doing.task_id)
            wait = waits.get((ident[:8], int.from_bytes(ident[8:], "big")))
            if wait is not None:
                _describe(wait, doing)
        return {"running": [told(doing) for doing in doings[: argument.get("limit", WAITS_MAX)]], "count": len(doings)}

    # ------------------------------------------------------------ memory

    def _blocks(self, argument: dict[str, Any]) -> dict[str, Any]:
        """`{"limit": n}`: what this process has in shared memory that its node does not know of: the largest."""
        blocks = [block for block in self.runtime.memory.own.values() if block.mine and not block.held]
        largest = heapq.nlargest(int(argument["limit"]), blocks, key=lambda block: block.size)
        rows = [
            {"object_id": each.id.hex(), "object_size": each.size, "call_site": of_block(each.made)} for each in largest
        ]
        return {"count": len(blocks), "objects": rows}

    # ------------------------------------------------------------ stacks

    def _stack(self, _: Any) -> list[dict[str, Any]]:
        """What each thread of this process does: its name, and its frames, the innermost first."""
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        own = threading.get_ident()
        found = []
        for ident, frame in sys._current_frames().items():
            frames = traceback.extract_stack(frame, FRAMES_MAX)
            if ident == own:  # how this was asked is nobody's concern
                cut = next(
                    (at for at, each in enumerate(frames) if each.filename.endswith("skate/client/pump.py")), None
                )
                frames = traceback.StackSummary.from_list(frames[: cut or len(frames)])
            lines = [[each.filename, each.lineno or 0, each.name, each.line or ""] for each in reversed(frames)]
            found.append({"thread": names.get(ident, str(ident)), "frames": lines})
            del (
                frame
            )  # it may be this one: in a circle, all that its callers have would stay until someone collects that
        return sorted(found, key=lambda thread: thread["thread"] != "MainThread")
