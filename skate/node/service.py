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
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .. import __version__
from ..client.errors import pack_error
from ..exceptions import OwnerDiedError
from ..store.arena import ADDRESSES, HEADER_BYTES, PROGRESS_SLOTS, release
from ..wire import channel as wire, messages as m
from ..wire.channel import Channel, ChannelClosed, MessageTooLarge
from ..wire.cluster import JobEnded, NodeInfo
from ..wire.config import SystemConfig
from ..wire.environments import job_of
from .abroad import Abroad
from .actors import ActorShell, Parked
from .claims import Claims
from .client import Client
from .deaths import Deaths
from .directory import Directory
from .dispatch import WITH_FDS, handlers
from .drain import Drain
from .environments import Environments
from .farewells import Farewells
from .faults import Ended, Faults
from .groups import GroupShell
from .heirs import Heirs
from .history import History
from .inquiries import Inquiries
from .job_host import JobHost
from .leasing import Leasing
from .logs import Logs
from .memory import MemoryQueue
from .memory_monitor import MemoryMonitor
from .metrics import Metrics
from .objects import ObjectShell
from .output import Output
from .pool import ENDS_S, WorkerPool
from .queries import HEAD_ANSWERS_S, answer, of_others
from .queues import Queues
from .resources import Pool
from .scheduler import Lease, Scheduler
from .spills import SpillShell

if TYPE_CHECKING:
    from .cluster import Cluster
    from .gate import Gate
    from .head_process import HeadProcess
    from .stacks import Stacks
    from .transfer import Transfers

READS_PER_ROUND = 256
EVENTS_MAX = 1 << 16


class Part(Protocol):
    """A part of the node that has something to do at times."""

    def on_time(self, now: float) -> None:
        """Do what is due."""

    def next_due(self, now: float) -> float | None:
        """Seconds until something is due."""


