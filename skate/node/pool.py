"""The worker processes of a node: started through zygotes, and ended.

A zygote is their parent: it says that a worker is there (`Forked`), and how it ended (`Reaped`). That of an environment is a
child of the first one (`environments.py`).
"""

from __future__ import annotations

import select
import signal
import time
import traceback
from typing import TYPE_CHECKING, Any

from ..wire import forks, messages as m
from ..wire.channel import BACKLOG_BYTES_MAX, Channel, ChannelClosed, pair
from ..wire.cluster import WorkerLost
from ..wire.environments import job_of
from .deaths import describe

if TYPE_CHECKING:
    from .client import Client
    from .scheduler import Lease
    from .service import Node

IDLE_WORKERS_S = 5.0
"""Idle workers beyond one per CPU end after this time."""
UNUSED_S = 30.0
"""Idle workers of an environment end after this time, and then what it was set up in."""
KILL_AGAIN_S = 60.0
ENDS_S = 0.5
"""A worker that seems to have ended gets so long before it is killed."""
START_AGAIN_S = 0.05
START_FAILURES_MAX = 5


class WorkerPool:
    """The shell around the workers' lives."""

    def __init__(self, node: Node, zygote: Channel) -> None:
        self.node = node
        self.zygote = zygote
        self.jobs: dict[int, str] = {}
        self.kill_at: dict[int, float] = {}
        """When to kill a worker that should have ended by itself."""
        self._next_worker = 0
        self.starts_after = 0.0
        """After a failed start the next one waits, so that a machine without room for processes is not kept busy."""
        self.failures: dict[str, int] = {}
        """Workers of a crew that died before they were ready, in a row."""
        self.asked_to_end: set[int] = set()

    def number(self) -> int:
        """The number of a new process."""
        self._next_worker += 1
        return self._next_worker

    def start(self, crew: str, count: int) -> None:
        """Fork workers for a crew."""
        zygote = self.zygote_of(crew)
        if time.monotonic() < self.starts_after:
            return
        if zygote is None:
            self.node.environments.prepare(crew)
            return
        job = job_of(crew)
        for _ in range(count):
            worker = self.number()
            mine, theirs = pair()
            client = self.node.add_client(mine, worker)
            client.job, client.crew = job, crew
            self.jobs[worker] = job
            self.node.environments.count(crew, 1)
            self.node.scheduler.starting[crew] = self.node.scheduler.starting.get(crew, 0) + 1
            out, err = self.node.output.logs.paths(worker, job)
            self.tell(zygote, forks.Fork(worker, out, err), (theirs.fileno(),))
            theirs.close()

    def zygote_of(self, crew: str) -> Channel | None:
        """The parent of a crew's workers; None if it is not ready."""
        return self.zygote if job_of(crew) == crew else self.node.environments.zygote_of(crew)

    def tell(self, zygote: Channel, message: Any, fds: tuple[int, ...] = ()) -> None:
        """Send to a zygote, now or when it has room."""
        try:
            if not zygote.send_fds(m.encode(message), fds):
                self.node.epoll.modify(zygote.fd, select.EPOLLIN | select.EPOLLOUT)
        except ChannelClosed:
            if zygote.backlog_bytes > BACKLOG_BYTES_MAX:
                raise
            # otherwise its end is on the way, and with it that of its workers

    def on_zygote(self, zygote: Channel) -> bool:
        """A zygote has something to say, or room to be told.

        Raises:
            ChannelClosed: it has ended.
        """
        if zygote.backlog and zygote.flush():
            self.node.epoll.modify(zygote.fd, select.EPOLLIN)
        while True:
            received = zygote.receive()
            if received is None:
                return True
            message = forks.decode_from_zygote(received[0])
            if type(message) is forks.Forked:
                self._forked(message)
            elif type(message) is forks.Reaped:
                self._reaped(message)
            else:
                self.node.environments.on_message(zygote, message)

    def _forked(self, message: forks.Forked) -> None:
        client = self.node.workers.get(message.worker)
        if client is None:
            self.node.environments.forked(message)
            return
        self._less_starting(client.crew)
        if message.error:
            self.starts_after = time.monotonic() + START_AGAIN_S
            self._ended(client, m.Death(f"it could not be started: {message.error}"))
            return
        client.pid = message.pid
        self.node.output.logs.started(message.worker, message.pid)
        hello = self.node.hello_of(client.job)
        if hello is None:
            self.kill(message.worker, signal.SIGKILL)
            return
        self.node.clients[client.id] = client
        begin = m.Begin(
            self.node.welcome(client), hello.namespace, hello.sys_path, hello.cwd, hello.alias_ray, hello.main_path
        )
        self.node.send(client, begin)
        client.since = time.monotonic()
        self.node.scheduler.worker_idle(message.worker, client.crew)
        self.node.decide_again()

    def _less_starting(self, crew: str) -> None:
        left = self.node.scheduler.starting.get(crew, 0) - 1
        if left > 0:
            self.node.scheduler.starting[crew] = left
        else:
            self.node.scheduler.starting.pop(crew, None)

    def _reaped(self, message: forks.Reaped) -> None:
        client = self.node.workers.get(message.worker)
        if client is None:
            self.node.environments.reaped(message)
            return
        self._read_last(client)
        tail = self.node.output.logs.tail(message.worker)
        death = describe(message, tail, client.leaving)
        self.node.monitor.explain(message.worker, death)
        self.node.metrics.died(message.worker, death)
        told_why = client.leaving is not None and not client.leaving.intended  # it was killed, but not for its program
        if not death.intended and (death.out_of_memory or told_why or message.worker not in self.asked_to_end):
            cluster, actor = self.node.cluster, self.node.actors.name_of(message.worker)
            self.node.history.worker_died(client, actor, death)
            self.node.deaths.failed(death, actor)
            if cluster is not None:
                cluster.send_to_head(WorkerLost(death.pid, actor, death.reason))
        self._ended(client, death)

    def parent_ended(self, crew: str, death: m.Death) -> None:
        """The zygote of an environment has ended, and its workers with it."""
        for client in [client for client in self.node.workers.values() if client.crew == crew]:
            self._read_last(client)
            if not client.pid:
                self._less_starting(crew)
            self._ended(client, death)

    def _start_failed(self, crew: str, death: m.Death) -> None:
        """Wait longer each time; give up what waits for workers after `START_FAILURES_MAX` in a row."""
        failures = self.failures[crew] = self.failures.get(crew, 0) + 1
        self.starts_after = time.monotonic() + START_AGAIN_S * 2**failures
        if failures >= START_FAILURES_MAX:
            self.failures.pop(crew)
            log = self.node.session_dir / "logs" / "node.log"
            self.node.environments.cannot_start(
                crew,
                f"workers cannot start: {failures} in a row ended before they were ready ({death.reason}); see {log}",
            )

    def _read_last(self, client: Client) -> None:
        """What a worker had sent before it died still counts."""
        while not client.channel.closed:
            try:
                received = client.channel.receive()
                if received is None:
                    return
                self.node.on_message(client, *received)
            except ChannelClosed:
                return
            except Exception:  # as in `Node._on_event`: its nonsense ends with it
                traceback.print_exc()
                return

    def _ended(self, client: Client, death: m.Death) -> None:
        worker = client.worker
        self.node.output.ended(worker, bool(death.signal))
        del self.node.workers[worker]
        self.node.farewells.gone(worker)
        self.jobs.pop(worker, None)
        self.node.environments.count(client.crew, -1)
        self.kill_at.pop(worker, None)
        if self.node.by_fd.get(client.channel.fd) is client:  # the number may be another's by now
            self.node.epoll.unregister(client.channel.fd)
            del self.node.by_fd[client.channel.fd]
        client.channel.close()
        self.node.clients.pop(client.id, None)
        lease = self.node.scheduler.leases.get(worker)
        self._note(client, lease, death)
        self.node.scheduler.release(worker)
        self.node.abroad.released(worker)
        if lease is not None and lease.client:
            owner = self.node.clients.get(lease.client)
            if owner is not None:
                self.node.send(owner, m.WorkerDied(worker, death, self.node.running_on(worker)))
        on_purpose = client.leaving is not None and client.leaving.intended
        if not client.began and not on_purpose and worker not in self.asked_to_end:
            self._start_failed(client.crew, death)
        self.asked_to_end.discard(worker)
        self.node.actors.process_died(worker, death)
        self.node.forget(client)
        for caller in list(client.serving):
            self.node.objects.settle(caller)

    def _note(self, client: Client, lease: Lease | None, death: m.Death) -> None:
        """Remember who has died, for those who ask later."""
        spec = self.node.actors.spec_of(client.worker)
        if spec is None and (death.intended or lease is None):
            return
        running = self.node.running_on(client.worker)
        task = "" if lease is None or not running else (lease.client + running.to_bytes(8, "big")).hex()
        who = ("", "", "") if spec is None else (spec.id.hex(), spec.class_name, spec.name)
        actor, class_name, name = who
        self.node.deaths.add(
            death, worker=client.worker, job=client.job, actor=actor, class_name=class_name, name=name, task=task
        )

    def job_gone(self, job: str) -> None:
        """Nobody of a job is here any more: its workers end, but for actors."""
        for crew in [crew for crew in self.failures if job_of(crew) == job]:
            del self.failures[crew]
        for worker, other in list(self.jobs.items()):
            if job == other and not self.node.actors.is_actor(worker):
                self.kill(worker, signal.SIGKILL)

    def kill(self, worker: int, signo: int) -> None:
        """Send a signal to a worker; SIGKILL is also the end of its leases to come."""
        client = self.node.workers.get(worker)
        if client is not None and client.pid:
            if signo == signal.SIGKILL:
                self.asked_to_end.add(worker)
                for idle in self.node.scheduler.idle.values():
                    if worker in idle:
                        idle.remove(worker)
                self.kill_at[worker] = time.monotonic() + KILL_AGAIN_S
                if self.node.farewells.holds(worker):
                    return
            zygote = self.zygote_of(client.crew)
            if zygote is not None:
                self.tell(zygote, forks.Kill(client.pid, signo))

    def on_time(self, now: float) -> None:
        """Kill what did not end by itself, and end idle workers that are too many."""
        for worker, at in list(self.kill_at.items()):
            if now >= at:
                del self.kill_at[worker]
                self.kill(worker, signal.SIGKILL)
        node = self.node
        if self.starts_after and now >= self.starts_after:
            self.starts_after = 0.0
            node.decide_again()
        cpus = max(1, int(node.total.get("CPU", 1)))
        for crew, idle in node.scheduler.idle.items():
            too_many = [w for w in idle[cpus:] if now - node.workers[w].since > IDLE_WORKERS_S]
            unused = [w for w in idle if now - node.workers[w].since > UNUSED_S] if job_of(crew) != crew else ()
            for worker in {*too_many, *unused}:
                idle.remove(worker)
                node.send(node.workers[worker], m.Stop())

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        due = list(self.kill_at.values())
        if now < self.starts_after:
            due.append(self.starts_after)
        cpus = max(1, int(self.node.total.get("CPU", 1)))
        if any(len(idle) > (cpus if job_of(crew) == crew else 0) for crew, idle in self.node.scheduler.idle.items()):
            due.append(now + 1.0)
        return max(0.0, min(due) - now) if due else None
