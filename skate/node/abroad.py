"""Clients of other nodes: they come over TCP, are served like those of this node, and get connections where those get pairs.

A client of another node is first a client there; here it asks for workers, holds objects, and calls actors. What it cannot have
is a descriptor or a view of the arena: a lease comes with a key, with which it dials the worker, and an object with its place,
from which its own node fetches the bytes.

Two nodes that both hear the head may not hear each other. Who cannot be reached gets no work from here for a while, so that it
goes to others.

INV-1: a key in `_keys` belongs to a lease that lives, and has not been used.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ..head import policy
from ..version import __version__
from ..wire import messages as m
from ..wire.cluster import ALIVE, AWAY, DEAD, DRAINING, HEAD, NodeInfo
from ..wire.stream import StreamChannel
from .client import Client

if TYPE_CHECKING:
    from .scheduler import Demand, Lease
    from .service import Node

KEY_BYTES = 16
CLIENT_BYTES = 8
AVOID_S = 5.0
"""How long a node that could not be reached is left alone, when others can do the work."""


class Abroad:
    """This node's business with clients of other nodes, and its own clients' with other nodes."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._keys: dict[bytes, tuple[bytes, Lease]] = {}
        self._told: dict[tuple[bytes, int], dict[int, policy.Place]] = {}
        """What a client of this node was last told of another: by client and shape, then by node. It is not told the same again
        before its demand or that node has changed."""
        self._old_heads: list[Client] = []
        """Heads whose connection has ended: what they hold is kept until the next has said what it holds."""
        self._directed: dict[tuple[bytes, int], tuple[int, int]] = {}
        """Demands, by client and shape, that are to be met on one node: its number, and how many workers are wanted."""
        self._shares: dict[tuple[bytes, int], tuple[int, dict[int, int]]] = {}
        """Of demands that are spread: whose turn was the first, and how many workers each node is to give."""
        self._doubted: dict[tuple[bytes, int], m.WantWorkers] = {}
        """Demands that nobody here could ever meet; the head is asked first."""
        self._turn = 0
        self._avoid: dict[int, float] = {}
        """Nodes that could not be reached, and until when nobody is sent there: the head may still hear them."""
        node.parts.append(self)

    # ------------------------------------------------------------ connections that come in

    def on_client(self, purpose: str, payload: bytes, sock: socket.socket, rest: bytes, address: str) -> None:
        """A client of another node connects."""
        node = self.node
        client = Client(StreamChannel(sock, rest), 0)
        client.far = True
        node.by_fd[client.channel.fd] = client
        node.epoll.register(client.channel.fd, select.EPOLLIN)
        if rest:
            node.read(client)

    def hello(self, client: Client, hello: m.Hello) -> None:
        """It says who it is."""
        node = self.node
        if hello.version != __version__ or len(hello.client) != CLIENT_BYTES:
            node.close_client(client)
            return
        old = node.clients.get(hello.client)
        if (
            old is not None and old is not client
        ):  # the end of its last connection is still on the way: what it had there ends all the same
            node.drop_channel(old)
            node.forget(old)
        client.id = hello.client
        client.hello = hello
        client.since = time.monotonic()
        client.pid = hello.pid
        client.job = hello.job
        client.log_to_driver = hello.log_to_driver and hello.is_driver
        node.clients[client.id] = client
        node.directory.gone.pop(client.id, None)  # it is connected anew: what it holds from now on counts
        if hello.job and (hello.is_driver or node.jobs.get(hello.job) in (None, old)):
            node.jobs[hello.job] = client
        if node.head is not None and hello.is_driver:
            node.head.driver_here(hello.job)

    def gone(self, client: Client) -> None:
        """Its connection has ended."""
        node = self.node
        if node.clients.get(client.id) is not client:
            return  # it is connected anew
        del node.clients[client.id]
        if int.from_bytes(client.id[:4], "big") == HEAD:
            self._old_heads.append(client)
            return
        if node.jobs.get(client.job) is client:
            del node.jobs[client.job]
            other = next((c for c in node.clients.values() if c.far and c.job == client.job), None)
            if other is not None:
                node.jobs[client.job] = other
        driver = client.hello is not None and client.hello.is_driver
        if driver and node.head is not None:
            node.head.driver_away(client.job)
        if client.job and (client.job not in node.jobs or driver):
            if driver:
                node.farewells.program_ended(client)
            node.end_job(client.job)
        node.forget(client)

    def head_is_back(self) -> None:
        """What a head that was killed had held here, the one that came after it has claimed by now, or does within the grace."""
        old, self._old_heads = self._old_heads, []
        for client in old:
            self.node.forget(client)

    def on_data(self, purpose: str, payload: bytes, sock: socket.socket, rest: bytes, address: str) -> None:
        """A caller dials a worker that was leased to it, or an actor."""
        found = self._keys.pop(payload, None)
        if found is not None:
            caller, lease = found
            worker = self.node.workers.get(lease.worker)
            if worker is None or self.node.scheduler.leases.get(lease.worker) is not lease:
                sock.close()
                return
            self._serve(worker, caller, sock, rest, lease)
        elif len(payload) == KEY_BYTES + CLIENT_BYTES:
            worker = self.node.actors.worker_of(payload[:KEY_BYTES])
            if worker is None:
                sock.close()
                return
            self._serve(worker, payload[KEY_BYTES:], sock, rest, None)
        else:
            sock.close()

    def _serve(self, worker: Client, caller: bytes, sock: socket.socket, rest: bytes, lease: Lease | None) -> None:
        worker.serving[caller] = worker.serving.get(caller, 0) + 1
        gpus, depth = (lease.gpus, lease.depth) if lease is not None else (None, 0)
        self.node.send(worker, m.Serve(caller, None, gpus, depth, True, rest), (sock.fileno(),))
        sock.close()

    def lease(self, client: Client, lease: Lease) -> None:
        """A worker was granted to a client of another node."""
        key = os.urandom(KEY_BYTES)
        self._keys[key] = (client.id, lease)
        worker = self.node.workers[lease.worker]
        self.node.send(client, m.Leased(lease.shape, lease.worker, worker.pid, key))

    def released(self, worker: int) -> None:
        """A lease has ended: what was to dial it is of no use any more."""
        for key in [key for key, (_, lease) in self._keys.items() if lease.worker == worker]:
            del self._keys[key]

    # ------------------------------------------------------------ connections that go out

    def on_dial(self, client: Client, message: m.Dial) -> None:
        """A client of this node wants a connection to another."""
        node = self.node
        if message.node == HEAD and node.cluster is not None:
            node.cluster.reach_head("head", message.payload, partial(self._dialed, client, message.request), True)
            return
        driver = node.jobs.get(client.job) if client.worker and message.purpose == "client" else None
        if driver is not None and driver.log_to_driver:
            node.send(driver, m.Reached(message.node))
        self.when_known(message.node, partial(self._dial, client, message))

    def when_known(self, number: int, then: Callable[[], None]) -> None:
        """Call `then()` when it is certain whether there is a node with this number: at once, if this one has heard of it."""
        node = self.node
        if node.cluster is None or number in node.view:
            then()
        else:
            node.cluster.when_fresh(then)

    def _dial(self, client: Client, message: m.Dial) -> None:
        node = self.node
        info = node.view.get(message.node)
        then = partial(self._dialed, client, message.request)
        if info is None or info.state == DEAD:
            then(None, b"", f"there is no node {message.node}")
            return

        def done(sock: socket.socket | None, rest: bytes, error: str) -> None:
            if sock is None:
                self._avoid[message.node] = time.monotonic() + AVOID_S
                error = f"node {message.node} cannot be reached from here: {error}"
            elif message.node in self._avoid:
                self._avoid[message.node] = 0.0  # it can be used at once
            then(sock, rest, error)

        assert node.gate is not None
        node.gate.dial(info.host, info.port, message.purpose, message.payload, done, hand_over=True)

    def _dialed(self, client: Client, request: int, sock: socket.socket | None, rest: bytes, error: str) -> None:
        fds = () if sock is None else (sock.fileno(),)
        self.node.send(client, m.Dialed(request, error, rest), fds)
        if sock is not None:
            sock.close()

    # ------------------------------------------------------------ where else there is room

    def direct(self, client: Client, message: m.WantWorkers, amounts: dict[str, int]) -> int:
        """Send a client where it says that it wants its workers; returns how many of them this node should give."""
        node = self.node
        key = client.id, message.shape
        asked = self._doubted.pop(key, None) is message
        self._told.pop(key, None)  # it may have let go of what it had asked others for
        self._directed.pop(key, None)
        if not message.count:
            self._shares.pop(key, None)
        if node.cluster is None or client.far or not message.count:
            return message.count
        info = node.view.get(message.prefers)
        if info is not None and message.prefers not in self._avoid:
            request = policy.settle(node.view, amounts)
            if policy.feasible(info, request) and policy.may_take(info, node.node_no, request):
                self._directed[key] = info.no, message.count
                node.send(client, m.Elsewhere(message.shape, info.no, policy.room(info.free, request), message.count))
                return 0
        if message.node_id == policy.SPREAD:
            return self._spread(client, message, amounts)
        if not message.node_id:
            return message.count
        info = policy.called(node.view, message.node_id)
        there = (ALIVE, AWAY) if message.node_soft else (ALIVE, AWAY, DRAINING)
        if message.node_id == node.node_id:
            if info is None or info.state in there:
                self._directed[key] = (
                    node.node_no,
                    message.count,
                )  # what there is no room for waits here, and nowhere else
            return message.count
        if info is not None and info.state in there:
            self._directed[key] = info.no, message.count
            self._send_to(client, message.shape, info.no, message.count)
            return 0
        if not asked and (info is None or not message.node_soft):
            self._doubted[key] = message
            node.cluster.when_fresh(partial(self._look_again, client, message))
            return 0
        if not message.node_soft:
            reason = f"it must run on node {message.node_id}, which is gone" + (f": {info.reason}" if info else "")
            node.send(client, m.Unschedulable(message.shape, reason))
            return 0
        return message.count

    def _look_again(self, client: Client, message: m.WantWorkers) -> None:
        """The head was asked. Another demand of the same tasks may have come meanwhile, or the client may be gone."""
        if self._doubted.get((client.id, message.shape)) is message:
            self.node.leasing.on_want_workers(client, message)

    def _send_to(self, client: Client, shape: int, number: int, count: int) -> None:
        if number not in self._avoid:
            self.node.send(client, m.Elsewhere(shape, number, count, count))

    def _spread(self, client: Client, message: m.WantWorkers, amounts: dict[str, int]) -> int:
        """Let nodes with room take turns. What there is no room for waits here, and elsewhere (`spill`).

        Demands come as they grow, so it is the whole of each that is shared anew, in the same turn.
        """
        node = self.node
        view = self._reachable()
        own = view.get(node.node_no)
        if own is not None:
            view[own.no] = replace(own, free=node.scheduler.pool.free)
        key = client.id, message.shape
        if key not in self._shares:
            self._turn += 1
            self._shares[key] = self._turn, {}
        turn, had = self._shares[key]
        demand = node.scheduler.demands.get(key)
        had[node.node_no] = demand.held if demand is not None else 0  # what is only starting has taken nothing
        shares, rest = policy.spread(view, node.node_no, amounts, message.count, turn, had)
        self._shares[key] = turn, shares
        for number, count in shares.items():
            if number != node.node_no:
                node.send(client, m.Elsewhere(message.shape, number, 0, count))
        return shares.get(node.node_no, 0) + rest

    def spill(self) -> None:
        """Tell clients of this node where else there is room for what waits here."""
        node = self.node
        if node.cluster is None or len(node.view) < 2:
            return
        wanting = [
            demand
            for demand in node.scheduler.demands.values()
            if demand.count > demand.held
            and demand.short
            and not node.clients[demand.client].far
            and (demand.client, demand.shape) not in self._directed
        ]
        wanted = [(demand.amounts, demand.short) for demand in wanting]
        for place in policy.elsewhere(self._reachable(), node.node_no, wanted):
            demand = wanting[place.at]
            told = self._told.setdefault((demand.client, demand.shape), {})
            if told.get(place.node) != place:
                told[place.node] = place
                node.send(node.clients[demand.client], m.Elsewhere(demand.shape, place.node, place.room, place.share))

    def waits(self, demand: Demand) -> int:
        """For how many workers tasks of this node's clients wait. Those of others are counted where they were submitted."""
        client = self.node.clients.get(demand.client)
        if client is None or client.far:
            return 0
        directed = self._directed.get((demand.client, demand.shape))
        return directed[1] if directed is not None and directed[0] != self.node.node_no else demand.count - demand.held

    def _reachable(self) -> dict[int, NodeInfo]:
        return {no: info for no, info in self.node.view.items() if no not in self._avoid}

    def changed(self, number: int) -> None:
        """Another node has changed: what was said of it does not hold any more."""
        for told in self._told.values():
            told.pop(number, None)

    def forget(self, client: Client) -> None:
        """A client is gone."""
        for table in (self._told, self._directed, self._shares, self._doubted):
            for key in [key for key in table if key[0] == client.id]:
                del table[key]

    def on_time(self, now: float) -> None:
        """Nodes that could not be reached are tried again."""
        for number in [number for number, until in self._avoid.items() if now >= until]:
            del self._avoid[number]
            self.changed(number)
            self.node.decide_again()
            for (client, shape), (wanted, count) in self._directed.items():
                if wanted == number:
                    self._send_to(self.node.clients[client], shape, number, count)

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        return max(0.0, min(self._avoid.values()) - now) if self._avoid else None

    # ------------------------------------------------------------ the end of other nodes

    def node_died(self, number: int, reason: str) -> None:
        """A node is gone: so are its clients, and what ours had from it."""
        node = self.node
        print(f"node {number} is gone: {reason}", file=sys.stderr, flush=True)
        for client in list(node.clients.values()):
            if client.far:
                if int.from_bytes(client.id[:4], "big") == number:
                    node.close_client(client)
            else:
                node.send(client, m.NodeDied(number, reason, node.view[number].heir if number in node.view else 0))
        self._avoid.pop(number, None)
