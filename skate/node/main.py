"""Start of the node process: arena, zygote, then the services.

The zygote is forked before the node opens anything, from the same warm interpreter: one start of Python serves both.
"""

from __future__ import annotations

import gc
import os
import resource
import shutil
import signal
import socket
import sys
from pathlib import Path

import msgspec

from ..store.arena import create
from ..wire.channel import Channel, pair
from ..worker.zygote import fork


class Settings(msgspec.Struct):
    """What the driver decides about its node."""

    total: dict[str, float]
    arena_bytes: int
    session_dir: str


def main() -> None:
    """Run the node until its drivers have gone."""
    fd = int(sys.argv[1])
    settings = msgspec.json.decode(sys.argv[2], type=Settings)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    driver = socket.socket(fileno=fd)
    arena_fd = create(settings.arena_bytes)
    mine, theirs = pair()
    os.set_inheritable(fd, False)
    pid = fork(theirs, mine, arena_fd)
    theirs.close()
    _allow_files()
    gc.collect()
    gc.freeze()
    from .service import Node

    session = Path(settings.session_dir)
    node = Node(settings.total, arena_fd, settings.arena_bytes, session, Channel(mine))
    signal.signal(signal.SIGTERM, _stop)
    clean = False
    try:
        node.add_client(driver)
        node.run()
        clean = not node.failed
    except SystemExit:
        clean = True
    finally:
        node.close()
        os.waitpid(pid, 0)
        if clean:  # otherwise the log stays, for as long as the driver lives
            shutil.rmtree(session, ignore_errors=True)


def _allow_files() -> None:
    """Each worker, and each channel to an actor that has no process yet, is a descriptor here: the usual 1024 are few."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _stop(*_: object) -> None:
    """A flag would not be looked at before something happens: `epoll.poll` goes on after a signal."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit
