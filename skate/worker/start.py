"""The life of a worker from the fork on, up to its main loop."""

from __future__ import annotations

import os
import signal
import socket
import sys
from functools import partial
from typing import TYPE_CHECKING

from ..client import current
from ..client.metering import PROCESS
from ..client.runtime import ClientRuntime
from ..store.arena import Arena
from ..wire import messages as m
from ..wire.channel import Channel, wait_readable
from . import farewell
from .output import LineWriter, whose
from .process import Worker

if TYPE_CHECKING:
    from .environment import Place


def build(channel: Channel, begin: m.Begin, arena_fd: int) -> Worker:
    """A worker and its runtime."""
    arena = Arena(arena_fd, begin.welcome.arena_bytes)
    PROCESS.forget()
    return Worker(ClientRuntime(channel, begin.welcome, arena, begin.namespace, False), begin)


def run(sock: socket.socket, arena_fd: int, place: Place | None = None) -> None:
    """The life of a worker, from the fork on; `place` is the environment that it was forked in, if there is one."""
    channel = Channel(sock)
    while (received := channel.receive()) is None:
        wait_readable(channel.fd)
    begin = m.decode_from_node(received[0])
    if type(begin) is not m.Begin:
        raise RuntimeError(f"expected Begin, got {type(begin).__name__}")
    if place is not None:
        place.enter(begin)
    sys.path[:] = begin.sys_path
    try:
        os.chdir(begin.cwd)
    except OSError as error:
        print(f"cannot use the driver's working directory {begin.cwd}: {error}", file=sys.stderr)
    worker = build(channel, begin, arena_fd)
    runtime = worker.runtime
    runtime.environment = (begin.sys_path, begin.cwd, begin.alias_ray, begin.main_path)
    sys.stdout = LineWriter(1, partial(whose, worker))
    sys.stderr = LineWriter(2, partial(whose, worker))
    signal.signal(signal.SIGINT, worker.on_interrupt)
    farewell.listen(worker)
    current.set_runtime(runtime)
    if begin.alias_ray:
        from ..api.alias import install_as_ray

        install_as_ray()
    if place is not None:
        runtime.environments.own = place.text
        _call_hook(runtime, place)
    with runtime.lock:
        runtime.send(m.Ready())
    os.register_at_fork(after_in_child=lambda: _forked(runtime))
    worker.run()


def _call_hook(runtime: ClientRuntime, place: Place) -> None:
    """If it fails, so does the worker."""
    try:
        place.call_hook()
    except BaseException as error:
        with runtime.lock:
            reason = f"its worker_process_setup_hook raised {type(error).__name__}: {error}"
            runtime.send(m.Leaving(reason, intended=False))
        raise


def _forked(runtime: ClientRuntime) -> None:
    runtime.leave_to_parent("this process was forked from a skate worker: it cannot use the worker's skate")
    current.set_runtime(None)
