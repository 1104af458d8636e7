"""Tasks that were sent ahead to a worker whose task takes longer than was expected: they are taken back and queue again.

Short tasks travel in bulk, and what an idle worker finds unread in another's socket it takes (`Submitter.victim`). But while
nothing is queued nobody asks for more workers, so there may be no idle one though there is room; and tasks that wait for each
other would wait forever. Hence whoever waits looks every `LOOK_S`. What a worker has read already, and all that was sent to
one of another node, only it can give back: it is told by its node. Such a word may be lost, and is repeated.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..wire import messages as m
from .submitter import NUMBER_MASK

if TYPE_CHECKING:
    from .submitter import LeasedWorker
    from .tasks import Tasks

LOOK_S = 0.005
HELD_S = 0.01
"""A worker has not answered for so long: several times what it is sent ahead."""


class HoldUps:
    """Looks after the workers of one client that were sent work ahead."""

    def __init__(self, tasks: Tasks) -> None:
        self.tasks = tasks
        self.submitter = tasks.submitter
        self._look_at = 0.0

    def look(self) -> float | None:
        """Take back what is held up, if it is time to look; the seconds until the next look. Called without the lock."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            with self.tasks.runtime.lock:
                for worker in self.submitter.held_up(now, HELD_S):
                    self.take_back(worker)
                    if len(worker.inflight) > 1:
                        self.tasks.link_of(worker).send(m.HeldUp(worker.no & NUMBER_MASK))
                    self.tasks.fill(worker.shape)
        return self._look_at - now if self.submitter.ahead else None

    def take_back(self, worker: LeasedWorker) -> None:
        """What a worker has not read queues again, and it gets no more while it runs what it has. Needs the lock."""
        seqs = self.tasks.unread(worker, None)
        if seqs:
            self.submitter.took_back(worker, seqs)
        if worker.inflight:
            self.submitter.is_slow(worker)
        elif worker.draining:  # it had begun nothing: the queue, which it does not serve any more, may wait for its CPU
            self.tasks.give_back(worker)
