"""What a process says of tasks and calls that have ended, in bulk, and how it is written down.

Work goes from caller to worker in one hop, so only the caller knows a task's whole life. There may be 100,000 a second: so the
caller keeps one *packet* for each answer of a worker, or for a millisecond of calls one at a time, and sends many of them as one
*chunk*; its node writes that into one row of its history. A packet is a list, to be read by the names below:

    [function, worker, ended, each_us, seq, count, submitted]
    [function, worker, ended, each_us, seq, count, submitted, state, attempt, parent, error type, error]

`function` and `worker` are places in the lists of the chunk. Times are seconds since 1970. The tasks of a packet have the numbers
from `seq` on, were submitted within `SAME_S` from `submitted` on, and ran one after the other, the last until `ended`; each
took `each_us` microseconds on average; -1: that is not known. (There may have been pauses between them, together shorter
than twice `SAME_S`.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

FINISHED = "FINISHED"
FAILED = "FAILED"
NORMAL = "NORMAL_TASK"
CALL = "ACTOR_TASK"
PROGRAM_ENDED = "NotRunningError", "its program ended before it had"
"""Type and text of the error of a task that had not ended when its program did."""

EVENTS_AT_ONCE = 1000
"""So many events a history tells at once."""
SAME_S = 0.001
"""Tasks whose submissions differ by less are said to be submitted at the same time."""
FUNCTION, WORKER, ENDED, EACH_US, SEQ, COUNT, SUBMITTED, STATE, ATTEMPT, PARENT, ERROR_TYPE, ERROR = range(12)
"""Where things are in a packet."""


class Recorded(Struct, array_like=True, tag=72):
    """To the own node: a chunk."""

    first: float
    """When the first of its tasks ended, and the last."""
    last: float
    finished: int
    failed: int
    counts: dict[str, list[int]]
    """By name: how many have finished, and failed."""
    functions: list[tuple[str, str, str]]
    """(name, `NORMAL` or `CALL`, the actor's id)."""
    workers: list[tuple[int, int]]
    """(number of the node, pid); (0, 0): no worker has had the task."""
    packets: bytes
    """JSON."""


class Chunk(Struct):
    """A chunk as it was written."""

    id: int
    job: str
    client: str
    """Who has submitted these tasks: the first half of their ids."""
    pid: int
    functions: list[tuple[str, str, str]]
    workers: list[tuple[int, int]]
    packets: bytes


OF_PACKET = frozenset(
    (
        "name",
        "state",
        "type",
        "job_id",
        "attempt_number",
        "actor_id",
        "parent_task_id",
        "node_no",
        "worker_pid",
        "error_type",
        "error_message",
    )
)
"""What all tasks of a packet have in common."""
_decode = msgspec.json.Decoder(list[list[Any]]).decode


def tasks_of(
    chunk: Chunk, keep: Callable[[dict[str, Any]], bool] | None = None, only: int | None = None
) -> Iterator[dict[str, Any]]:
    """The tasks of a chunk, as plain data, the last that has ended first.

    Args:
        chunk: what was written.
        keep: called with what all tasks of a packet have in common, `OF_PACKET`; if false, they are left out.
        only: only the packets with this task.
    """
    for packet in reversed(_decode(chunk.packets)):
        seq, count = packet[SEQ], packet[COUNT]
        if only is not None and not seq <= only < seq + count:
            continue
        name, kind, actor = chunk.functions[packet[FUNCTION]]
        node, pid = chunk.workers[packet[WORKER]]
        state, attempt, parent, error_type, error = packet[STATE:] or (FINISHED, 0, "", "", "")
        common = {
            "name": name,
            "state": state,
            "type": kind,
            "job_id": chunk.job,
            "attempt_number": attempt,
            "actor_id": actor,
            "parent_task_id": parent,
            "node_no": node,
            "worker_pid": pid,
            "error_type": error_type,
            "error_message": error,
        }
        if keep is not None and not keep(common):
            continue
        ended, each, submitted = packet[ENDED], packet[EACH_US] / 1e6, packet[SUBMITTED] or None
        for back in range(count):
            end = ended - back * each if each > 0 else ended
            yield {
                "task_id": f"{chunk.client}{seq + count - 1 - back:016x}",
                **common,
                "creation_time": submitted,
                "start_time": end - each if each >= 0 else None,
                "end_time": end,
            }
