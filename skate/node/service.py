"""The node's shell: sockets, processes and time around the scheduler, the directory and the actors.

One thread, one epoll. Every message is handled at once; decisions that depend on several (leases, ends of objects) are made
once per round, after every readable channel was read empty: what was sent before a message that has been read has then
been read too, which is what `Directory.sweep` needs.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
import traceback
from pathlib import Path
from typing import Any

from .. import __version__
from ..client.errors import pack_error
from ..exceptions import ObjectLostError
from ..head.actors import Actors, End, Place, State, Tell, Unplace
from ..store.arena import HEADER_BYTES
from ..wire import messages as m
from ..wire.channel import Channel, ChannelClosed, pair
from .directory import Directory, Effects
from .logs import Logs
from .pool import WorkerPool
from .queries import answer
from .resources import Pool, to_units
from .scheduler import Lease, Scheduler, WaitingActor

MEMORY_RETRY_S = 0.05
"""How often clients are asked again for memory that somebody waits for."""
READS_PER_ROUND = 256
EVENTS_MAX = 1 << 16


class Client:
    """A driver or a worker, as the node sees it."""

    __slots__ = (
        "began",
        "channel",
        "drained",
        "hello",
        "id",
        "job",
        "leaving",
        "log_to_driver",
        "peers",
        "pid",
        "serving",
        "shapes",
        "since",
        "wanted",
        "worker",
    )  # fmt: skip

    def __init__(self, channel: Channel, worker: int) -> None:
        self.channel = channel
        self.worker = worker
        self.id = os.urandom(8)
        self.job = ""
        self.pid = 0
        self.hello: m.Hello | None = None
        self.log_to_driver = False
        self.leaving: m.Leaving | None = None
        self.serving: dict[bytes, int] = {}
        """Callers whose channel this worker still reads."""
        self.shapes: dict[int, dict[str, int]] = {}
        self.since = 0.0
        self.wanted = False
        self.began = False
        """A worker has said that it is ready."""


class Node:
    """All services of one node."""

    def __init__(
        self, total: dict[str, float], arena_fd: int, arena_bytes: int, session_dir: Path, zygote: Channel
    ) -> None:
        self.total = total
        self.arena_fd = arena_fd
        self.arena_bytes = arena_bytes
        self.session_dir = session_dir
        self.node_id = os.urandom(16).hex()
        self.pool = WorkerPool(self, zygote)
        self.scheduler = Scheduler(Pool(total))
        self.directory = Directory(arena_bytes - HEADER_BYTES, HEADER_BYTES)
        self.actors = Actors()
        self.logs = Logs(session_dir / "logs")
        self.epoll = select.epoll()
        self.clients: dict[bytes, Client] = {}
        self.by_fd: dict[int, Client] = {}
        self.workers: dict[int, Client] = {}
        self.jobs: dict[str, Client] = {}
        self.memory_queue: list[tuple[Client, int, int, float]] = []
        """Who waits for memory: client, request, bytes, and until when."""
        self.pending_channels: dict[bytes, list[tuple[bytes, int]]] = {}
        self.lost = m.Value(m.ERROR, _lost_error())
        self._parked: list[tuple[Client, m.ConnectActor, list[int]]] = []
        self._dirty = False
        self.running = True
        for fd in (zygote.fd, self.logs.fd):
            self.epoll.register(fd, select.EPOLLIN)

    # ------------------------------------------------------------ loop

    def run(self) -> None:
        """Serve until the last driver has gone."""
        while self.running:
            condemned = self.directory.take_condemned()
            parked, self._parked = self._parked, []
            events = self.epoll.poll(0 if condemned or parked else self._timeout(), EVENTS_MAX)
            drained = len(events) < EVENTS_MAX
            for fd, mask in events:
                drained &= self._on_event(fd, mask)
            if drained:
                self._after_drain(condemned, parked)
            else:
                self._parked[:0] = parked
                self.directory.condemned.update(condemned)
            self._on_time()
            if self._dirty:
                self._dirty = False
                self._decide()

    def _after_drain(self, condemned: set[bytes], parked: list[tuple[Client, m.ConnectActor, list[int]]]) -> None:
        """What was sent before this round has been read: what nobody had claimed by then, nobody will."""
        for client, message, fds in parked:
            self._connect(client, message, fds)
        if condemned:
            effects = Effects()
            self.directory.end(condemned, effects, self.lost)
            self._carry_out(effects)

    def _timeout(self) -> float:
        due = self.pool.next_due(time.monotonic())
        if self.memory_queue:
            due = MEMORY_RETRY_S if due is None else min(due, MEMORY_RETRY_S)
        return -1 if due is None else due

    def _on_event(self, fd: int, mask: int) -> bool:
        """Handle one descriptor; False when there may be more to read."""
        if fd == self.pool.zygote.fd:
            return self.pool.on_zygote()
        if fd == self.logs.fd:
            for worker, is_error, whose, lines in self.logs.changed():
                self._output(worker, is_error, whose, lines)
            return True
        client = self.by_fd.get(fd)
        if client is None:
            return True
        if mask & select.EPOLLOUT:
            self._flush(client)
        for _ in range(READS_PER_ROUND):
            try:
                received = client.channel.receive()
                if received is None:
                    return True
                self._on_message(client, m.decode_to_node(received[0]), received[1])
            except ChannelClosed:
                self._client_closed(client)
                return True
            except Exception:  # one client's nonsense must not end the node for all
                traceback.print_exc()
                self._client_closed(client)
                return True
            if client.channel.closed:
                return True
        return False

    def send(self, client: Client, message: Any, fds: tuple[int, ...] = ()) -> None:
        """Send to a client; what it does not take now waits."""
        try:
            done = client.channel.send_fds(m.encode(message), fds) if fds else client.channel.send(m.encode(message))
        except ChannelClosed:
            return  # its end is on the way
        if not done and self.by_fd.get(client.channel.fd) is client:
            self.epoll.modify(client.channel.fd, select.EPOLLIN | select.EPOLLOUT)

    def _flush(self, client: Client) -> None:
        try:
            if client.channel.flush():
                self.epoll.modify(client.channel.fd, select.EPOLLIN)
        except ChannelClosed:
            return  # its end is on the way

    # ------------------------------------------------------------ clients

    def add_client(self, sock: socket.socket, worker: int = 0) -> Client:
        """A driver connects, or a worker was forked."""
        client = Client(Channel(sock), worker)
        self.by_fd[client.channel.fd] = client
        self.epoll.register(client.channel.fd, select.EPOLLIN)
        if worker:
            self.workers[worker] = client
        return client

    def _on_hello(self, client: Client, hello: m.Hello) -> None:
        if hello.version != __version__:
            reason = f"this node runs skate {__version__}, the driver {hello.version}: install the same version in both"
            self.send(client, m.Refused(reason))
            return
        client.hello = hello
        client.pid = hello.pid
        client.job = os.urandom(4).hex()
        client.log_to_driver = hello.log_to_driver
        self.clients[client.id] = client
        self.jobs[client.job] = client
        self.send(client, self._welcome(client), (self.arena_fd,))
        self.pool.start(client.job, min(2, max(1, int(self.total.get("CPU", 1)))))

    def _welcome(self, client: Client) -> m.Welcome:
        return m.Welcome(
            client.id,
            client.job,
            self.node_id,
            self.session_dir.name,
            str(self.session_dir),
            self.arena_bytes,
            self.total,
            client.worker,
        )

    def _client_closed(self, client: Client) -> None:
        """End of file: a driver has gone. A worker's end is told by the zygote, which knows how."""
        self.epoll.unregister(client.channel.fd)
        self.by_fd.pop(client.channel.fd, None)
        if client.worker:
            client.channel.close()
            if client.pid:
                self.pool.kill_at.setdefault(client.worker, time.monotonic() + 0.5)
            return
        client.channel.close()
        if self.clients.pop(client.id, None) is None:  # it has ended before it had said who it is
            self.running = self.running and bool(self.jobs)
            return
        self._driver_gone(client)

    def _driver_gone(self, client: Client) -> None:
        self.jobs.pop(client.job, None)
        self.scheduler.job_gone(client.job)
        self._apply(self.actors.job_ended(client.job))
        for worker, job in list(self.pool.jobs.items()):
            if job == client.job and self.actors.by_worker.get(worker) is None:
                self.pool.kill(worker, signal.SIGKILL)
        self._forget(client)
        if not self.jobs:
            self.running = False

    def _forget(self, client: Client) -> None:
        """What a client held and wanted ends with it."""
        effects = Effects()
        self.scheduler.client_gone(client.id)
        self.memory_queue = [entry for entry in self.memory_queue if entry[0] is not client]
        self.directory.client_gone(client.id, self.lost, effects)
        self._carry_out(effects)
        for lease in [lease for lease in self.scheduler.leases.values() if lease.client == client.id]:
            self.pool.kill(lease.worker, signal.SIGKILL)
        if not any(client.id in worker.serving for worker in self.workers.values()):
            self.directory.settle_estate(client.id)
        self._dirty = True

    # ------------------------------------------------------------ messages

    def _on_message(self, client: Client, message: Any, fds: list[int]) -> None:
        handler = _HANDLERS[type(message)]
        handler(self, client, message, *([fds] if fds or type(message) in _WITH_FDS else []))

    def _on_want_workers(self, client: Client, message: m.WantWorkers) -> None:
        if message.resources is not None:
            client.shapes[message.shape] = to_units(message.resources)
        self.scheduler.want(
            client.id, client.job, message.shape, client.shapes[message.shape], message.count, message.depth
        )
        self._dirty = True

    def _on_return_worker(self, client: Client, message: m.ReturnWorker) -> None:
        lease = self.scheduler.leases.get(message.worker)
        if lease is None or lease.client != client.id:
            return
        self.scheduler.release(message.worker)
        worker = self.workers.get(message.worker)
        if worker is not None and message.worker not in self.pool.kill_at:
            worker.since = time.monotonic()
            self.scheduler.worker_idle(message.worker, worker.job)
        self._dirty = True

    def _on_blocked(self, client: Client, message: m.Blocked) -> None:
        self.scheduler.blocked(client.worker, message.blocked)
        self._dirty = True

    def _on_create_actor(self, client: Client, message: m.CreateActor, fds: list[int]) -> None:
        if message.name:
            other = self.actors.find(message.namespace, message.name)
            if other is not None:
                for fd in fds:
                    os.close(fd)
                error = ""
                if not message.get_if_exists:
                    error = (
                        f"an actor named {message.name!r} exists already in namespace {message.namespace!r}; "
                        "use get_if_exists=True to get that one"
                    )
                self.send(client, m.FoundActor(message.request, other.id, other.spec.meta, error))
                return
            self.send(client, m.FoundActor(message.request, message.id, message.meta, created=True))
        self.directory.register_actor(client.id, message.id, message.depends or [])
        self.pending_channels.setdefault(message.id, []).extend((client.id, fd) for fd in fds)
        self._apply(self.actors.create(client.id, client.job, message))

    def _on_connect_actor(self, client: Client, message: m.ConnectActor, fds: list[int]) -> None:
        if message.id in self.actors.by_id:
            self._connect(client, message, fds)
        else:  # its creation is perhaps still in the creator's channel
            self._parked.append((client, message, fds))

    def _connect(self, client: Client, message: m.ConnectActor, fds: list[int]) -> None:
        actor = self.actors.by_id.get(message.id)
        if actor is None or actor.state is State.DEAD:
            for fd in fds:
                os.close(fd)
            death = actor.death if actor else m.Death("it is not known to this cluster")
            self.send(client, m.ActorChanged(message.id, "dead", 0, 0, actor.error if actor else b"", death))
            return
        actor.callers.add(client.id)
        if actor.worker:
            self._serve(self.workers[actor.worker], client.id, fds[0])
        else:
            self.pending_channels.setdefault(message.id, []).append((client.id, fds[0]))
        state = "alive" if actor.state is State.ALIVE else "pending"
        self.send(client, m.ActorChanged(actor.id, state, actor.restarts, actor.pid))

    def _serve(self, worker: Client, caller: bytes, fd: int, lease: Lease | None = None) -> None:
        worker.serving[caller] = worker.serving.get(caller, 0) + 1
        if lease is None:
            self.send(worker, m.Serve(caller), (fd,))
        else:
            self.send(worker, m.Serve(caller, None, lease.gpus, lease.depth), (fd,))
        os.close(fd)

    def _on_kill_actor(self, client: Client, message: m.KillActor) -> None:
        self._apply(self.actors.kill(message.id, message.no_restart))

    def _on_find_actor(self, client: Client, message: m.FindActor) -> None:
        actor = self.actors.find(message.namespace, message.name)
        if actor is None:
            error = f"there is no actor named {message.name[:200]!r} in namespace {message.namespace[:200]!r}"
            self.send(client, m.FoundActor(message.request, b"", b"", error))
        else:
            self.send(client, m.FoundActor(message.request, actor.id, actor.spec.meta))

    def _on_interrupt(self, client: Client, message: m.Interrupt) -> None:
        lease = self.scheduler.leases.get(message.worker)
        worker = self.workers.get(message.worker)
        if lease is None or lease.client != client.id or worker is None:
            return
        if message.force:
            self.pool.kill(message.worker, signal.SIGKILL)
            return
        self.send(worker, m.Cancel(client.id, message.seq, message.recursive))
        self.pool.kill(message.worker, signal.SIGINT)

    def _on_want_memory(self, client: Client, message: m.WantMemory) -> None:
        if message.size > self.arena_bytes - HEADER_BYTES:
            reason = f"the object store holds {self.arena_bytes} bytes in all; see object_store_memory of init()"
            self.send(client, m.Memory(message.request, 0, 0, reason))
            return
        self.memory_queue.append((client, message.request, message.size, time.monotonic() + message.patience_s))
        self._serve_memory()

    def _serve_memory(self) -> None:
        """Grant memory in the order of requests; ask clients to return theirs when there is too little."""
        while self.memory_queue:
            client, request, size, _ = self.memory_queue[0]
            offset = self.directory.grant(client.id, size)
            if offset is None:
                for other in self.clients.values():
                    if not other.wanted:
                        other.wanted = True
                        self.send(other, m.GiveBackMemory())
                return
            self.memory_queue.pop(0)
            self.send(client, m.Memory(request, offset, -(-size // 64) * 64))

    def _on_return_memory(self, client: Client, message: m.ReturnMemory) -> None:
        self.directory.returned(client.id, message.ranges)
        client.wanted = False
        self._serve_memory()

    def _on_register(self, client: Client, message: m.Register) -> None:
        effects = Effects()
        self.directory.register(client.id, message.id, message.value, message.holder, message.owner, effects)
        self._carry_out(effects)

    def _on_deliver(self, client: Client, message: m.Deliver) -> None:
        effects = Effects()
        self.directory.deliver(client.id, message.id, message.value, effects)
        self._carry_out(effects)

    def _on_hold(self, client: Client, message: m.Hold) -> None:
        self.directory.hold(client.id, message.id, message.change, message.holder)

    def _on_fetch(self, client: Client, message: m.Fetch) -> None:
        effects = Effects()
        self.directory.fetch(client.id, message.id, effects)
        self._carry_out(effects)

    def _on_ask(self, client: Client, message: m.Ask) -> None:
        try:
            self.send(client, m.Answer(message.request, answer(self, message.what, message.argument)))
        except ValueError as error:
            self.send(client, m.Answer(message.request, None, str(error)))

    def _on_caller_gone(self, client: Client, message: m.CallerGone) -> None:
        left = client.serving.get(message.caller, 0) - 1
        if left > 0:
            client.serving[message.caller] = left
        else:
            client.serving.pop(message.caller, None)
            self._estate(message.caller)

    def _estate(self, caller: bytes) -> None:
        if caller in self.directory.gone and not any(caller in w.serving for w in self.workers.values()):
            self.directory.settle_estate(caller)
            self._serve_memory()

    def _on_actor_ready(self, client: Client, message: m.ActorReady) -> None:
        self._apply(self.actors.ready(client.worker, message.error))

    def _on_leaving(self, client: Client, message: m.Leaving) -> None:
        client.leaving = message
        actor = self.actors.by_worker.get(client.worker)
        if actor is not None and message.intended:
            actor.ends = True

    def _on_ready(self, client: Client, message: m.Ready) -> None:
        client.began = True
        self.pool.failures.pop(client.job, None)

    def cannot_start(self, job: str, reason: str) -> None:
        """Workers of a job die before they are ready, again and again: what waits for them fails."""
        for actor in [a for a in self.actors.by_id.values() if a.job == job and a.state in _WAITING_STATES]:
            self._apply(self.actors.give_up(actor.id, m.Death(reason)))
        for client in list(self.clients.values()):
            if client.job == job:
                self.scheduler.client_gone(client.id)
                self.send(client, m.CannotStart(reason))

    def _on_flushed(self, client: Client, message: m.Flushed) -> None:
        for item in self.logs.drain():
            self._output(*item)
        self.send(client, m.Answer(message.request, True))

    # ------------------------------------------------------------ effects

    def _carry_out(self, effects: Effects) -> None:
        for to, ident, value in effects.fetched:
            client = self.clients.get(to)
            if client is not None:
                self.send(client, m.Fetched(ident, value))
        for to, idents in effects.freed.items():
            client = self.clients.get(to)
            if client is not None:
                self.send(client, m.Freed(idents))
                if self.memory_queue:
                    self.send(client, m.GiveBackMemory())
        for ident in effects.actors:
            self._apply(self.actors.release(ident))
        if effects.freed and self.memory_queue:
            self._serve_memory()

    def _apply(self, effects: list[Any]) -> None:
        for effect in effects:
            actor = effect.actor
            if isinstance(effect, Place):
                spec = actor.spec
                self.scheduler.want_actor(
                    WaitingActor(actor.id, actor.job, to_units(spec.placement), to_units(spec.resources))
                )
                self._dirty = True
            elif isinstance(effect, Unplace):
                self.scheduler.forget_actor(actor.id)
            elif isinstance(effect, Tell):
                self._tell(actor)
            elif isinstance(effect, End):
                if effect.drain:
                    self.send(self.workers[actor.worker], m.Stop(drain=True))
                else:
                    self.pool.kill(actor.worker, signal.SIGKILL)

    def _tell(self, actor: Any) -> None:
        if actor.state is State.DEAD:
            for _, fd in self.pending_channels.pop(actor.id, ()):
                os.close(fd)
        message = m.ActorChanged(actor.id, str(actor.state), actor.restarts, actor.pid, actor.error, actor.death)
        for caller in actor.callers:
            client = self.clients.get(caller)
            if client is not None:
                self.send(client, message)

    def decide_again(self) -> None:
        """Something has changed that leases depend on."""
        self._dirty = True

    def _decide(self) -> None:
        granted, placed, start = self.scheduler.decide()
        for lease in granted:
            self._lease(lease)
        for waiting, lease in placed:
            self._place(waiting.id, lease)
        for job, count in start.items():
            self.pool.start(job, count)
        for ident, busy in self.scheduler.starved():
            client = self.clients.get(ident)
            if client is not None:
                self.send(client, m.GiveBack(busy))

    def _lease(self, lease: Lease) -> None:
        worker = self.workers[lease.worker]
        mine, theirs = pair()
        self.send(
            self.clients[lease.client],
            m.Leased(lease.shape, lease.worker, worker.pid),
            (mine.fileno(), theirs.fileno()),
        )
        mine.close()
        self._serve(worker, lease.client, theirs.detach(), lease)

    def _place(self, ident: bytes, lease: Lease) -> None:
        worker = self.workers[lease.worker]
        actor = self.actors.placed(ident, lease.worker, worker.pid)
        self.send(worker, m.BeActor(actor.spec, actor.restarts, lease.gpus))
        for caller, fd in self.pending_channels.pop(ident, ()):
            self._serve(worker, caller, fd)

    def _on_time(self) -> None:
        self.pool.on_time(time.monotonic())
        if self.memory_queue:
            self._refuse_memory(time.monotonic())
            for client in self.clients.values():
                client.wanted = False
            self._serve_memory()

    def _refuse_memory(self, now: float) -> None:
        """End the waiting of those whose time is over."""
        for entry in [entry for entry in self.memory_queue if now >= entry[3]]:
            self.memory_queue.remove(entry)
            free = self.directory.free.total
            reason = (
                f"the object store of {self.arena_bytes} bytes is full ({free} are free), and nothing was freed in time; "
                "drop references that are not needed, or give init() more object_store_memory"
            )
            self.send(entry[0], m.Memory(entry[1], 0, 0, reason))

    def _output(self, worker: int, is_error: bool, whose: str, lines: list[str]) -> None:
        client = self.workers.get(worker)
        driver = self.jobs.get(self.pool.jobs.get(worker, ""))
        if driver is None or not driver.log_to_driver:
            return
        pid = client.pid if client else 0
        self.send(driver, m.Output(f"{whose or 'worker'} pid={pid}", is_error, lines))

    def close(self) -> None:
        """End everything: the zygote ends all workers when its channel closes."""
        self.pool.zygote.close()
        self.logs.close()


def _lost_error() -> bytes:
    error = ObjectLostError(
        "the process that was to make this object, or that alone knew of it, has died; submit its task again"
    )
    return pack_error(error, function_name="", pid=0, task_id="")


_HANDLERS: dict[type, Any] = {
    m.Hello: Node._on_hello,
    m.WantWorkers: Node._on_want_workers,
    m.ReturnWorker: Node._on_return_worker,
    m.Blocked: Node._on_blocked,
    m.CreateActor: Node._on_create_actor,
    m.ConnectActor: Node._on_connect_actor,
    m.KillActor: Node._on_kill_actor,
    m.FindActor: Node._on_find_actor,
    m.Interrupt: Node._on_interrupt,
    m.WantMemory: Node._on_want_memory,
    m.ReturnMemory: Node._on_return_memory,
    m.Register: Node._on_register,
    m.Deliver: Node._on_deliver,
    m.Hold: Node._on_hold,
    m.Fetch: Node._on_fetch,
    m.Ask: Node._on_ask,
    m.CallerGone: Node._on_caller_gone,
    m.ActorReady: Node._on_actor_ready,
    m.Leaving: Node._on_leaving,
    m.Flushed: Node._on_flushed,
    m.Ready: Node._on_ready,
}
_WAITING_STATES = (State.PENDING, State.STARTING, State.RESTARTING)
_WITH_FDS = {m.CreateActor, m.ConnectActor}
