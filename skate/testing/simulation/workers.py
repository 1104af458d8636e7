"""Zygotes and workers: what users' code would run in. They speak the protocol of the real ones, and run nothing but time.

A task's argument says how long it takes. What is executed is noted in the `Ledger`, which knows what must not happen.
"""

from __future__ import annotations

import pickle
import select
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from ...wire import forks, messages as m
from ...wire.channel import Channel, ChannelClosed
from ...wire.stream import StreamChannel
from .blocks import Blocks
from .sockets import Epoll
from .words import CONTROL, DATA, explain
from .world import Process

if TYPE_CHECKING:
    from .cluster import Machine

TICK_S = 0.01
"""A task that runs for longer gives back what waits behind it."""
NEVER = 1e12
LARGE = ".large"
"""The label of a task ends so whose value is large."""
LEFT = 0
KILLED = 9


class Ledger:
    """What was executed, by whom.

    INV-1: work that may run once at most was not begun twice.
    """

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()
        self.once: set[str] = set()
        """What may run once at most."""

    def begin(self, label: str) -> None:
        """A worker begins with it."""
        self.begun[label] += 1
        if label in self.once:
            assert self.begun[label] == 1, f"{label} may run once at most, and runs for the second time"


class Zygote(Process):
    """Forks the workers of a machine."""

    def __init__(self, machine: Machine, sock: Any) -> None:
        super().__init__(machine.world, f"{machine.name}.zygote", machine)
        sock.give(self)
        with self.world.running(self):
            self.channel = Channel(sock)
            self.epoll = Epoll(machine.cluster.net)
            self.epoll.register(sock.fd, select.EPOLLIN)
        self.workers: dict[int, Worker] = {}
        self._last = machine.number * 100_000

    def step(self) -> None:
        """Fork and kill."""
        while True:
            try:
                received = self.channel.receive()
            except ChannelClosed:
                self.die("its node is gone")
                return
            if received is None:
                return
            message = forks.decode_to_zygote(received[0])
            if isinstance(message, forks.Fork):
                self._fork(message, received[1][0])
            elif message.pid in self.workers and message.signal == KILLED:
                worker = self.workers[message.pid]
                self.world.after(1e-5, 1e-3, lambda worker=worker: worker.end(KILLED, "it is killed"))  # type: ignore[misc]

    def _fork(self, message: forks.Fork, fd: int) -> None:
        self._last += 1
        pid = self._last
        sock = self.machine.cluster.net.by_fd[fd]
        worker = Worker(self, message.worker, pid, sock)
        self.workers[pid] = worker
        self.world.after(5e-4, 5e-3, lambda: self._tell(forks.Forked(message.worker, pid)))

    def _tell(self, message: Any) -> None:
        if not self.alive:
            return
        try:
            self.channel.send(forks.encode(message))
        except ChannelClosed:
            return  # its node is gone, as it will hear

    def reap(self, worker: Worker, status: int) -> None:
        """A worker has ended."""
        del self.workers[worker.pid]
        self.world.after(1e-5, 1e-3, lambda: self._tell(forks.Reaped(worker.number, worker.pid, status, 0)))

    def ended(self) -> None:
        """Its children end with it."""
        for worker in list(self.workers.values()):
            worker.die("its zygote is gone")


class Caller:
    """Whose tasks arrive on a channel."""

    def __init__(self, ident: bytes, channel: Any, far: bool) -> None:
        self.id = ident
        self.channel = channel
        self.far = far
        self.defined: dict[int, m.Definition] = {}
        self.replies: list[m.Reply] = []
        self.spent_us = 0
        self.ran = 0


