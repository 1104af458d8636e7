"""The client runtime: what every driver and worker has to submit, wait, and hold references.

It ties the parts together: the control channel to the node, the pump that reads, and one object each for tasks, actors,
objects, streams and memory. All state is guarded by one lock, held for microseconds and never while waiting or while
user code runs.

INV-1: everything in the parts changes with `lock` held, except what `deque.append` does.
INV-2: no user code runs with `lock` held: values are pickled before, and unpickled after.
"""

from __future__ import annotations

import itertools
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..exceptions import GetTimeoutError, NotRunningError, ObjectStoreFullError, RaySystemError, TaskUnschedulableError
from ..store.arena import Arena
from ..wire import messages as m
from ..wire.channel import Channel, ChannelClosed, wait_writable
from .actors import ActorClient, Actors
from .memory import CACHE_BYTES, GRANT_BYTES, Block, Memory
from .objects import Objects
from .pump import Pump, Waiter
from .refs import ERROR, REMOTE, VALUE, ObjectRef, ObjectRefGenerator
from .streams import Stream, Streams, restore_generator
from .submitter import TaskRecord
from .tasks import Tasks
from .waist import TaskContext
from .waiting import Waits

if TYPE_CHECKING:
    from .specs import ActorSpec, FunctionSpec, MethodOptions


class Slot:
    """A request to the node that waits for its answer."""

    __slots__ = ("abandoned", "answer", "number", "waiter")

    def __init__(self, number: int) -> None:
        self.number = number
        self.answer: Any = None
        self.abandoned = False
        self.waiter = Waiter()


