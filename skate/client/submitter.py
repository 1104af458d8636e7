"""Which task goes to which leased worker, when, and in which batch.

Pure: events in, decisions out; no socket, no clock. The runtime sends what `next_batch` returns and feeds back leases,
replies and deaths.

A task waits in the queue of its shape (its resource request) until a worker that was leased for that shape has room.
Room is measured in time: each function's mean duration is known from earlier replies, and a worker is given at most
`AHEAD_US` of expected work in packets of `BATCH_US`. A function that has never answered goes out one task at a time. So
short tasks travel in bulk, and a long one holds nobody behind it for long: what an idle worker finds unread in
another's socket is taken back (`victim`), and so is what waits behind a task that takes long (`held_up`).

INV-1: a task is in exactly one place: its shape's queue, or `inflight` of one worker.
INV-2: `worker.packets` lists, oldest first, the packets that were sent and not yet finished; the tasks of all of them
are exactly the worker's `inflight`.
INV-3: workers without packets are exactly those in `shape.idle`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from ..exceptions import TaskCancelledError

BATCH_US = 500
"""Expected work in one packet: what an unexpectedly long task at its head may delay before it is taken back."""
AHEAD_US = 2_000
"""Expected work on the way to one worker: covers the round trip many times over."""
BATCH_TASKS_MAX = 64
BATCH_BYTES_MAX = 48 * 1024
UNKNOWN_US = AHEAD_US
"""What a function is expected to take before it was ever measured: one at a time."""
SMOOTHING = 0.3
AGAIN_MAX_S = 1.0
"""A worker that stays silent is told at least so often to give back what it has."""


FAR_BITS = 32
NUMBER_MASK = (1 << FAR_BITS) - 1


def far(node: int, worker: int) -> int:
    """The number of a worker of another node, among this client's workers; node 0 is the own one."""
    return node << FAR_BITS | worker


class Function:
    """A remote function as the submitter knows it: its shape, and how long it takes."""

    __slots__ = ("base", "code", "expected_us", "near", "options", "shape", "spec_id")

    def __init__(self, code: Any, options: Any, shape: Shape, spec_id: int) -> None:
        self.code = code
        self.options = options
        self.shape = shape
        self.spec_id = spec_id
        self.expected_us: float = UNKNOWN_US
        self.base: Function | None = None
        """Of one whose tasks prefer a node: the function without that."""
        self.near: dict[int, Function] = {}
        """The same function for tasks that prefer a node, by its number."""


class TaskRecord:
    """A task from `.remote()` until its last attempt has ended."""

    __slots__ = (
        "attempt",
        "body",
        "cancelled",
        "dependencies",
        "function",
        "missing",
        "ooms",
        "parent",
        "pins",
        "ref",
        "refs",
        "retries_left",
        "seq",
        "shared",
        "stream",
        "submitted",
        "trace",
        "worker",
    )

    def __init__(self, seq: int, function: Any, body: bytes, ref: Any) -> None:
        self.seq = seq
        self.function = function
        self.body = body
        self.ref = ref
        self.worker: Any = None
        """The leased worker that has it, or for a call its actor."""
        self.attempt = 0
        self.dependencies: list[tuple[int | str, Any]] | None = None
        self.refs: list[Any] | None = None
        self.shared: Any = None
        self.stream: Any = None
        self.retries_left = 0
        self.cancelled: bool | str = False
        """Or how, if the program has not done it."""
        self.missing = 0
        self.ooms = 0
        """How often its worker was killed because memory had run out."""
        self.pins: Any = None
        self.parent: tuple[bytes, int] | None = None
        self.trace: dict[str, str] | None = None
        """Where its spans belong, if there are any."""
        self.submitted = 0.0
        """When this attempt began, in seconds since 1970; 0.0: it is not to be recorded, or was already."""


