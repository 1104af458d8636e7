"""A driver or a worker, as the node sees it: its channel, and what the node remembers about it."""

from __future__ import annotations

import os
from typing import Any

from ..wire import messages as m


class Client:
    """A driver or a worker, as the node sees it."""

    __slots__ = (
        "asked_back",
        "asked_for_memory",
        "began",
        "channel",
        "crew",
        "deaf",
        "far",
        "hello",
        "id",
        "job",
        "leaving",
        "log_to_driver",
        "pid",
        "serving",
        "shapes",
        "since",
        "talks",
        "told_end",
        "waits",
        "worker",
    )  # fmt: skip

    def __init__(self, channel: Any, worker: int) -> None:
        """`channel`: a `Channel`, or the `StreamChannel` of a client of another node."""
        self.channel = channel
        self.worker = worker
        self.id = os.urandom(8)
        self.job = ""
        self.crew = ""
        """Of a worker: whom it is for."""
        self.pid = 0
        self.hello: m.Hello | None = None
        self.log_to_driver = False
        self.leaving: m.Leaving | None = None
        self.serving: dict[bytes, int] = {}
        """Callers whose channel this worker still reads."""
        self.shapes: dict[int, dict[str, int]] = {}
        self.since = 0.0
        self.asked_for_memory = False
        self.asked_back = -1.0
        """When it was last asked for its idle workers."""
        self.talks = False
        """A worker that reads messages while it works."""
        self.told_end = False
        """A worker that has said what has become of the tasks that it has started, as its program ends."""
        self.waits = False
        """A worker that waits for something."""
        self.began = False
        """A worker has said that it is ready."""
        self.far = False
        """It is a client of another node first, and connected over TCP."""
        self.deaf = ""
        """Why nothing is sent to this client any more: it is about to be ended."""