class Node:
    """All services of one node."""

    def __init__(
        self,
        total: dict[str, float],
        arena_fd: int,
        arena_bytes: int,
        session_dir: Path,
        zygote: Channel,
        system: SystemConfig | None = None,
    ) -> None:
        self.total = total
        self.arena_fd = arena_fd
        self.arena_bytes = arena_bytes
        self.session_dir = session_dir
        self.node_id = os.urandom(16).hex()
        self.pool = WorkerPool(self, zygote)
        self.scheduler = Scheduler(Pool(total))
        self.leasing = Leasing(self)
        self.directory = Directory(
            arena_bytes - HEADER_BYTES, HEADER_BYTES, (ADDRESSES - 1) * arena_bytes, partial(release, arena_fd)
        )
        self.actors = ActorShell(self)
        self.groups = GroupShell(self)
        self.objects = ObjectShell(self)
        self.memory = MemoryQueue(self)
        self.epoll = select.epoll()
        self.faults = Faults(self)
        self.output = Output(self, Logs(session_dir / "logs"))
        self.labels = {"ray.io/node-id": self.node_id, "skate.io/node-id": self.node_id}
        self.clients: dict[bytes, Client] = {}
        self.by_fd: dict[int, Client] = {}
        self.workers: dict[int, Client] = {}
        self.jobs: dict[str, Client] = {}
        self.lost = m.Value(m.ERROR, _lost_error())
        self.parts: list[Part] = [self.pool, self.memory, self.output, self.objects]
        """What has something to do at times."""
        self.spills = SpillShell(self, (system or SystemConfig()).spill)
        self.monitor = MemoryMonitor(self, (system or SystemConfig()).memory)
        self.inquiries = Inquiries(self)
        self.farewells = Farewells(self)
        self.queues = Queues(self)
        self.metrics = Metrics(self)
        self.deaths = Deaths()
        self.stacks: Stacks | None = None
        """Of a node with a zygote."""
        self.jobs_here = JobHost(self)
        self.environments = Environments(self)
        self.history = History(self, (system or SystemConfig()).history)
        self.sites = (system or SystemConfig()).sites
        self._watched: dict[int, Callable[[int], bool]] = {}
        self._deaf: list[Client] = []
        self.node_no = 0
        """This node's number in its cluster; 0: it is in none."""
        self.gate: Gate | None = None
        self.cluster: Cluster | None = None
        """Of a member of a cluster: its place in it."""
        self.head: HeadProcess | None = None
        """In the head's process: what makes it the head."""
        self.transfers: Transfers | None = None
        self.abroad = Abroad(self)
        self.claims = Claims(self)
        self.drain = Drain(self)
        self.heirs = Heirs(self)
        self.standalone = False
        """It outlives its drivers."""
        self._handlers = handlers(self)
        self.running = True
        self.failed = False
        """A driver was given up, or the node ends by a fault: the log says why."""
        self.again = False
        """It ends because the cluster has given it up: its machine joins anew."""
        self.epoll.register(zygote.fd, select.EPOLLIN)

    @property
    def view(self) -> dict[int, NodeInfo]:
        """All nodes of the cluster, as the head last said; none if there is no cluster."""
        member = self.cluster or self.head
        return member.view if member is not None else {}

    # ------------------------------------------------------------ loop

    def run(self) -> None:
        """Serve until the last driver has gone."""
        try:
            while self.running:
                self.round()
        except Exception as error:
            if self.head is not None:
                raise
            self.faults.fatal(error)

    def round(self) -> None:
        """Wait for something to do, and do it."""
        timeout = self.next_due()
        condemned = self.directory.take_condemned()
        parked = self.actors.take_parked()
        wanted = self.transfers.serving.take_parked() if self.transfers is not None else []
        leaving, early = self.spills.take_parked()
        events = self.epoll.poll(timeout, EVENTS_MAX)
        began = time.monotonic()
        drained = len(events) < EVENTS_MAX
        for fd, mask in events:
            drained &= self._on_event(fd, mask)
        if drained:
            self._after_drain(condemned, parked)
            self.spills.after_drain(leaving, early)
        else:
            self.spills.park(leaving, early)
            self.actors.park(parked)
            self.directory.condemned.update(condemned)
        if self.transfers is not None:
            serving = self.transfers.serving
            (serving.after_drain if drained else serving.park)(wanted)
        now = time.monotonic()
        for part in self.parts:
            try:
                part.on_time(now)
            except Exception as error:
                self.faults.of_part(part, error, now)
        self._end_deaf()
        self.leasing.after_round(now)
        self.metrics.loop.round(began)

    def _after_drain(self, condemned: set[bytes], parked: list[Parked]) -> None:
        """What was sent before this round has been read: what nobody had claimed by then, nobody will."""
        self.actors.connect(parked)
        if condemned:
            self.objects.end(condemned)

    def next_due(self) -> float:
        """Seconds until a round has something to do, if nothing comes; -1: never."""
        sending = self.transfers is not None and self.transfers.serving.parked
        if self.directory.condemned or self.actors.parked or sending or self.spills.parked or self._deaf:
            return 0.0
        now = time.monotonic()
        due = [part.next_due(now) for part in self.parts]
        due.append(self.leasing.next_due(now))
        return min((seconds for seconds in due if seconds is not None), default=-1.0)

    def _on_event(self, fd: int, mask: int) -> bool:
        """Handle one descriptor; False when there may be more to read."""
        if fd == self.pool.zygote.fd:
            try:
                return self.pool.on_zygote(self.pool.zygote)
            except ChannelClosed:
                raise Ended("the process that starts its workers has ended") from None
        if fd == self.output.logs.fd:
            self.output.on_event()
            return True
        client = self.by_fd.get(fd)
        if client is None:
            return self._handle(fd, mask)
        if mask & select.EPOLLOUT:
            self._flush(client)
        return self.read(client)

    def _handle(self, fd: int, mask: int) -> bool:
        handler = self._watched.get(fd)
        if handler is None:
            return True
        try:
            return handler(mask)
        except Exception as error:
            self.faults.of_handler(fd, handler, fd in self._watched, error)
            return False

    def read(self, client: Client) -> bool:
        """Carry out what a client has sent; False when there may be more."""
        count = 0
        while count < READS_PER_ROUND or client.channel.more:
            count += 1
            try:
                received = client.channel.receive()
                if received is None:
                    return True
                self.on_message(client, *received)
            except ChannelClosed:
                self.close_client(client)
                return True
            except Exception:  # one client's nonsense must not end the node for all
                traceback.print_exc()
                self.close_client(client)
                return True
            if client.channel.closed:
                return True
        return False

    def watch(self, fd: int, handler: Callable[[int], bool], mask: int = select.EPOLLIN) -> None:
        """Call `handler(events)` when a descriptor is ready. It says whether it has read all that there was."""
        if fd in self._watched:
            self.epoll.modify(fd, mask)
        else:
            self.epoll.register(fd, mask)
        self._watched[fd] = handler

    def unwatch(self, fd: int) -> None:
        """Forget a descriptor, before it is closed or given away."""
        if self._watched.pop(fd, None) is not None:
            self.epoll.unregister(fd)

    def send(self, client: Client, message: Any, fds: tuple[int, ...] = ()) -> None:
        """Send to a client; what it does not take now waits. A client that does not read is ended."""
        if client.deaf:
            return
        channel = client.channel
        try:
            done = channel.send_fds(m.encode(message), fds) if fds else channel.send(m.encode(message))
        except MessageTooLarge as error:
            self._give_up(client, f"there is a message for it that is too large: {error}")
            return
        except ChannelClosed:
            if channel.backlog_bytes > wire.BACKLOG_BYTES_MAX:
                self._give_up(
                    client, f"it did not read its messages: {channel.backlog_bytes} bytes were waiting for it"
                )
            return  # otherwise its end is on the way
        if not done and self.by_fd.get(channel.fd) is client:
            self.epoll.modify(channel.fd, select.EPOLLIN | select.EPOLLOUT)

    def _flush(self, client: Client) -> None:
        try:
            if client.deaf or client.channel.flush():
                self.epoll.modify(client.channel.fd, select.EPOLLIN)
        except ChannelClosed:
            return  # its end is on the way

    def _give_up(self, client: Client, reason: str) -> None:
        """A message to a client is lost, so the client must end; not now, in the middle of somebody else's message."""
        client.deaf = reason
        self._deaf.append(client)

    def _end_deaf(self) -> None:
        deaf, self._deaf = self._deaf, []
        for client in deaf:
            print(f"process {client.pid} is given up: {client.deaf}", file=sys.stderr, flush=True)
            if client.worker:
                client.leaving = client.leaving or m.Leaving(client.deaf, intended=False)
                self.pool.kill(client.worker, signal.SIGKILL)
            elif self.by_fd.get(client.channel.fd) is client:
                self.failed = self.failed or not (client.far or self.standalone)
                self.close_client(client)

    # ------------------------------------------------------------ clients

    def add_client(self, sock: socket.socket, worker: int = 0) -> Client:
        """A driver connects, or a worker was forked."""
        client = Client(Channel(sock), worker)
        if self.node_no:
            client.id = self.node_no.to_bytes(4, "big") + os.urandom(4)
        self.by_fd[client.channel.fd] = client
        self.epoll.register(client.channel.fd, select.EPOLLIN)
        if worker:
            self.workers[worker] = client
        return client

    def on_hello(self, client: Client, hello: m.Hello) -> None:
        """A driver says who it is."""
        if client.far:
            self.abroad.hello(client, hello)
            return
        if hello.version != __version__:
            reason = f"this node runs skate {__version__}, the driver {hello.version}: install the same version in both"
            self.send(client, m.Refused(reason))
            return
        if self.drain.order is not None:
            self.send(client, m.Refused("this node is being drained: attach to another"))
            return
        client.hello = hello
        client.pid = hello.pid
        client.job = os.urandom(4).hex()
        client.log_to_driver = hello.log_to_driver
        self.clients[client.id] = client
        self.jobs[client.job] = client
        self.history.job_began(client.job, hello)
        self.send(client, self.welcome(client), (self.arena_fd,))
        if not hello.waits:
            self.start_first(client.job)

    def start_first(self, crew: str) -> None:
        """Start the first workers of a crew before anybody has asked for them."""
        self.pool.start(crew, min(2, max(1, int(self.total.get("CPU", 1)))))

    def welcome(self, client: Client) -> m.Welcome:
        """What a client is told first."""
        return m.Welcome(
            client.id,
            client.job,
            self.node_id,
            self.session_dir.name,
            str(self.session_dir),
            self.arena_bytes,
            self.total,
            client.worker,
            self.node_no,
            self.heirs.all(),
            self.gate.tls if self.gate is not None else None,
            self.history.config.enabled,
            self.sites.enabled,
        )

    def hello_of(self, job: str) -> m.Hello | None:
        """What the workers of a job start with."""
        driver = self.jobs.get(job)
        return driver.hello if driver is not None else self.actors.hello_of(job)

    def running_on(self, worker: int) -> int:
        """The task that a worker, now dead, was running, if its packet had several."""
        return int.from_bytes(os.pread(self.arena_fd, 8, worker % PROGRESS_SLOTS * 8), sys.byteorder)

    def drop_channel(self, client: Client) -> None:
        """Close a client's channel."""
        if self.by_fd.get(client.channel.fd) is client:
            self.epoll.unregister(client.channel.fd)
            del self.by_fd[client.channel.fd]
        client.channel.close()

    def close_client(self, client: Client) -> None:
        """End of file: a driver has gone. A worker's end is told by the zygote, which knows how."""
        if client.far:
            self.drop_channel(client)
            self.abroad.gone(client)
            return
        self.epoll.unregister(client.channel.fd)
        self.by_fd.pop(client.channel.fd, None)
        if client.worker:
            client.channel.close()
            if client.pid:
                self.pool.kill_at.setdefault(client.worker, time.monotonic() + ENDS_S)
            return
        client.channel.close()
        if self.clients.pop(client.id, None) is None:  # it has ended before it had said who it is
            self.running = self.running and (self.standalone or bool(self.jobs))
            return
        if self.jobs.pop(client.job, None) is not None:
            self.history.job_ended(client)
            self.farewells.program_ended(client)
        if self.cluster is not None:
            self.cluster.send_to_head(JobEnded(client.job, client.leaving is not None))
        else:
            self.actors.job_ended(client.job, client.leaving is not None)
        self.end_job(client.job)
        self.forget(client)
        if not self.jobs and not self.standalone:
            self.farewells.then_end()

    def end_job(self, job: str) -> None:
        """Nobody of a job is here any more: its workers end, but for actors."""
        self.scheduler.job_gone(job)
        self.environments.job_gone(job)
        self.pool.job_gone(job)

    def forget(self, client: Client) -> None:
        """What a client held and wanted ends with it."""
        self.scheduler.client_gone(client.id)
        self.inquiries.gone(client)
        self.metrics.gone(client)
        self.abroad.forget(client)
        self.queues.forget(client)
        self.memory.forget(client)
        self.actors.forget(client)
        self.groups.forget(client)
        self.objects.forget(client)
        for lease in [lease for lease in self.scheduler.leases.values() if lease.client == client.id]:
            self.pool.kill(lease.worker, signal.SIGKILL)
        self.objects.settle(client.id)
        self.leasing.dirty = True

    # ------------------------------------------------------------ messages

    def on_message(self, client: Client, data: bytes, fds: list[int]) -> None:
        """Carry out one message; its handler takes over the descriptors that belong to it."""
        try:
            message = m.decode_to_node(data)
            if type(message) in WITH_FDS:
                mine, fds = fds, []
                self._handlers[type(message)](client, message, mine)
            else:
                self._handlers[type(message)](client, message)
        finally:
            for fd in fds:
                os.close(fd)

    def on_ask(self, client: Client, message: m.Ask) -> None:
        """A question about state."""
        if any(
            part.on_ask(client, message) for part in (self.inquiries, self.jobs_here, self.stacks) if part is not None
        ):
            return
        if self.cluster is not None and of_others(self, message.what, message.argument):
            self.cluster.when_fresh(partial(self._answer, client, message), HEAD_ANSWERS_S)
        else:
            self._answer(client, message)

    def _answer(self, client: Client, message: m.Ask) -> None:
        try:
            self.send(client, m.Answer(message.request, answer(self, message.what, message.argument)))
        except ValueError as error:
            self.send(client, m.Answer(message.request, None, str(error)))

    def on_leaving(self, client: Client, message: m.Leaving) -> None:
        """It ends on purpose."""
        if not client.deaf:
            client.leaving = message
        if message.intended and client.worker:
            self.actors.leaving(client.worker)

    def on_ready(self, client: Client, message: m.Ready) -> None:
        """A worker has started."""
        client.began = True
        self.pool.failures.pop(client.crew, None)

    def cannot_start(self, crew: str, reason: str, env: str = "", error: bytes = b"") -> None:
        """Workers of a crew cannot be had: what waits for them fails."""
        self.actors.cannot_start(crew, reason, error)
        for client in list(self.clients.values()):
            if client.job == job_of(crew):
                self.scheduler.cannot_start(client.id, crew)
                self.send(client, m.CannotStart(reason, env, error))

    def on_flushed(self, client: Client, message: m.Flushed) -> None:
        """Answer when all that was printed before has been passed on."""
        self.output.flush(client, message.request)

    # ------------------------------------------------------------ effects

    def serve(self, worker: Client, caller: bytes, fd: int, lease: Lease | None = None) -> None:
        """Give a worker the channel of a caller; the descriptor is closed here."""
        worker.serving[caller] = worker.serving.get(caller, 0) + 1
        if lease is None:
            self.send(worker, m.Serve(caller), (fd,))
        else:
            self.send(worker, m.Serve(caller, None, lease.gpus, lease.depth), (fd,))
        os.close(fd)

    def stop(self, reason: str, again: bool = False) -> None:
        """End this node, with all that is on it; `again`: for a new one in its place."""
        print(f"this node ends: {reason}", file=sys.stderr, flush=True)
        self.running = False
        self.again = again and self.standalone
        for client in [client for client in self.clients.values() if not client.worker and not client.far]:
            self.send(client, m.Refused(reason))

    def decide_again(self) -> None:
        """Something has changed that leases depend on."""
        self.leasing.dirty = True

    def described(self) -> NodeInfo:
        """This node as it looks without a cluster."""
        pool = self.scheduler.pool
        return NodeInfo(0, self.node_id, "", "", "", 0, pool.total, pool.free, self.labels)

    def close(self) -> None:
        """End everything: the zygote ends all workers when its channel closes."""
        if self.transfers is not None:
            self.transfers.close()
        self.jobs_here.close()
        self.pool.zygote.close()
        self.history.close()
        self.output.logs.close()
        if self.stacks is not None:
            self.stacks.close()
        self.spills.close()


def _lost_error() -> bytes:
    error = OwnerDiedError(
        "", "the process that was to make it, or that alone knew of it, has died; submit its task again"
    )
    return pack_error(error, function_name="", pid=0, task_id="")