class ClientRuntime:
    """The `Runtime` over real processes."""

    def __init__(self, channel: Channel, welcome: m.Welcome, arena: Arena, namespace: str, is_driver: bool) -> None:
        self.control = channel
        self.client_id = welcome.client
        self.worker_no = welcome.worker
        self.welcome = welcome
        self.namespace = namespace
        self.is_driver = is_driver
        self.lock = threading.RLock()
        self.dropped: deque[bytes] = deque()
        self.dropped_streams: deque[Stream] = deque()
        self._pinned: dict[bytes, ObjectRef[Any]] = {}
        """References that were pickled by other means than ours: nobody can say who has them."""
        self.running_task: Callable[[], tuple[bytes, int] | None] = lambda: None
        """The task that this thread runs; a worker sets it."""
        self._callbacks: queue.SimpleQueue[Callable[[], None]] | None = None
        self.pump = Pump(self.lock, self._between)
        self.pump.on_tick = self._tick
        self.memory = Memory(arena)
        self.objects = Objects(self)
        self.tasks = Tasks(self)
        self.actors = Actors(self)
        self.streams = Streams(self)
        self.waits = Waits(self)
        self._ids = itertools.count(1)
        self.next_id = self._ids.__next__
        self._reserved = 1 << 64
        """Ranges of ids are cut off the other end."""
        self.code_hashes: set[bytes] = set()
        self._slots: dict[int, Slot] = {}
        self._stream_holds: Any = _weak_keys()
        self.closed = False
        self.lost: str = ""
        self._local = threading.local()
        self.on_message: Callable[[Any, list[int]], bool] | None = None
        self.before_block: Callable[[], None] | None = None
        self.on_output: Callable[[m.Output], None] | None = None
        self.kept: Any = None
        self.main_thread = threading.main_thread().ident
        self.pump.add(channel.fd, self._on_control)

    # ------------------------------------------------------------ ids

    def next_ids(self, count: int) -> int:
        """Reserve `count` ids that nothing else gets; the first."""
        self._reserved -= count + 1
        return self._reserved

    def new_id(self) -> bytes:
        """A new object id."""
        return self.client_id + self.next_id().to_bytes(8, "big")

    def ref_id(self, ref: ObjectRef[Any]) -> bytes:
        """The full id of a reference whose id is still a bare number."""
        ident = ref._id
        if type(ident) is int:
            ident = ref._id = self.client_id + ident.to_bytes(8, "big")
        return ident  # type: ignore[return-value]

    def task_id_of_seq(self, seq: int) -> str:
        """A task's id in hexadecimal."""
        return (self.client_id + seq.to_bytes(8, "big")).hex()

    def task_id_of(self, ref: ObjectRef[Any]) -> str:
        """See `Runtime.task_id_of`."""
        task = ref._task
        if isinstance(task, TaskRecord):
            return self.task_id_of_seq(task.seq)
        return ref.hex()

    # ------------------------------------------------------------ the node

    def send(self, message: Any, fds: Sequence[int] = ()) -> None:
        """Send to the node. What was sent is in the kernel when this returns: what this process tells others next
        cannot overtake it. Needs the lock."""
        if self.closed:
            return
        try:
            done = self.control.send_fds(m.encode(message), fds) if fds else self.control.send(m.encode(message))
            while not done:
                wait_writable(self.control.fd)
                done = self.control.flush()
        except ChannelClosed:
            self._node_lost()

    def open_request(self) -> Slot:
        """A place for an answer. Needs the lock."""
        slot = Slot(self.next_id())
        self._slots[slot.number] = slot
        return slot

    def wait_request(self, slot: Slot, timeout: float | None = None, why: str = "an answer from the node") -> Any:
        """Wait for the answer."""
        if not self.wait_for(slot.waiter, timeout, lambda: why):
            raise GetTimeoutError(f"no answer in {timeout} s: {why}")
        if slot.answer is None:
            raise NotRunningError(self.lost or "skate was shut down")
        return slot.answer

    def ask(self, what: str, argument: Any = None) -> Any:
        """Ask the node a question about state."""
        with self.lock:
            self.check_open()
            slot = self.open_request()
            self.send(m.Ask(slot.number, what, argument))
        answer = self.wait_request(slot)
        if answer.error:
            raise ValueError(answer.error)
        return answer.value

    def check_open(self) -> None:
        """Raise when the node is gone."""
        if self.closed:
            raise NotRunningError(self.lost or "skate was shut down; call skate.init() to start again")

    def _on_control(self, mask: int) -> None:
        for _ in range(64):
            try:
                received = self.control.receive()
            except ChannelClosed:
                self._node_lost()
                return
            if received is None:
                return
            self.handle(m.decode_from_node(received[0]), received[1])

    def handle(self, message: Any, fds: list[int]) -> None:
        """A message from the node. Needs the lock."""
        kind = type(message)
        if kind is m.Leased:
            self.tasks.leased(message, fds)
        elif kind is m.Fetched:
            self.objects.fetched(message)
        elif kind is m.Freed:
            for ident in message.ids:
                self.memory.freed(ident)
            self._trim()
        elif kind in (m.Memory, m.Answer, m.FoundActor):
            self.answer(message)
        elif kind is m.WorkerDied:
            self.tasks.worker_died(message)
        elif kind is m.ActorChanged:
            self.actors.changed(message)
        elif kind is m.CannotStart:
            self.tasks.cannot_start(message.reason)
        elif kind is m.GiveBack:
            self.tasks.asked_back(message)
        elif kind is m.GiveBackMemory:
            self.settle()
            self._return_memory(0)
        elif kind is m.Output:
            if self.on_output is not None:
                self.on_output(message)
        elif self.on_message is None or not self.on_message(message, fds):
            raise RaySystemError(f"unexpected message from the node: {kind.__name__}")

    def answer(self, message: Any) -> None:
        """A request has its answer. Needs the lock."""
        slot = self._slots.pop(message.request, None)
        if slot is not None and not slot.abandoned:
            slot.answer = message
            slot.waiter.notify()
        elif isinstance(message, m.Memory) and message.size:
            self.send(m.ReturnMemory([(message.offset, message.size)]))  # who asked for it was interrupted

    def _node_lost(self) -> None:
        """The node is gone: everything that waits for it fails."""
        if self.closed:
            return
        self.closed = True
        self.lost = "The skate node process has died; call skate.shutdown() and skate.init() to start again."
        self.pump.remove(self.control.fd)
        self._fail_everything(self.lost)

    def _fail_everything(self, reason: str) -> None:
        from ..exceptions import LocalRayletDiedError

        error = LocalRayletDiedError(reason)
        for slot in list(self._slots.values()):
            slot.waiter.notify()
        self._slots.clear()
        for task in list(self.tasks.submitter.tasks()):
            self.tasks.fail(task, error)
        for actor in list(self.actors.by_id.values()):
            for task in [*actor.inflight.values(), *actor.queue]:
                self.tasks.fail(task, error)
            actor.inflight = {}
            actor.queue.clear()
        for ref in list(self.objects.fetching.values()):
            ref._value, ref._state = error, ERROR
            self.objects.finish(ref)
        if not self.is_driver:
            os._exit(1)  # a worker does not outlive its node

    # ------------------------------------------------------------ upkeep

    def settle(self) -> None:
        """Tell the node of references and blocks that are gone here. Needs the lock."""
        while self.dropped_streams:
            self.streams.dropped(self.dropped_streams.popleft())
        dropped = self.dropped
        while dropped:
            ident = dropped.popleft()
            if ident in self.actors.by_id and ident not in self.objects.known and self._forget_actor(ident):
                continue
            self.send(m.Hold(ident, -1))
        if self.memory.ended:
            for ident in self.memory.settle():
                self.send(m.Hold(ident, -1))
            self._trim()

    def _forget_actor(self, ident: bytes) -> bool:
        """The last handle of an actor is gone, and every call is answered; True when the node never heard of it."""
        actor = self.actors.by_id.pop(ident)
        if actor.creating is not None:
            self.actors.abandon(actor, "all handles to it were dropped before it had started")
            return True
        self.actors._disconnect(actor)
        return False

    def _trim(self) -> None:
        if self.memory.free.total > CACHE_BYTES:
            self._return_memory(CACHE_BYTES // 2)

    def _return_memory(self, keep: int) -> None:
        ranges = self.memory.surplus(keep)
        if ranges:
            self.send(m.ReturnMemory(ranges))

    def _between(self) -> float | None:
        """What is due between two polls; the seconds until something will be."""
        if self.actors.dirty or self.dropped or self.memory.ended or self.dropped_streams:
            with self.lock:
                self.actors.flush_dirty()
                self.settle()
        if self.tasks.submitter.workers or self.tasks.retry_at:
            due = self.tasks.next_due()
            if (due is not None and due <= LINGER_CHECK_S) or self.tasks.retry_at:
                with self.lock:
                    self.tasks.run_due()
            return due
        return None

    def _tick(self) -> None:
        if self.actors.dirty or self.dropped or self.dropped_streams:
            with self.lock:
                self.actors.flush_dirty()
                self.settle()

    def grow_memory(self, size: int) -> Block:
        """Ask the node for memory and cut a block of it; waits while the store is full.

        Raises:
            ObjectStoreFullError: the store cannot hold it.
        """
        with self.lock:
            self.check_open()
            slot = self.open_request()
            patience = PUT_PATIENCE_S if self.is_driver else RESULT_PATIENCE_S
            self.send(m.WantMemory(slot.number, max(size + 64, GRANT_BYTES), patience))
        try:
            answer: m.Memory = self.wait_request(slot, why=f"{size} bytes of object store memory")
        except BaseException:
            with self.lock:
                slot.abandoned = True
                if slot.answer is not None:
                    self.answer(slot.answer)
            raise
        if not answer.size:
            raise ObjectStoreFullError(f"cannot store an object of {size} bytes: {answer.reason}")
        try:
            self.memory.arena.reserve(answer.offset, answer.size)
        except OSError as error:
            with self.lock:
                self.send(m.ReturnMemory([(answer.offset, answer.size)]))
            raise ObjectStoreFullError(f"the machine has no memory for an object of {size} bytes: {error}") from error
        with self.lock:
            self.memory.granted(answer.offset, answer.size)
            block = self.objects.cut_block(size)
        assert block is not None
        return block

    def lend_block(self, block: Block) -> None:
        """Let the node answer for a block of this process. Needs the lock."""
        if not block.held:
            self.send(m.Register(block.id, m.Value(m.SHARED, b"", block.id, block.offset, block.size)))
            self.memory.lend(block)

    def keep_for_others(self, ids: list[bytes]) -> None:
        """A worker goes on reading blocks that it was sent: the node knows them now. Needs the lock."""
        for ident in ids:
            block = self.memory.own.get(ident)
            if block is not None:
                self.lend_block(block)

    # ------------------------------------------------------------ Runtime: work

    def submit(self, function: FunctionSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See `Runtime.submit`."""
        return self.tasks.submit(function, args, kwargs)

    def create_actor(
        self, spec: ActorSpec, args: tuple[Any, ...], kwargs: dict[str, Any], meta: bytes
    ) -> tuple[ObjectRef[Any], bytes]:
        """See `Runtime.create_actor`."""
        return self.actors.create(spec, args, kwargs, meta)

    def call(self, actor: ObjectRef[Any], method: MethodOptions, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See `Runtime.call`."""
        return self.actors.call(actor, method, args, kwargs)

    def get_actor(self, name: str, namespace: str) -> tuple[ObjectRef[Any], bytes]:
        """See `Runtime.get_actor`."""
        with self.lock:
            self.check_open()
            slot = self.open_request()
            self.send(m.FindActor(slot.number, name, namespace or self.namespace))
        found = self.wait_request(slot)
        if found.error:
            raise ValueError(found.error)
        with self.lock:
            return self.objects.adopt(found.id), found.meta

    def list_named_actors(self, all_namespaces: bool) -> list[tuple[str, str]]:
        """See `Runtime.list_named_actors`."""
        names = [(space, name) for space, name in self.ask("named_actors")]
        return names if all_namespaces else [pair for pair in names if pair[0] == self.namespace]

    def kill(self, actor: ObjectRef[Any], no_restart: bool) -> None:
        """See `Runtime.kill`."""
        with self.lock:
            self.actors.killed(actor)
            self.send(m.KillActor(actor.binary(), no_restart))

    def exit_actor(self) -> None:
        """See `Runtime.exit_actor`; a worker replaces it."""
        raise TypeError("exit_actor() ends the actor that calls it: it can only be called inside an actor")

    def put(self, value: Any) -> ObjectRef[Any]:
        """See `Runtime.put`."""
        self.check_open()
        return self.objects.put(value)

    # ------------------------------------------------------------ Runtime: waiting

    def when_done(self, ref: ObjectRef[Any], callback: Callable[[ObjectRef[Any]], None]) -> None:
        """Call back when done, which it is not yet; fetch it if it is elsewhere. Needs the lock."""
        if ref._callbacks is None:
            ref._callbacks = []
        ref._callbacks.append(callback)
        if ref._state == REMOTE:
            self.objects.fetch(ref)

    def on_done(self, ref: ObjectRef[Any], callback: Callable[[ObjectRef[Any]], None], quick: bool = False) -> None:
        """See `Runtime.on_done`."""
        with self.lock:
            if ref._state < VALUE:
                self.when_done(ref, callback if quick else lambda ref: self.call_later(partial(callback, ref)))
                self.actors.flush_dirty()
                return
        callback(ref)

    def call_later(self, callback: Callable[[], None]) -> None:
        """Call back on a thread of its own: user code never runs inside a handler. Needs the lock."""
        if self._callbacks is None:
            self._callbacks = queue.SimpleQueue()
            threading.Thread(target=_call_back, args=(self._callbacks,), name="skate-callbacks", daemon=True).start()
        self._callbacks.put(callback)

    def get(self, refs: Sequence[ObjectRef[Any]], timeout: float | None) -> list[Any]:
        """See `Runtime.get`."""
        return self.waits.get(refs, timeout)

    def wait(
        self, refs: Sequence[Any], num_returns: int, timeout: float | None, fetch_local: bool
    ) -> tuple[list[Any], list[Any]]:
        """See `Runtime.wait`."""
        return self.waits.wait(refs, num_returns, timeout)

    def wait_for(self, waiter: Waiter, timeout: float | None, why: Callable[[], str]) -> bool:
        """See `Waits.wait_for`."""
        return self.waits.wait_for(waiter, timeout, why)

    def why(self, ref: ObjectRef[Any]) -> str:
        """See `Runtime.why`."""
        text, needed = self._why(ref)
        if needed is None or self.closed:
            return text
        return f"{text}; {self.ask('why', needed)}"

    def _why(self, ref: ObjectRef[Any]) -> tuple[str, dict[str, float] | None]:
        """What it waits for, and the resources if it is these."""
        with self.lock:
            if ref._state >= VALUE:
                return "nothing: it is done", None
            task = ref._task
            if isinstance(task, ActorClient):
                return f"it is an actor, which is {task.state}", None
            if task is None:
                return f"object {ref.hex()} is made by another process, and not finished", None
            if isinstance(task.worker, ActorClient):
                return self.actors.why(task.worker, task)
            return self.tasks.why(task)

    # ------------------------------------------------------------ Runtime: cancelling

    def cancel(self, what: ObjectRef[Any] | ObjectRefGenerator[Any], force: bool, recursive: bool) -> None:
        """See `Runtime.cancel`."""
        with self.lock:
            task = what._stream.record if isinstance(what, ObjectRefGenerator) else what._task
            if task is None and isinstance(what, ObjectRef) and what._state == REMOTE:
                raise ValueError("only the process that submitted a task can cancel it")
            if not isinstance(task, TaskRecord):
                return
            if isinstance(task.worker, ActorClient):
                if force:
                    raise ValueError("force=True is not supported for actor calls; use skate.kill to end the actor")
                self.actors.cancel(task.worker, task)
            else:
                self.tasks.cancel(task, force, recursive)
        self.pump.nudge()

    # ------------------------------------------------------------ Runtime: streams

    def stream_next(self, generator: ObjectRefGenerator[Any], timeout: float | None) -> ObjectRef[Any] | None:
        """See `Runtime.stream_next`."""
        return self.streams.next(generator._stream, timeout)

    def stream_on_item(self, generator: ObjectRefGenerator[Any], callback: Callable[[], None]) -> None:
        """See `Runtime.stream_on_item`."""
        with self.lock:
            self.actors.flush_dirty()
        self.streams.on_item(generator._stream, callback)

    def stream_completed(self, generator: ObjectRefGenerator[Any]) -> ObjectRef[None]:
        """See `Runtime.stream_completed`."""
        completed: ObjectRef[None] = generator._stream.completed
        return completed

    def stream_finished(self, generator: ObjectRefGenerator[Any]) -> bool:
        """See `Runtime.stream_finished`."""
        return self.streams.finished(generator._stream)

    def stream_id(self, generator: ObjectRefGenerator[Any]) -> str:
        """See `Runtime.stream_id`."""
        return str(generator._stream.completed.hex())

    def reduce_stream(self, generator: ObjectRefGenerator[Any]) -> tuple[Any, ...]:
        """See `Runtime.reduce_stream`."""
        with self.lock:
            stream = generator._stream
            anchor = self.streams.publish(stream)
            return restore_generator, (anchor, stream.taken)

    def stream_dropped(self, stream: Stream) -> None:
        """The generator of a stream is gone here. Called by the garbage collector: at any time, on any thread."""
        if not self.closed and not stream.abandoned:
            self.dropped_streams.append(stream)
            self.pump.nudge()

    def stream_holds(self, anchor: ObjectRef[Any], ident: bytes) -> None:
        """The items of a published stream are held as long as its anchor lives here. Needs the lock."""
        from .objects import Held

        self._stream_holds.setdefault(anchor, []).append(Held(self, ident))

    def send_credit(self, record: TaskRecord, taken: int) -> None:
        """The consumer has taken items of a stream with back-pressure. Needs the lock."""
        worker: Any = record.worker
        channel = worker.channel if isinstance(worker, ActorClient) else worker.channel.channel
        if channel is not None:
            try:
                if not channel.send(m.encode(m.Credit(record.seq, taken))):
                    self.pump.want_write(channel.fd, True)
            except ChannelClosed:
                return  # its producer is dead: the stream ends by that

    # ------------------------------------------------------------ Runtime: references

    def reduce_ref(self, ref: ObjectRef[Any]) -> tuple[Any, ...]:
        """A reference pickled by other means than ours: it is published, and held as long as this process lives."""
        with self.lock:
            ident = self.objects.publish(ref)
            self._pinned[ident] = ref
        return restore_reference, (ident,)

    # ------------------------------------------------------------ Runtime: state

    def context(self) -> TaskContext:
        """See `Runtime.context`."""
        context = getattr(self._local, "context", None)
        return context if context is not None else self.base_context()

    def set_context(self, context: TaskContext | None) -> None:
        """Who runs on this thread from now on."""
        self._local.context = context

    def base_context(self) -> TaskContext:
        """The context outside of any task."""
        welcome = self.welcome
        return TaskContext(
            job_id=welcome.job,
            node_id=welcome.node,
            worker_id=self.client_id.hex(),
            namespace=self.namespace,
            session=welcome.session,
            session_dir=welcome.session_dir,
            is_driver=self.is_driver,
        )

    def nodes(self) -> list[dict[str, Any]]:
        """See `Runtime.nodes`."""
        nodes: list[dict[str, Any]] = self.ask("nodes")
        return nodes

    def cluster_resources(self) -> dict[str, float]:
        """See `Runtime.cluster_resources`."""
        total: dict[str, float] = self.ask("total")
        return total

    def available_resources(self) -> dict[str, float]:
        """See `Runtime.available_resources`."""
        with self.lock:
            self.tasks.return_idle(-1.0)
        available: dict[str, float] = self.ask("available")
        return available

    def check_feasible(self, what: str, resources: Mapping[str, float]) -> None:
        """See `Runtime.check_feasible`."""
        total = self.welcome.total
        for name, amount in resources.items():
            if amount > total.get(name, 0.0) + 1e-9:
                have = ", ".join(f"{key}: {value:.12g}" for key, value in sorted(total.items()))
                raise TaskUnschedulableError(
                    f"{what} can never run: it needs {amount:.12g} {name}, and the cluster has {total.get(name, 0.0):.12g}. "
                    f"The cluster has {{{have}}}."
                )

    def leave_to_parent(self, reason: str) -> None:
        """In a forked child: close the parent's sockets here, without a word on them, and be unusable."""
        self.closed = True
        self.lost = reason
        self.control.sock.close()
        for worker in self.tasks.submitter.workers.values():
            worker.channel.close()
        for actor in self.actors.by_id.values():
            if actor.channel is not None:
                actor.channel.sock.close()
            if actor.reader_end is not None:
                actor.reader_end.close()

    def shutdown(self) -> None:
        """Leave the node. What this process started ends."""
        if not self.closed:
            slot = None
            with self.lock:
                self.actors.flush_dirty()
                slot = self.open_request()
                self.send(m.Flushed(slot.number))
            try:
                self.wait_request(slot, timeout=5.0)
            except (RaySystemError, GetTimeoutError):
                self.lost = self.lost or "the node did not answer"
        with self.lock:
            self.closed = True
            self.lost = self.lost or "skate was shut down; call skate.init() to start again"
            self._fail_everything(self.lost) if self.is_driver else None
        self.pump.close()
        self._pinned.clear()
        if self._callbacks is not None:
            self._callbacks.put(_STOP)
        for worker in list(self.tasks.submitter.workers.values()):
            worker.channel.close()
        for actor in self.actors.by_id.values():
            if actor.channel is not None:
                actor.channel.close()
            if actor.reader_end is not None:
                actor.reader_end.close()
        self.control.close()
        self.memory.close()


def _call_back(callbacks: queue.SimpleQueue[Callable[[], None]]) -> None:
    while True:
        callback = callbacks.get()
        if callback is _STOP:
            return
        callback()


def _STOP() -> None:
    """The end of the callbacks."""


LINGER_CHECK_S = 1.0
PUT_PATIENCE_S = 5.0
"""A driver that puts into a full store is probably the one who holds what is in it: it waits for others this long."""
RESULT_PATIENCE_S = 600.0
"""A task whose result finds no room waits for the consumers of earlier ones, and says so on stderr."""


def restore_reference(ident: bytes) -> ObjectRef[Any]:
    """Unpickle a reference that was pickled outside of skate."""
    from . import current

    runtime: Any = current.runtime
    if runtime is None:
        raise RaySystemError("an ObjectRef can only be unpickled in a process that is connected to skate")
    with runtime.lock:
        ref: ObjectRef[Any] = runtime.objects.adopt(ident)
    return ref


def _weak_keys() -> Any:
    import weakref

    return weakref.WeakKeyDictionary()