class LeasedWorker:
    """A worker that this client may send tasks of one shape to."""

    __slots__ = (
        "answered", "channel", "defined", "draining", "idle_since", "inflight", "load_us", "no", "packets", "pid", "seen",
        "shape",
    )  # fmt: skip

    def __init__(self, no: int, shape: Shape, channel: Any = None, pid: int = 0) -> None:
        self.no = no
        self.shape = shape
        self.channel = channel
        self.pid = pid
        self.inflight: dict[int, TaskRecord] = {}
        self.packets: deque[list[TaskRecord]] = deque()
        self.load_us = 0.0
        self.defined: dict[int, None] = {}
        """The functions that the worker knows by their numbers, in the order in which it was told."""
        self.idle_since = 0.0
        self.answered = 0.0
        """When a task of it ended last, or it was leased: what it runs has begun since then."""
        self.draining = False
        self.seen: tuple[Any, float, float, float] = None, 0.0, 0.0, 0.0
        """What was the oldest packet when somebody looked, when it had answered last, when that was seen first, and until when
        that is no reason to do something."""

    @property
    def node(self) -> int:
        """The number of its node; 0 is the own one."""
        return self.no >> FAR_BITS


class Shape:
    """Tasks that ask for the same resources and environment on the same node, or prefer the same node: they share a queue and
    workers."""

    __slots__ = (
        "asked", "env", "failed", "idle", "key", "no", "node_id", "node_soft", "patient", "prefers", "queue", "resources",
        "saves", "told", "workers",
    )  # fmt: skip

    def __init__(
        self, no: int, key: Any, resources: dict[str, float], node_id: str, node_soft: bool, prefers: int, env: str
    ) -> None:
        self.no = no
        self.key = key
        self.resources = resources
        self.node_id = node_id
        self.node_soft = node_soft
        self.prefers = prefers
        """The node, by number, that has the arguments of these tasks; 0: they have no preference."""
        self.env = env
        """The environment that they run in."""
        self.patient = bool(prefers)
        """They wait for the node that they prefer; if not, they run anywhere."""
        self.saves = 0
        """How many bytes of arguments stay where they are if the last task runs on the node that it prefers."""
        self.queue: deque[TaskRecord] = deque()
        self.workers: dict[int, LeasedWorker] = {}
        self.idle: list[LeasedWorker] = []
        self.asked = 0
        """How many workers could be used, of all nodes together, when the own node was last told."""
        self.failed: Exception | None = None
        """Why such tasks cannot run any more."""
        self.told: dict[int, int] = {}
        """How many workers each node was asked for, by their numbers; 0 is the own one."""

    def wants(self) -> int:
        """How many workers could be used now."""
        return len(self.queue) + len(self.workers) - len(self.idle)

    def has_on(self, node: int) -> int:
        """How many workers of a node there are."""
        return sum(no >> FAR_BITS == node for no in self.workers)

    def wants_of(self, node: int) -> int:
        """How many workers of one node could be used now: those that are busy, and one for each task that waits."""
        idle = sum(worker.no >> FAR_BITS == node for worker in self.idle)
        return len(self.queue) + self.has_on(node) - idle


def cancellation(task: TaskRecord, ident: str = "") -> TaskCancelledError:
    """The error of a task that was cancelled, and how if the program has not done that."""
    name = f"Task {ident}" if ident else "The task"
    how = f" {task.cancelled}" if isinstance(task.cancelled, str) else ""
    return TaskCancelledError(ident, f"{name} was cancelled{how}.")


