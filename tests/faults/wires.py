"""A head, a node and a client in this process, and the wires between them, on which a message can be lost or come twice.

They are the real classes, but for what starts processes: the zygote and its workers are played here, and so is the network. TCP
loses no single message: what is lost is a connection, just before a message or just after it and before its answer. Then
both ends see its end, connect anew, and tell each other how things stand.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

from skate.client.actor_client import ActorClient
from skate.client.groups import Groups
from skate.client.head_link import HeadLink
from skate.node.cluster import Cluster
from skate.node.head_process import HeadProcess
from skate.node.job_host import Running
from skate.node.resources import to_units
from skate.node.service import Node
from skate.store.arena import HEADER_BYTES, create
from skate.testing.simulation.stand_ins import MemoryStore
from skate.wire import cluster as c, forks, heads, messages as m
from skate.wire.channel import Channel, ChannelClosed, pair

ROOM = 1 << 20
CALM_STEPS = 4
SETTLE_S = 10.0
PERIODIC = (c.Beat, c.Report, c.View, c.Load)
"""What is said again and again, at times that depend on the clock: it is not counted."""
NEVER_TWICE = (m.Hold, m.Hello, c.Join)
"""What a connection never carries twice. A hold is a change; on a new connection its sum is told, to who forgot the old."""

BEFORE, AFTER, SILENT, TWICE = "cut before", "cut after", "cut before, and the head does not see it", "twice"


class Fault:
    """What happens to the message number `at`, counted over all wires; `TWICE` happens to all of them."""

    def __init__(self, kind: str = "", at: int = 0) -> None:
        self.kind = kind
        self.at = at
        self.seen: list[Any] = []
        self.done = False

    def of(self, message: Any) -> str:
        """What is to happen to this one."""
        if self.kind == TWICE:
            self.done = True
            return TWICE if not isinstance(message, NEVER_TWICE) else ""
        if isinstance(message, PERIODIC):
            return ""
        self.seen.append(message)
        if self.done or len(self.seen) <= self.at:
            return ""
        self.done = True
        return self.kind


class Wire:
    """One connection: two ends, and this in the middle."""

    def __init__(self, fault: Fault, up: Callable[[bytes], Any], down: Callable[[bytes], Any]) -> None:
        self.fault = fault
        self.low, self._low = socket.socketpair()
        self.high, self._high = socket.socketpair()
        self._ways = [(self._low, self._high, up, bytearray()), (self._high, self._low, down, bytearray())]
        for sock in (self._low, self._high):
            sock.setblocking(False)
        self.types: set[type] = set()

    def carry(self) -> bool:
        """Carry what there is; whether that was anything but what is said again and again."""
        busy = False
        for source, sink, decode, have in self._ways:
            try:
                while part := source.recv(1 << 20):
                    have += part
                if source.fileno() >= 0:
                    self.cut()  # an end was closed
                    return True
            except BlockingIOError:
                pass
            except OSError:
                return busy
            while len(have) >= 4 and len(have) >= 4 + (size := int.from_bytes(have[:4], "little")):
                frame = bytes(have[: 4 + size])
                del have[: 4 + size]
                message = decode(frame[4:])
                self.types.add(type(message))
                busy |= not isinstance(message, PERIODIC)
                what = self.fault.of(message)
                if what not in (BEFORE, SILENT):
                    sink.sendall(frame * (2 if what == TWICE else 1))
                if what in (BEFORE, AFTER, SILENT):
                    self.cut(what == SILENT)
                    return True
        return busy

    def cut(self, silently: bool = False) -> None:
        """Both ends see that it has ended, after what was sent to them; or only the low one."""
        self._low.close()
        if not silently:
            self._high.close()

    @property
    def open(self) -> bool:
        """Whether it is whole."""
        return self._low.fileno() >= 0


class Zygote:
    """Plays the zygote of a node, and its workers: each becomes the actor that it is told to be."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.workers: dict[int, Channel] = {}
        self.forks = True
        """Whether it can start workers."""
        self.reports = 0

    def serve(self) -> bool:
        """Do what the node wants; whether there was anything."""
        busy = False
        while (received := self.channel.receive()) is not None:
            busy = True
            message = forks.decode_to_zygote(received[0])
            if isinstance(message, forks.Kill):
                self.reap(message.pid, message.signal)
            elif self.forks:
                worker = self.workers[message.worker] = Channel(socket.socket(fileno=received[1][0]))
                self.channel.send(forks.encode(forks.Forked(message.worker, message.worker + 1000)))
                worker.send(m.encode(m.Ready()))
            else:
                os.close(received[1][0])
                self.channel.send(forks.encode(forks.Forked(message.worker, 0, "there is no room")))
        for number, worker in list(self.workers.items()):
            busy |= self._work(number, worker)
        return busy

    def _work(self, number: int, worker: Channel) -> bool:
        busy = False
        try:
            while number in self.workers and (received := worker.receive()) is not None:
                busy = True
                message = m.decode_from_node(received[0])
                if isinstance(message, m.BeActor):
                    worker.send(m.encode(m.ActorReady()))
                elif isinstance(message, m.Stop):
                    worker.send(m.encode(m.Leaving("its handles are gone")))
                    self.reap(number + 1000, 0)
        except ChannelClosed:
            self.workers.pop(number).close()
        return busy

    def reap(self, pid: int, status: int) -> None:
        """A worker has ended."""
        worker = self.workers.pop(pid - 1000, None)
        if worker is not None:
            worker.close()
            self.channel.send(forks.encode(forks.Reaped(pid - 1000, pid, status, 0)))


