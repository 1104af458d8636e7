"""Actors that leave a node which is being drained: in the head's process, which decides where actors live.

An actor that may be restarted, and that another node could run, is moved. Its callers are told to hold their calls back; when
they have had time to hear so, the actor ends after what has been sent to it, and is started elsewhere. No call is lost by that,
and no restart is charged. What cannot be moved stays until it ends, or until the node does.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..head import policy
from ..head.actors import Actor, End, State
from ..wire.cluster import DRAINING
from ..wire.groups import group_of
from .actors import NODE_BITS

if TYPE_CHECKING:
    from .service import Node

LOOK_S = 0.1
HOLD_BACK_S = 1.0
"""Callers have heard that an actor is moved, and what they had sent before has arrived."""


class ActorMoves:
    """The actors on nodes that are being drained."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._ends_at: dict[bytes, float] = {}
        """When each actor that is moved is ended; infinite when it has been told so."""

    def _draining(self) -> set[int]:
        return {no for no, info in self.node.view.items() if info.state == DRAINING}

    def on_time(self, now: float) -> None:
        """Begin to move what can be moved, and end what callers have let go of."""
        draining = self._draining()
        if not draining:
            self._ends_at.clear()
            return
        actors = self.node.actors
        for key, actor in list(actors.table.by_worker.items()):
            if key >> NODE_BITS not in draining:
                continue
            if not actor.moving and self._may_move(actor):
                actors.apply(actors.table.move(actor.id))
                self._ends_at[actor.id] = now + HOLD_BACK_S
            elif actor.moving and now >= self._ends_at.setdefault(actor.id, now + HOLD_BACK_S):
                self._ends_at[actor.id] = math.inf
                actors.apply([End(actor, drain=True)])

    def _may_move(self, actor: Actor) -> bool:
        spec = actor.spec
        if actor.state is not State.ALIVE or not self.node.actors.table.may_restart(actor):
            return False
        if group_of(spec.placement)[0] or (spec.node_id and spec.node_id != policy.SPREAD and not spec.node_soft):
            return False
        return self.node.actors.has_place(actor)

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        return LOOK_S if self._draining() else None
