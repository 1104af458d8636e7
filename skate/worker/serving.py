"""The channels on which tasks and calls arrive: from the node's word that somebody comes, to the caller that is served."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

from ..wire import messages as m
from ..wire.channel import Channel
from ..wire.stream import StreamChannel
from .execute import Caller

if TYPE_CHECKING:
    from .process import Worker


def serve(worker: Worker, message: m.Serve, fd: int) -> None:
    """A caller comes: from this node at once, from another when TLS, if the cluster has it, is there. Needs the lock."""
    sock = socket.socket(fileno=fd)
    if worker.actor is None and worker.becoming is None:
        worker.runtime.tasks.depth = message.depth + 1
        worker.set_gpus(message.gpus or [])
    if not message.stream:
        _add(worker, Caller(message.caller, Channel(sock), message.depth))
        return

    def secured(sock: socket.socket | None, rest: bytes, error: str) -> None:
        if sock is None:
            print(f"a caller on another node was refused: {error}", file=sys.stderr, flush=True)
            worker.runtime.send(m.CallerGone(message.caller))
        else:
            _add(worker, Caller(message.caller, StreamChannel(sock, rest), message.depth))

    worker.runtime.securing.begin(sock, message.rest, True, secured)


def _add(worker: Worker, caller: Caller) -> None:
    worker.callers[caller.channel.fd] = caller
    if caller.far is not None and worker.actor is None and worker.becoming is None:
        worker.runtime.pump.start_thread()  # it cannot take back what waits behind a long task
    if worker.actor is not None and worker.actor.takes_over:
        worker.actor.add_caller(caller)
    else:
        worker.watch(caller)
