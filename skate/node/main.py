"""Start of the node process: arena, zygote, then the services.

The zygote is forked before the node opens anything, from the same warm interpreter: one start of Python serves both. Garbage is
not collected before: imports make none. A head is another process, which starts meanwhile.

A node that its cluster has given up ends with all that is on it, and then becomes another: the process executes itself anew, with
the same settings, folder and port, and joins under a new number. Whoever has its pid can still stop it.
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
from typing import TYPE_CHECKING

import msgspec

from ..store.arena import create
from ..wire.channel import Channel, pair
from ..wire.config import SystemConfig
from .membership import Membership

if TYPE_CHECKING:
    from .head_spawn import Spawned
    from .service import Node

WARM_AFTER_S = 0.1
WARM_LATER_S = 1.0
"""When the zygote imports what only later workers need, if nothing else is to be done. Drivers come to a standalone node later,
and other nodes are perhaps being started on its machine."""


class Settings(msgspec.Struct):
    """What whoever starts a node decides about it."""

    total: dict[str, float]
    arena_bytes: int
    session_dir: str
    system: SystemConfig = msgspec.field(default_factory=SystemConfig)
    membership: Membership | None = None
    """Of a standalone node."""
    labels: dict[str, str] = {}
    """Of one that is in no cluster."""
    metrics_port: int = 0
    """Of one that is in no cluster: the port on loopback for its metrics; 0: none."""


def main() -> None:
    """Run the node: until its drivers have gone, or (standalone) until it is told to end.

    The first argument is a descriptor: the channel of the driver, or for a standalone node a socket that its settings come
    from, with a secret among them, and that hears when it is ready.
    """
    gc.disable()
    fd = int(sys.argv[1])
    driver = socket.socket(fileno=fd)
    text: str | bytes = sys.argv[2]
    if text == "-":
        text = driver.makefile("rb").readline()
    settings = msgspec.json.decode(text, type=Settings)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    head = _spawn_head(settings.membership)
    from ..worker.zygote import fork

    arena_fd = create(settings.arena_bytes)
    stacks_fd = os.memfd_create("skate-stacks")
    mine, theirs = pair()
    os.set_inheritable(fd, False)
    if settings.membership is not None and settings.membership.tls is not None:
        from ..wire import tls_socket as tls_socket  # once, for all workers
    not_its = [mine] if head is None else [mine, head.sock]
    pid = fork(theirs, not_its, arena_fd, stacks_fd, WARM_AFTER_S if settings.membership is None else WARM_LATER_S)
    theirs.close()
    _allow_files()
    from .listening import open_door
    from .service import Node
    from .stacks import Stacks

    gc.freeze()
    gc.enable()
    session = Path(settings.session_dir)
    node = Node(settings.total, arena_fd, settings.arena_bytes, session, Channel(mine), settings.system)
    node.labels.update(settings.labels)
    node.stacks = Stacks(node, stacks_fd)
    signal.signal(signal.SIGTERM, _stop)
    clean = False
    try:
        if settings.membership is None:
            if settings.metrics_port:
                _serve_metrics(node, settings.metrics_port)
            node.add_client(driver)
            open_door(node)
        elif not _join(node, settings.membership, driver, head):
            return
        node.run()
        clean = not node.failed and not node.again
    except SystemExit:
        clean = True
    finally:
        _leave(node)
        node.close()
        os.waitpid(pid, 0)
        if clean:  # otherwise the log stays, for as long as the driver lives
            shutil.rmtree(session, ignore_errors=True)
    if node.again:
        _become_another(node, settings)


def _serve_metrics(node: Node, port: int) -> None:
    from .exporter import Exporter

    Exporter(node).listen("127.0.0.1", port)


def _spawn_head(membership: Membership | None) -> Spawned | None:
    if membership is None or not membership.is_head:
        return None
    from .head_spawn import Spawned

    return Spawned()


def _join(node: Node, membership: Membership, starter: socket.socket, head: Spawned | None) -> bool:
    """Become a member of the cluster, and tell whoever has started this node; False if that fails."""
    from .join import serve_cluster

    try:
        serve_cluster(node, membership, head)
    except (OSError, ConnectionError) as error:
        if head is not None:  # perhaps it has not been told anything yet
            head.process.kill()
            head.process.wait()
        if membership.again:
            print(f"this machine could not join anew: {error}", file=sys.stderr, flush=True)
            return False
        starter.sendall(msgspec.json.encode({"error": str(error)}) + b"\n")
        return False
    assert node.cluster is not None
    info = node.cluster.info
    ready = {"node_id": info.id, "node_no": info.no, "name": info.name, "port": info.port}
    if membership.again:
        _say_who(node.session_dir, ready)
    else:
        starter.sendall(msgspec.json.encode(ready) + b"\n")
    starter.close()
    return True


def _become_another(node: Node, settings: Settings) -> None:
    """Join the cluster anew, as a new node. Does not return."""
    assert node.cluster is not None and settings.membership is not None
    membership = settings.membership
    membership.port, membership.again = node.cluster.info.port, True
    membership.head_host, membership.head_port = node.cluster.head
    (node.session_dir / "node.sock").unlink(missing_ok=True)
    mine, theirs = socket.socketpair()
    theirs.sendall(msgspec.json.encode(settings) + b"\n")
    os.set_inheritable(mine.fileno(), True)
    sys.stderr.flush()
    os.execv(sys.executable, [*sys.orig_argv[: -len(sys.argv) + 1], str(mine.fileno()), *sys.argv[2:]])


def _say_who(session: Path, ready: dict[str, object]) -> None:
    """Note in the session's folder which node is here now."""
    path, new = session / "node.json", session / "node.json.new"
    new.write_bytes(msgspec.json.encode({**msgspec.json.decode(path.read_bytes()), **ready}))
    new.chmod(0o600)
    new.replace(path)


def _leave(node: Node) -> None:
    if node.cluster is not None:
        node.cluster.leave()
    if node.gate is not None:
        node.gate.close()


def _allow_files() -> None:
    """Each worker, and each channel to an actor that has no process yet, is a descriptor here: the usual 1024 are few."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _stop(*_: object) -> None:
    """A flag would not be looked at before something happens: `epoll.poll` goes on after a signal."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit
