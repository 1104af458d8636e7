"""The worker processes of a node: started through the zygote, and ended.

The zygote is their parent: it says that a worker is there (`Forked`), and how it ended (`Reaped`).
"""

from __future__ import annotations

import select
import signal
import time
import traceback
from typing import TYPE_CHECKING, Any

from ..wire import forks, messages as m
from ..wire.channel import Channel, ChannelClosed, pair
from ..wire.cluster import WorkerLost
from .deaths import describe

if TYPE_CHECKING:
    from .client import Client
    from .service import Node

IDLE_WORKERS_S = 5.0
"""Idle workers beyond one per CPU end after this time."""
KILL_AGAIN_S = 60.0
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
        """Workers of a job that died before they were ready, in a row."""
        self.asked_to_end: set[int] = set()

    def start(self, job: str, count: int) -> None:
        """Fork workers for a job."""
        if time.monotonic() < self.starts_after:
            return
        for _ in range(count):
            self._next_worker += 1
            worker = self._next_worker
            mine, theirs = pair()
            client = self.node.add_client(mine, worker)
            client.job = job
            self.jobs[worker] = job
            self.node.scheduler.starting[job] = self.node.scheduler.starting.get(job, 0) + 1
            out, err = self.node.output.logs.paths(worker, job)
            self._to_zygote(forks.Fork(worker, out, err), (theirs.fileno(),))
            theirs.close()

    def _to_zygote(self, message: Any, fds: tuple[int, ...] = ()) -> None:
        if not self.zygote.send_fds(m.encode(message), fds):
            self.node.epoll.modify(self.zygote.fd, select.EPOLLIN | select.EPOLLOUT)

    def on_zygote(self) -> bool:
        """The zygote has something to say, or room to be told."""
        if self.zygote.backlog and self.zygote.flush():
            self.node.epoll.modify(self.zygote.fd, select.EPOLLIN)
        while True:
            received = self.zygote.receive()
            if received is None:
                return True
            message = forks.decode_from_zygote(received[0])
            if type(message) is forks.Forked:
                self._forked(message)
            elif type(message) is forks.Reaped:
                self._reaped(message)

    def _forked(self, message: forks.Forked) -> None:
        client = self.node.workers.get(message.worker)
        if client is None:
            return
        self._less_starting(client.job)
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
        self.node.scheduler.worker_idle(message.worker, client.job)
        self.node.decide_again()

    def _less_starting(self, job: str) -> None:
        left = self.node.scheduler.starting.get(job, 0) - 1
        if left > 0:
            self.node.scheduler.starting[job] = left
        else:
            self.node.scheduler.starting.pop(job, None)

    def _reaped(self, message: forks.Reaped) -> None:
        client = self.node.workers.get(message.worker)
        if client is None:
            return
        self._read_last(client)
        tail = self.node.output.logs.tail(message.worker)
        death = describe(message, tail, client.leaving)
        self.node.monitor.explain(message.worker, death)
        if not death.intended and (death.out_of_memory or message.worker not in self.asked_to_end):
            cluster, actor = self.node.cluster, self.node.actors.name_of(message.worker)
            self.node.history.worker_died(client, actor, death)
            if cluster is not None:
                cluster.send_to_head(WorkerLost(death.pid, actor, death.reason))
        self._ended(client, death)

    def _start_failed(self, job: str, death: m.Death) -> None:
        """Wait longer each time; give up what waits for workers after `START_FAILURES_MAX` in a row."""
        failures = self.failures[job] = self.failures.get(job, 0) + 1
        self.starts_after = time.monotonic() + START_AGAIN_S * 2**failures
        if failures >= START_FAILURES_MAX:
            self.failures.pop(job)
            log = self.node.session_dir / "logs" / "node.log"
            self.node.cannot_start(
                job,
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
        self.node.output.ended(worker)
        del self.node.workers[worker]
        self.jobs.pop(worker, None)
        self.kill_at.pop(worker, None)
        if self.node.by_fd.get(client.channel.fd) is client:  # the number may be another's by now
            self.node.epoll.unregister(client.channel.fd)
            del self.node.by_fd[client.channel.fd]
        client.channel.close()
        self.node.clients.pop(client.id, None)
        lease = self.node.scheduler.leases.get(worker)
        self.node.scheduler.release(worker)
        self.node.abroad.released(worker)
        if lease is not None and lease.client:
            owner = self.node.clients.get(lease.client)
            if owner is not None:
                self.node.send(owner, m.WorkerDied(worker, death, self.node.running_on(worker)))
        if not client.began and client.leaving is None and worker not in self.asked_to_end:
            self._start_failed(client.job, death)
        self.asked_to_end.discard(worker)
        self.node.actors.process_died(worker, death)
        self.node.forget(client)
        for caller in list(client.serving):
            self.node.objects.settle(caller)

    def kill(self, worker: int, signo: int) -> None:
        """Send a signal to a worker; SIGKILL is also the end of its leases to come."""
        client = self.node.workers.get(worker)
        if client is not None and client.pid:
            if signo == signal.SIGKILL:
                self.asked_to_end.add(worker)
                self.kill_at[worker] = time.monotonic() + KILL_AGAIN_S
                for idle in self.node.scheduler.idle.values():
                    if worker in idle:
                        idle.remove(worker)
            self._to_zygote(forks.Kill(client.pid, signo))

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
        for idle in node.scheduler.idle.values():
            if len(idle) > cpus:
                for worker in [w for w in idle[cpus:] if now - node.workers[w].since > IDLE_WORKERS_S]:
                    idle.remove(worker)
                    node.send(node.workers[worker], m.Stop())

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        due = list(self.kill_at.values())
        if now < self.starts_after:
            due.append(self.starts_after)
        cpus = max(1, int(self.node.total.get("CPU", 1)))
        if any(len(idle) > cpus for idle in self.node.scheduler.idle.values()):
            due.append(now + 1.0)
        return max(0.0, min(due) - now) if due else None