class Worker(Process):
    """One worker."""

    def __init__(self, zygote: Zygote, number: int, pid: int, sock: Any) -> None:
        super().__init__(zygote.world, f"{zygote.machine.name}.w{number}", zygote.machine)
        self.zygote = zygote
        self.number = number
        self.pid = pid
        self.status = KILLED
        self.callers: dict[bytes, list[Caller]] = {}
        self.pending: deque[tuple[Caller, m.Task]] = deque()
        self.running: tuple[Caller, m.Task, str, float] | None = None
        self.until = 0.0
        self.tick_at = 0.0
        self.actor: m.BeActor | None = None
        self.ready = False
        self.draining = False
        self.blocks = Blocks(self.machine, self._tell)
        self.machine.progress[number] = 0
        sock.give(self)
        with self.world.running(self):
            self.channel = Channel(sock)
            self.epoll = Epoll(self.machine.cluster.net)
            self.epoll.register(sock.fd, select.EPOLLIN)
        explain(sock.end, CONTROL)

    # ------------------------------------------------------------ life

    def end(self, status: int, how: str) -> None:
        """It ends by a signal, or by itself."""
        if self.alive:
            self.status = status
            self.die(how)

    def ended(self) -> None:
        """Its parent hears of it."""
        if self.zygote.alive:
            self.zygote.reap(self, self.status)

    def _leave(self, reason: str) -> None:
        self._tell(m.Leaving(reason))
        self.end(LEFT, reason)

    def _tell(self, message: Any) -> None:
        try:
            self.channel.send(m.encode(message))
        except ChannelClosed:
            return  # its end is on the way

    # ------------------------------------------------------------ loop

    def step(self) -> None:
        """Hear the node, go on with what runs, and begin what comes."""
        while (message := self._hear()) is not None:
            self._on_message(message)
        if not self.alive:
            return
        now = self.world.now
        if self.running is not None and now >= self.until:
            self._finish()
        while self.running is None and self.alive and (self.pending or self._read()):
            if self.pending:
                self._begin(*self.pending.popleft())
        if self.running is None:
            self._flush_all()
            if self.draining and not self._readable():
                self._leave("it was not needed any more")
        else:
            if now >= self.tick_at:
                self._give_back()
            self.wake(self.until if now >= self.tick_at else min(self.until, self.tick_at))

    def _hear(self) -> Any:
        if not self.alive:
            return None
        try:
            received = self.channel.receive()
        except ChannelClosed:
            self.die("its node is gone")
            return None
        if received is None:
            return None
        message = m.decode_from_node(received[0])
        if isinstance(message, m.Serve):
            sock: Any = self.machine.cluster.net.by_fd[received[1][0]]
            channel: Any = StreamChannel(sock, message.rest) if message.stream else Channel(sock)
            caller = Caller(message.caller, channel, message.stream)
            self.epoll.register(sock.fd, select.EPOLLIN)
            explain(sock.end, DATA)
            self.callers.setdefault(message.caller, []).append(caller)
            if message.stream:
                self._send(caller, m.Replies([]))
        return message

    def _on_message(self, message: Any) -> None:
        if isinstance(message, m.Begin):
            self.blocks.welcome = message.welcome
            self._tell(m.Ready())
        elif isinstance(message, m.Memory):
            self.blocks.on_memory(message)
        elif isinstance(message, m.Freed):
            self.blocks.on_freed(message)
        elif isinstance(message, m.BeActor):
            self.actor = message
            self.world.after(1e-4, 2e-2, lambda: self.post(self._constructed))
        elif isinstance(message, m.Stop):
            if message.drain:
                self.draining = True
            else:
                self._leave("it was not needed any more")

    def _constructed(self) -> None:
        self.ready = True
        self._tell(m.ActorReady())

    # ------------------------------------------------------------ work

    def _all(self) -> list[Caller]:
        return [caller for callers in self.callers.values() for caller in callers]

    def _readable(self) -> bool:
        return any(caller.channel.sock.end.readable or caller.channel.more for caller in self._all())

    def _read(self) -> bool:
        """Take one packet; False when there is none."""
        if self.actor is not None and not self.ready:
            return False
        for caller in self._all():
            try:
                received = caller.channel.receive()
            except ChannelClosed:
                self._gone(caller)
                return True
            if received is not None:
                self._batch(caller, m.decode_batch(received[0]))
                return True
        return False

    def _gone(self, caller: Caller) -> None:
        caller.channel.close()
        self.callers[caller.id].remove(caller)
        self._tell(m.CallerGone(caller.id))

    def _batch(self, caller: Caller, batch: Any) -> None:
        if isinstance(batch, m.Batch):
            for definition in batch.definitions or ():
                caller.defined[definition.no] = definition
            self.pending.extend((caller, task) for task in batch.tasks)

    def _begin(self, caller: Caller, task: m.Task) -> None:
        if task.no not in caller.defined:
            caller.replies.append(m.Reply(task.seq, m.NOT_STARTED))
            return
        missing = self.blocks.missing(task)
        if missing is not None:
            self.machine.cluster.missed(self)
            caller.replies.append(missing)
            return
        label, duration = pickle.loads(task.body)[0][:2]
        if self.pending:
            self.machine.progress[self.number] = task.seq
        self.machine.cluster.begun(self, label)
        self.running = (caller, task, label, duration)
        now = self.world.now
        self.until = now + duration
        self.tick_at = now + TICK_S

    def _finish(self) -> None:
        assert self.running is not None
        caller, task, label, _ = self.running
        if label.endswith(LARGE):
            self.until = NEVER
            self.blocks.make(caller.id, lambda value: self._answer(m.Reply(task.seq, m.DONE_VALUES, b"", [value])))
        else:
            self._answer(m.Reply(task.seq, m.DONE, pickle.dumps((label, task.seq))))

    def _answer(self, reply: m.Reply) -> None:
        assert self.running is not None
        caller, task, label, duration = self.running
        self.running = None
        caller.replies.append(reply)
        caller.spent_us += int(duration * 1e6)
        caller.ran += 1
        once = caller.defined[task.no].at_most_once or self.actor is not None
        if once or duration > 1e-3 or not self.pending:
            self._flush(caller)
        if not self.pending:
            self.machine.progress[self.number] = 0
        self.world.say(lambda: f"{self.name} has finished {label}, {task.seq}")

    def _give_back(self) -> None:
        """The task runs long: what was read, or sent by a client of another node, goes back."""
        if self.actor is not None:
            return
        for caller in [caller for caller in self._all() if caller.far]:
            try:
                while (received := caller.channel.receive()) is not None:
                    self._batch(caller, m.decode_batch(received[0]))
            except ChannelClosed:
                continue  # it is seen again when nothing runs
        while self.pending:
            caller, task = self.pending.popleft()
            caller.replies.append(m.Reply(task.seq, m.NOT_STARTED))
        self._flush_all()

    def _flush_all(self) -> None:
        for caller in self._all():
            self._flush(caller)

    def _flush(self, caller: Caller) -> None:
        if caller.replies:
            replies, caller.replies = caller.replies, []
            self._send(caller, m.Replies(replies, caller.spent_us, caller.ran))
            caller.spent_us = caller.ran = 0

    @staticmethod
    def _send(caller: Caller, message: m.Replies) -> None:
        try:
            caller.channel.send(m.encode(message))
        except ChannelClosed:
            return  # its end is on the way
