"""A stream with back-pressure waits for its consumer.

Meanwhile its CPU may be lent, which its options say: but not for the moment that a consumer takes who is there, as the node would
find work, and perhaps start a worker, for a CPU that is wanted back at once.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..client.waiting import BLOCK_AFTER_S
from ..wire import messages as m
from ..wire.channel import wait_readable

if TYPE_CHECKING:
    from .execute import Caller
    from .process import Worker

LOOK_S = 1.0
"""How long it waits for a message before it looks around."""
FOREVER_S = 1e9
_clock = time.perf_counter


def wait_for_credit(worker: Worker, caller: Caller, seq: int, taken: int, lends: bool) -> None:
    """Wait until the consumer of a stream has taken so many items; ends the stream when the consumer is gone."""
    worker.give_back_pending()
    wait = _wait_for_note if worker.actor is not None and worker.actor.is_threaded else _wait
    if not lends:
        wait(worker, caller, seq, taken, _clock() + FOREVER_S)
    elif not wait(worker, caller, seq, taken, _clock() + BLOCK_AFTER_S):
        with worker.runtime.waits.lending():
            wait(worker, caller, seq, taken, _clock() + FOREVER_S)


def _wait(worker: Worker, caller: Caller, seq: int, taken: int, until: float) -> bool:
    """Read what the caller sends until that is the case; False if it is not at a time of the clock."""
    while caller.credits.get(seq, 0) < taken:
        left = min(LOOK_S, until - _clock())
        if left <= 0:
            return False
        if not caller.channel.more and not wait_readable(caller.channel.fd, left):
            worker.runtime.pump.try_turn()  # an interrupt may have come where it could not be raised, or before its message
            if worker.was_cancelled_seq(caller, seq):
                raise KeyboardInterrupt
        raw = worker._receive(caller)
        if raw is None:
            continue
        message = m.decode_batch(raw)
        if type(message) is not m.Batch:
            worker.note(caller, message)
            if worker.was_cancelled_seq(caller, seq):
                raise KeyboardInterrupt
        elif worker.actor is None:
            for definition in message.definitions or ():
                worker._define(caller, definition)
            with worker.out_lock:
                caller.replies.extend(m.Reply(task.seq, m.NOT_STARTED) for task in message.tasks)
                worker._flush_locked(caller)
        else:
            for definition in message.definitions or ():
                worker._define(caller, definition)
            worker.pending.extend((caller, task) for task in message.tasks)
    return True


def _wait_for_note(worker: Worker, caller: Caller, seq: int, taken: int, until: float) -> bool:
    """As `_wait`, in a thread: the main thread reads."""
    with worker.noted:
        while caller.credits.get(seq, 0) < taken:
            if worker.was_cancelled_seq(caller, seq) or caller.channel.closed:
                raise KeyboardInterrupt
            left = min(LOOK_S, until - _clock())
            if left <= 0:
                return False
            worker.noted.wait(left)
    return True
