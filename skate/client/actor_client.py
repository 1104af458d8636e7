"""One actor as a process that calls it sees it: its channel, its calls, and what is known of its state.

INV-1: a call is in `queue` (not sent) or in `inflight` (sent, unanswered), never in both.
INV-2: `inflight` is in the order of sending.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from ..wire import messages as m
from .pipe import FarPipe, Pipe
from .specs import MethodOptions, value_of
from .submitter import TaskRecord

METHODS_MAX = 256
"""Methods with their options that are remembered per actor; one that comes again after that gets a new number."""
ACTOR_PENDING = "pending"
ACTOR_ALIVE = "alive"
ACTOR_MOVING = "moving"
"""Its node is drained: what was sent will be answered, and what comes waits for the next process."""
ACTOR_RESTARTING = "restarting"
ACTOR_DEAD = "dead"
ACTOR_KILLED = "killed"
"""This process has asked to kill it: later calls wait for what the node says of that."""


class Method:
    """A method of one actor as a caller knows it; stands where a task has its function."""

    __slots__ = ("no", "options")

    def __init__(self, no: int, options: MethodOptions) -> None:
        self.no = no
        self.options = options


class ActorClient:
    """One actor as this process sees it."""

    __slots__ = (
        "_by_value",
        "_last_no",
        "channel",
        "class_name",
        "creating",
        "death",
        "defined",
        "doubtful",
        "error",
        "fresh",
        "id",
        "inflight",
        "max_pending",
        "methods",
        "node",
        "pid",
        "placement",
        "queue",
        "restarts",
        "state",
        "trouble",
        "trouble_since",
    )

    def __init__(self, ident: bytes, class_name: str, max_pending: int) -> None:
        self.id = ident
        self.class_name = class_name
        self.max_pending = max_pending
        self.channel: Pipe | FarPipe | None = None
        self.queue: deque[TaskRecord] = deque()
        self.inflight: dict[int, TaskRecord] = {}
        self.doubtful: set[int] = set()
        """Calls in flight whose connection has ended, and that are not made again: they fail when it is known what has become of
        the actor."""
        self.methods: dict[Any, Method] = {}
        """By the identity of their options, which is quick to find. Equal options are one method by `_by_value`."""
        self._by_value: dict[Any, Method] = {}
        self._last_no = 0
        self.defined: dict[int, None] = {}
        self.state = ACTOR_PENDING
        self.restarts = 0
        self.pid = 0
        self.node = 0
        """The node that it lives on, by number, in a cluster."""
        self.error = b""
        self.death: m.Death | None = None
        self.creating: Any = None
        self.fresh = False
        """Its first word from the node says which incarnation the channel leads to."""
        self.placement: dict[str, float] | None = None
        self.trouble = ""
        """Why there is no connection to it, though it lives; and since when one is wanted."""
        self.trouble_since = 0.0

    def method(self, options: MethodOptions) -> Method:
        """The method with these options, on their first use here."""
        self.class_name = self.class_name or options.class_name
        key = value_of(options)
        method = self._by_value.get(key)
        if method is None:
            self._last_no += 1
            method = self._by_value[key] = Method(self._last_no, options)
            if len(self._by_value) > METHODS_MAX:
                del self._by_value[next(iter(self._by_value))]
        if len(self.methods) >= METHODS_MAX:
            self.methods.clear()
        self.methods[options] = method
        return method