class Submitter:
    """The queues and leased workers of one client."""

    def __init__(self) -> None:
        self.patient = True
        """Demand that shrinks is told when it has stayed so; until other nodes are offered: they hear of it through the own."""
        self.shapes: dict[Any, Shape] = {}
        self.by_no: list[Shape] = []
        self.workers: dict[int, LeasedWorker] = {}
        self.lessened: dict[Shape, float] = {}
        """Shapes that could use much less than was asked for, and since when; 0.0: nobody has looked at a clock since."""
        self.ahead = False
        """Some worker may have more than the task that it runs."""
        self.coming: dict[int, Shape] = {}
        """Workers of other nodes that were granted, and are not connected yet."""

    # ------------------------------------------------------------ shapes and leases

    def shape(
        self, resources: dict[str, float], node_id: str = "", node_soft: bool = False, prefers: int = 0, env: str = ""
    ) -> Shape:
        """The shape of a resource request, made when new."""
        key = (tuple(sorted(resources.items())), node_id, node_soft, prefers, env)
        found = self.shapes.get(key)
        if found is None:
            found = self.shapes[key] = Shape(len(self.by_no), key, resources, node_id, node_soft, prefers, env)
            self.by_no.append(found)
        return found

    def near(self, function: Function, node: int) -> Function:
        """The same function for tasks that prefer a node."""
        found = function.near.get(node)
        if found is None:
            shape = self.shape(function.shape.resources, prefers=node, env=function.shape.env)
            found = function.near[node] = Function(function.code, function.options, shape, function.spec_id)
            found.base = function
            found.expected_us = function.expected_us
        return found

    def add_worker(self, no: int, shape_no: int, channel: Any, pid: int, now: float) -> LeasedWorker:
        """A lease was granted."""
        shape = self.by_no[shape_no]
        worker = LeasedWorker(no, shape, channel, pid)
        worker.idle_since = worker.answered = now
        self.workers[no] = shape.workers[no] = worker
        shape.idle.append(worker)
        return worker

    def remove_worker(self, worker: LeasedWorker) -> None:
        """The lease has ended; nothing may be in flight on it."""
        assert not worker.inflight, "a lease ended with tasks in flight"
        del self.workers[worker.no], worker.shape.workers[worker.no]
        if worker in worker.shape.idle:
            worker.shape.idle.remove(worker)

    def demand(self, shape: Shape) -> int | None:
        """The number of workers to ask the node for, or None when what was asked for last still stands.

        Demand that grows is told each time it doubles, so that a loop of submissions costs a logarithm of messages. For who is
        `patient`, demand that shrinks is told when it has stayed so (`shrunk`): queues of short tasks run empty and fill again.
        """
        wants = shape.wants()
        granted = shape.asked <= len(shape.workers)  # the node has nothing left to give for what it was told
        if wants > len(shape.workers) and (granted or wants > shape.asked * 2 - (shape.asked == 1)):
            shape.asked = wants
            return wants
        if shape not in self.lessened and self.is_less(shape, wants):
            if not self.patient:
                shape.asked = wants
                return wants
            self.lessened[shape] = 0.0
        return None

    @staticmethod
    def is_less(shape: Shape, wants: int) -> bool:
        """Whether that is much less than was asked for."""
        return (shape.asked > 1 and wants * 4 < shape.asked) or (shape.asked > 0 and not wants)

    @staticmethod
    def given_back(shape: Shape) -> None:
        """A worker was given back, perhaps one of a node that is asked for none: for what waits then, one is to be asked for."""
        shape.asked = min(shape.asked, max(len(shape.workers), sum(shape.told.values())))

    def grows_again(self, shape: Shape) -> bool:
        """Whether more waits than there are workers for, of a shape that could use less before."""
        return shape.wants() > len(shape.workers) and self.lessened.pop(shape, None) is not None

    def shrunk(self, now: float, linger: float) -> list[Shape]:
        """Shapes that could use much less than was asked for, as they could `linger` seconds ago: that is to be told."""
        found = []
        for shape, since in list(self.lessened.items()):
            if not since:
                self.lessened[shape] = now
            elif now - since >= linger:
                del self.lessened[shape]
                if self.is_less(shape, shape.wants()):
                    found.append(shape)
        return found

    def offered(self, shape: Shape, node: int, room: int, share: int) -> int | None:
        """Another node has room for `room` more workers, or lets `share` in all wait there: how many to ask it for, or None
        when it was asked for as many before.

        Of each node no more is asked than could be used if only that node gave any. A task for which a worker is coming does not
        wait for another.
        """
        coming = [number >> FAR_BITS for number, of in self.coming.items() if of is shape]
        have, waiting = shape.has_on(node) + coming.count(node), max(0, len(shape.queue) - len(coming))
        level = max(have + min(room, waiting), min(share, have + waiting))
        return level if waiting and level > shape.told.get(node, 0) else None

    def returnable(self, now: float, linger: float) -> list[LeasedWorker]:
        """Workers that were idle for `linger` seconds or are to be drained."""
        return [
            worker
            for shape in self.by_no
            for worker in shape.idle
            if not shape.queue and (worker.draining or now - worker.idle_since >= linger)
        ]

    # ------------------------------------------------------------ tasks out

    def next_batch(self, shape: Shape) -> tuple[LeasedWorker, list[TaskRecord]] | None:
        """The next packet to send for this shape, or None when the queue is empty or every worker has enough."""
        queue = shape.queue
        if not queue:
            return None
        if shape.idle and not shape.idle[-1].draining:
            worker = shape.idle.pop()
        else:
            best = None
            for candidate in shape.workers.values():
                if (
                    candidate.load_us < AHEAD_US
                    and not candidate.draining
                    and (best is None or candidate.load_us < best.load_us)
                ):
                    best = candidate
            if best is None or best.load_us + queue[0].function.expected_us > AHEAD_US:
                return None
            worker = best
            if worker in shape.idle:
                shape.idle.remove(worker)
        tasks = self._cut(queue, len(shape.workers), len(shape.idle))
        if worker.packets or len(tasks) > 1:
            self.ahead = True
        packet_us = 0.0
        for task in tasks:
            task.worker = worker
            worker.inflight[task.seq] = task
            packet_us += task.function.expected_us
        worker.load_us += packet_us
        worker.packets.append(tasks)
        return worker, tasks

    @staticmethod
    def _cut(queue: deque[TaskRecord], workers: int, idle: int) -> list[TaskRecord]:
        """Take as much off the queue as one packet should hold, leaving other idle workers their share."""
        task = queue.popleft()
        tasks = [task]
        expected = task.function.expected_us
        if expected >= BATCH_US or not queue:
            return tasks
        share = min(BATCH_TASKS_MAX, 1 + len(queue) // max(1, workers if idle else (workers + 1) // 2))
        size = len(task.body)
        while len(tasks) < share and queue:
            task = queue[0]
            expected += task.function.expected_us
            size += len(task.body)
            if expected > BATCH_US or size > BATCH_BYTES_MAX:
                break
            tasks.append(queue.popleft())
        return tasks

    # ------------------------------------------------------------ answers in

    def finished(self, worker: LeasedWorker, seq: int) -> TaskRecord | None:
        """A task's last word has come; None when the task is not this worker's (a late answer)."""
        task = worker.inflight.pop(seq, None)
        if task is None:
            return None
        task.worker = None
        return task

    def settle(self, worker: LeasedWorker, spent_us: int, ran: int, function: Any, now: float) -> None:
        """After a packet of answers: update what the function takes, what is on its way, and who is idle."""
        if ran and function is not None:
            worker.answered = now
            each = spent_us / ran
            old = function.expected_us
            function.expected_us = each if old == UNKNOWN_US else old + SMOOTHING * (each - old)
        inflight = worker.inflight
        packets = worker.packets
        if not inflight:
            packets.clear()
            worker.load_us = 0.0
            if worker.no in worker.shape.workers and worker not in worker.shape.idle:
                worker.idle_since = now
                worker.shape.idle.append(worker)
            return
        while packets and packets[0][-1].seq not in inflight:
            if any(task.seq in inflight for task in packets[0]):
                break
            packets.popleft()
        load_us = sum(task.function.expected_us for task in inflight.values())
        worker.load_us = load_us if ran else max(load_us, worker.load_us)  # an item may be that of a slow stream

    def is_slow(self, worker: LeasedWorker) -> None:
        """A worker has given tasks back: what it runs takes longer than was expected. It gets no more before that has ended."""
        worker.load_us = max(worker.load_us, AHEAD_US)

    def requeue(self, tasks: Iterable[TaskRecord]) -> None:
        """Put tasks that did not start back at the head of their queues, in order."""
        for task in reversed(list(tasks)):
            task.worker = None
            task.function.shape.queue.appendleft(task)

    # ------------------------------------------------------------ taking back

    def victim(self, shape: Shape) -> LeasedWorker | None:
        """The busy worker whose unread packets an idle one should have; None when there is nothing to take."""
        if shape.queue or not shape.idle:
            return None
        best = None
        for worker in shape.workers.values():
            if len(worker.packets) > 1 and (best is None or worker.load_us > best.load_us):
                best = worker
        return best

    def held_up(self, now: float, patience: float) -> list[LeasedWorker]:
        """Workers that have not answered for `patience` seconds and have more than the task that they run.

        Each is found again after as long as it has been silent: it may be one that cannot answer at all.
        """
        found = []
        self.ahead = False
        for worker in self.workers.values():
            if len(worker.inflight) > 1:
                self.ahead = True
                packet, answered, since, until = worker.seen
                if packet is not worker.packets[0] or answered != worker.answered:
                    worker.seen = worker.packets[0], worker.answered, now, now + patience
                elif now >= until:
                    worker.seen = packet, answered, since, now + min(now - since, AGAIN_MAX_S)
                    found.append(worker)
        return found

    def took_back(self, worker: LeasedWorker, seqs: Iterable[int]) -> list[TaskRecord]:
        """These tasks of a worker were taken back unread; they are queued again."""
        tasks = [worker.inflight.pop(seq) for seq in seqs]
        gone = {task.seq for task in tasks}
        kept = [packet for packet in worker.packets if packet[0].seq not in gone]
        worker.packets = deque(kept)
        worker.load_us = sum(task.function.expected_us for task in worker.inflight.values())
        if not worker.inflight and worker not in worker.shape.idle:
            worker.shape.idle.append(worker)
        self.requeue(tasks)
        return tasks

    def split_dead(
        self, worker: LeasedWorker, unread: set[int], running: int = 0
    ) -> tuple[TaskRecord | None, list[TaskRecord]]:
        """After a worker's death: the task that ran, and those to run again without being blamed.

        The worker has left the number of the task that it was running, if its packet had several; what came before that
        had finished, but its answer was lost. With a single task in the packet there is no doubt.
        """
        unknown = running not in worker.inflight or running in unread
        ran: TaskRecord | None = None
        rest: list[TaskRecord] = []
        for seq, task in worker.inflight.items():
            if ran is None and seq not in unread and (unknown or seq == running):
                ran = task
            else:
                rest.append(task)
        worker.inflight = {}
        worker.packets.clear()
        return ran, rest

    # ------------------------------------------------------------ checks

    def tasks(self) -> Iterator[TaskRecord]:
        """Every task that waits or runs."""
        for shape in self.by_no:
            yield from shape.queue
        for worker in self.workers.values():
            yield from worker.inflight.values()

    def validate(self) -> None:
        """Check the invariants; for tests and the simulator."""
        seen: set[int] = set()
        for task in self.tasks():
            assert task.seq not in seen, f"task {task.seq} is in two places"
            seen.add(task.seq)
        for worker in self.workers.values():
            in_packets = {task.seq for packet in worker.packets for task in packet}
            assert set(worker.inflight) <= in_packets, (worker.no, worker.inflight, in_packets)
            assert (worker in worker.shape.idle) == (not worker.inflight)