class Gate:
    """The gate of a node: who dials gets a wire, and there is no TLS."""

    tls = None

    def __init__(self, dial: Callable[..., None]) -> None:
        self.dial = dial

    def secure(self, sock: Any, rest: bytes, address: str, then: Any, dialled: bool = False) -> None:
        """As it is."""
        then(sock, rest, "")


class World:
    """The three, connected."""

    def __init__(self, folder: Path, fault: Fault) -> None:
        self.fault = Fault()
        self.reasons = True
        """Whether the reasons of deaths count."""
        self.wires: dict[str, Wire] = {}
        self._all: list[Wire] = []
        self.began: list[str] = []
        """Jobs, by the starts of their entrypoints."""
        self.types: set[type] = set()
        self._fds: list[int] = []
        self._ends: list[Channel] = []
        self.head = self._make_head(folder)
        self.node, self.cluster, self.zygote = self._make_node(folder)
        self.actors: dict[bytes, ActorClient] = {}
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._numbers = iter(range(1, 1 << 30))
        self.slots: list[Any] = []
        self.groups: dict[bytes, list[str]] = {}
        self.link = self._make_client()
        self.settle()
        self.fault = fault
        for wire in self.wires.values():
            wire.fault = fault

    # ------------------------------------------------------------ who is there

    def _channel(self) -> Channel:
        mine, theirs = pair()
        self._ends.append(Channel(theirs))
        return Channel(mine)

    def _make_head(self, folder: Path) -> HeadProcess:
        settings = heads.HeadSettings(str(folder), "", True, "token", "127.0.0.1", 1)
        head = HeadProcess(self._channel(), settings, MemoryStore())
        head.node.gate = Gate(self._knock)  # type: ignore[assignment]
        head.node.objects.recover_until = 0.0
        head.node.next_due = lambda: 0.0  # type: ignore[method-assign]
        return head

    def _knock(self, host: str, port: int, purpose: str, payload: bytes, then: Callable[..., None]) -> None:
        then(None, b"", "no handshake" if self.node.running else os.strerror(errno.ECONNREFUSED))

    def _make_node(self, folder: Path) -> tuple[Node, Cluster, Zygote]:
        (folder / "logs").mkdir()
        arena_fd = create(ROOM + HEADER_BYTES)
        self._fds.append(arena_fd)
        mine, theirs = pair()
        node = Node({"CPU": 4.0}, arena_fd, ROOM + HEADER_BYTES, folder, Channel(mine))
        node.next_due = lambda: 0.0  # type: ignore[method-assign]
        total = to_units({"CPU": 4.0})
        info = c.NodeInfo(0, node.node_id, "", "", "127.0.0.1", 1, total, dict(total), node.labels)
        cluster = node.cluster = Cluster(node, info, ("127.0.0.1", 1), 60.0)
        node.gate = Gate(self._dial)  # type: ignore[assignment]
        node.standalone = True
        node.jobs_here._begin = self._begin_job  # type: ignore[method-assign]
        joining = threading.Thread(target=cluster.join, args=(self.connect("node"), b""))
        joining.start()
        while joining.is_alive():
            self.head.node.round()
            self.wires["node"].carry()
        node.node_no = info.no
        node.directory.number = info.no.to_bytes(4, "big")
        node.parts.append(cluster)
        return node, cluster, Zygote(Channel(theirs))

    def _begin_job(self, job: Running) -> None:
        """In place of a process."""
        self.began.append(job.spec.id)
        job.now.pid, job.now.state = 7, "runs"
        self.node.jobs_here._tell(job)

    def _make_client(self) -> HeadLink:
        runtime: Any = MagicMock()
        runtime.closed = False
        runtime.client_id = self.cluster.info.no.to_bytes(4, "big") + b"abcd"
        runtime.namespace, runtime.log_to_driver, runtime.environment = "space", False, ([], "/", False, "")
        runtime.welcome.job, runtime.is_driver = "job1", True
        runtime.next_id = lambda: next(self._numbers)
        runtime.new_actor_id = lambda: b"\xff\xff\xff\xff" + bytes(11) + b"\x07"
        runtime.pump.add = self._handlers.__setitem__
        runtime.pump.remove = lambda fd: self._handlers.pop(fd, None)
        runtime.actors.by_id = self.actors
        runtime.actors.life.changed = self._changed
        runtime.groups = Groups(runtime)
        runtime.tasks.submitter.by_no = []
        runtime.links.dial = lambda number, purpose, payload, then: then(self.connect("client"), b"", "")
        inner = runtime.groups.changed

        def group_changed(message: m.GroupChanged) -> None:
            self.groups.setdefault(message.id, []).append(message.state)
            inner(message)

        runtime.groups.changed = group_changed
        link = HeadLink(runtime, c.HEAD)
        runtime.links.head = link
        link.handlers[m.Answer] = link.handlers[m.FoundActor] = link.answer
        self.runtime = runtime
        link.connected(self.connect("client"), b"", "")
        return link

    def _changed(self, message: m.ActorChanged) -> None:
        actor = self.actors[message.id]
        actor.state, actor.restarts, actor.death = message.state, message.restarts, message.death

    def connect(self, who: str) -> socket.socket:
        """A new wire from the node or the client to the head; its low end."""
        node = who == "node"
        old = self.wires.get(who)
        if old is not None:
            self.types |= old.types
        codec = (c.decode_to_head, c.decode_from_head) if node else (m.decode_to_node, m.decode_from_node)
        wire = self.wires[who] = Wire(self.fault, *codec)
        self._all.append(wire)
        accept = self.head.members.accept if node else self.head.node.abroad.on_client
        wire.high.setblocking(False)
        accept(who, b"", wire.high, b"", "")
        return wire.low

    def _dial(self, *to: Any) -> None:
        then = to[4]
        then(self.connect("node"), b"", "")

    # ------------------------------------------------------------ time

    def _step(self) -> bool:
        self.head.node.round()
        if self.node.running:
            self.node.round()
        busy = self.zygote.serve()
        for fd in [fd for fd in self._handlers if select.select([fd], [], [], 0)[0]]:
            busy = True
            self._handlers[fd](1)
        for wire in list(self.wires.values()):
            busy |= wire.carry()
        live = [("node", self.node.running), ("client", not self.runtime.closed)]
        return busy or not all(self.wires[who].open for who, lives in live if lives)

    def settle(self, grace: bool = False) -> None:
        """Go on until nobody has anything to say; then, if that is asked for, what nobody seems to hold is not spared longer."""
        if grace:
            self.settle()
            self.head.node.objects._grace = dict.fromkeys(self.head.node.objects._grace, 0.0)
        began = time.monotonic()
        calm = 0
        while calm < CALM_STEPS:
            calm = 0 if self._step() else calm + 1
            assert time.monotonic() - began < SETTLE_S, "they never stop talking"

    # ------------------------------------------------------------ what the client does

    def create(self, number: int, **options: Any) -> bytes:
        """Create an actor."""
        ident = b"\xff\xff\xff\xff" + number.to_bytes(12, "big")
        self.actors[ident] = ActorClient(ident, "Keeper", -1)
        name = options.pop("name", "")
        request = 0
        if name:
            slot = self.link.open_request()
            self.slots.append(slot)
            request = slot.number
        cpu = {"CPU": 1.0}
        fields: dict[str, Any] = {"max_restarts": 0, "placement": cpu, "resources": cpu, **options}
        spec = m.CreateActor(
            id=ident,
            definition=m.Definition(1, b"", None, "Keeper", 1),
            body=m.Value(m.INLINE),
            dependencies=None,
            meta=b"",
            name=name,
            namespace="space",
            class_name="Keeper",
            detached=False,
            max_concurrency=1,
            concurrency_groups={},
            is_async=False,
            get_if_exists=False,
            request=request,
            **fields,
        )
        self.link.send(spec)
        return ident

    def request(self, make: Callable[[int], Any]) -> None:
        """Ask something that has an answer."""
        slot = self.link.open_request()
        self.slots.append(slot)
        self.link.send(make(slot.number))

    def client_ends(self) -> None:
        """The client's process ends."""
        self.runtime.closed = True
        self.link.close()

    def silence(self) -> None:
        """Nothing was heard of any node for long."""
        members = self.head.members
        members.nodes.heard = dict.fromkeys(members.nodes.heard, 0.0)
        members._silent_at = 0.0

    def kill_worker(self) -> None:
        """A worker of the node dies."""
        number = next(iter(self.zygote.workers))
        self.zygote.reap(number + 1000, signal.SIGSEGV)

    # ------------------------------------------------------------ what is left

    def state(self) -> dict[str, Any]:
        """How things stand, as each of the three sees them."""
        table = self.head.node.actors.table
        table.validate()
        self.head.node.groups.table.validate()
        self.head.jobs.table.validate()
        entries = self.head.node.directory.entries
        return {
            "actors": {a.id[-1]: (a.state, a.restarts, bool(a.worker), self._why(a)) for a in table.by_id.values()},
            "names": {name: ident[-1] for name, ident in table.by_name.items()},
            "jobs": sorted(self.head.node.actors.jobs),
            "groups": {ident[-1]: (g.state, g.nodes) for ident, g in self.head.node.groups.table.by_id.items()},
            "held": {ident[-1]: entry.held for ident, entry in entries.items()},
            "hosted": {
                ident[-1]: (h.restarts, bool(h.worker), h.ready) for ident, h in self.node.actors.hosted.items()
            },
            "workers": len(self.zygote.workers),
            "bundles": {(g[-1], at): bool(b.names) for (g, at), b in self.node.scheduler.pool.bundles.items()},
            "free": self.node.scheduler.pool.free,
            "seen": {ident[-1]: (a.state, a.restarts, self._why(a)) for ident, a in self.actors.items()},
            "seen groups": {ident[-1]: states[-1] for ident, states in self.groups.items()},
            "answers": [_plain(slot.answer) for slot in self.slots],
            "submitted": {each: (j.status, j.node, j.pid) for each, j in self.head.jobs.table.by_id.items()},
            "jobs here": {each: job.now.state for each, job in self.node.jobs_here.by_id.items()},
            "began": sorted(self.began),
            "left": (len(self.link._created), len(self.link._requests), len(self.link._killed)),
            "running": self.node.running,
        }

    def _why(self, actor: Any) -> str:
        return actor.death.reason if actor.death is not None and self.reasons else ""

    def close(self) -> None:
        """Close everything."""
        self.runtime.closed = True
        self.link.close()
        for wire in self.wires.values():
            self.types |= wire.types
        for node in (self.head.node, self.node):
            for client in list(node.by_fd.values()):
                client.channel.close()
            node.close()
            node.epoll.close()
        for wire in self._all:
            wire.cut()
            wire.low.close()
            wire.high.close()
        for channel in (*self._ends, self.zygote.channel, *self.zygote.workers.values(), self.head._channel):
            channel.close()
        if self.cluster._channel is not None:
            self.cluster._channel.close()
        self.head._no_zygote.close()
        for fd in (*self._fds, self.head.node.arena_fd):
            os.close(fd)


def _plain(answer: Any) -> Any:
    if isinstance(answer, m.FoundActor):
        return answer.id[-1:], answer.error, answer.created
    return answer.value if answer is not None else None


Script = Callable[[World], Iterator[bool]]
