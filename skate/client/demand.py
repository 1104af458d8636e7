"""What one client asks of nodes: how many workers it could use of each.

The own node is told what it could give itself. It answers with workers, and says which other nodes have room; those are then
asked directly. Each node is told what is busy there and, for each task that waits, one more: so more may be given than is needed
when several nodes come free at once, but no task waits while one has room.

INV-1: `shape.told` has what each node was told last, and no zeros.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..exceptions import TaskUnschedulableError
from ..wire import messages as m
from .specs import SPREAD

if TYPE_CHECKING:
    from .submitter import Shape
    from .tasks import Tasks


class Demand:
    """The demand of one client's tasks."""

    def __init__(self, tasks: Tasks) -> None:
        self.tasks = tasks
        self.runtime = tasks.runtime
        self.submitter = tasks.submitter

    def ask(self, shape: Shape) -> None:
        """Tell the node how many workers this shape could use, when that has changed enough."""
        again = self.submitter.grows_again(shape)
        wants = self.submitter.demand(shape)
        if wants or again:
            elsewhere = shape.patient  # what is idle on other nodes is not in its way
            for worker in self.submitter.returnable(0.0, -1.0):
                if worker.shape is not shape and not (elsewhere and worker.node != shape.prefers):
                    self.tasks.give_back(worker)  # an idle worker must not hold the CPU that this shape waits for
        if wants is not None:
            self._tell(shape)

    def _tell(self, shape: Shape) -> None:
        """Tell the own node what it could give now, and the others if it is less than they were told.

        Then the own node says anew where else there is room: it must hear of all that others are asked for no more.
        """
        self._want(shape, 0, shape.wants() if shape.node_id == SPREAD else shape.wants_of(0))
        for number, told in list(shape.told.items()):
            if number and (wants := shape.wants_of(number)) < told:
                self._want(shape, number, wants)
        if shape.prefers:
            self.tasks.locality.asked(shape, time.monotonic())

    def _want(self, shape: Shape, number: int, count: int) -> None:
        if count:
            shape.told[number] = count
        else:
            shape.told.pop(number, None)
        wanted = m.WantWorkers(shape.no, count, shape.resources, self.tasks.depth, shape.node_id, shape.node_soft)
        wanted.env = shape.env
        wanted.prefers = shape.prefers if shape.patient else 0
        self.runtime.links.to(number).send(wanted)

    def elsewhere(self, message: m.Elsewhere) -> None:
        """The own node says that another has room."""
        if self.submitter.patient:
            self._be_prompt()
        shape = self.submitter.by_no[message.shape]
        level = self.submitter.offered(shape, message.node, message.count, message.share)
        if level is not None:
            self._want(shape, message.node, level)
        if message.node == shape.prefers and not message.count:
            self.tasks.locality.full(shape, time.monotonic())
        waiting = len(shape.queue) - sum(of is shape for of in self.submitter.coming.values())
        if waiting < max(message.count, 1) and shape.node_id != SPREAD and shape.told.get(0, 0) != shape.wants_of(0):
            self.tell(shape)  # it believes that more waits than does

    def _be_prompt(self) -> None:
        """There are other nodes, and they hear of what is wanted through the own one: it is told of each change from now on."""
        self.submitter.patient = False
        for shape in self.submitter.by_no:
            if self.submitter.is_less(shape, shape.wants()):
                self.tell(shape)

    def unschedulable(self, message: m.Unschedulable) -> None:
        """The own node says that tasks of a shape cannot run any more."""
        shape = self.submitter.by_no[message.shape]
        self.tasks.fail_shape(shape, TaskUnschedulableError(message.reason))

    def fell(self, shape: Shape) -> None:
        """Tasks have left the queue for good: tell the nodes at once if much less is wanted. Needs the lock."""
        if self.submitter.is_less(shape, shape.wants()):
            self.tell(shape)

    def tell(self, shape: Shape) -> None:
        """Tell the nodes how many workers this shape can use now. Needs the lock."""
        shape.asked = shape.wants()
        self.submitter.lessened.pop(shape, None)
        self._tell(shape)
