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
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..exceptions import GetTimeoutError, RaySystemError, TaskUnschedulableError
from ..store.arena import Arena
from ..wire import messages as m
from ..wire.channel import Channel, ChannelClosed
from ..wire.cluster import HEAD
from ..wire.groups import is_own
from ..wire.labels import describe, in_request, meets, wish_of, without
from ..wire.reasons import Doing
from .actor_client import ActorClient
from .actors import Actors
from .callbacks import Callbacks
from .environments import Environments
from .grants import Grants
from .groups import Groups
from .holdups import HoldUps
from .link import Link
from .links import Links
from .memory import Memory
from .metering import PROCESS, Reporting
from .objects import Objects
from .pins import Pins
from .pump import Pump, Waiter, sooner
from .reasons import program_failure
from .rebuild import Rebuild
from .recording import Recording
from .refs import REMOTE, VALUE, ObjectRef, ObjectRefGenerator
from .securing import Securing
from .spilling import Spilling
from .stream import Stream
from .streams import Streams
from .submitter import TaskRecord
from .tasks import Tasks
from .telling import Telling
from .waist import TaskContext
from .waiting import Waits

if TYPE_CHECKING:
    from .specs import ActorSpec, FunctionSpec, MethodOptions
    from .tracing import Tracing


class ClientRuntime:
    """The `Runtime` over real processes."""

    def __init__(self, channel: Channel, welcome: m.Welcome, arena: Arena, namespace: str, is_driver: bool) -> None:
        self.control = channel
        self.client_id = welcome.client
        self.worker_no = welcome.worker
        self.welcome = welcome
        self.node_no = welcome.node_no
        self.sites = welcome.sites
        """Whether it is recorded where references are made."""
        self.namespace = namespace
        self.is_driver = is_driver
        self.environment: tuple[list[str], str, bool, str] = ([], "", False, "")
        """What workers of this job start with: sys.path, working directory, whether `ray` is this, the main program."""
        self.log_to_driver = False
        self.lock = threading.RLock()
        self.dropped: deque[bytes] = deque()
        self.dropped_streams: deque[Stream] = deque()
        self.pins = Pins(self)
        self.running_task: Callable[[], tuple[bytes, int] | None] = lambda: None
        """The task that this thread runs; a worker sets it."""
        self.running_now: Callable[[], list[Doing]] = list
        """All that runs in this process; a worker sets it."""
        self.pump = Pump(self.lock, self._flush, self.between)
        self.pump.on_tick = self.between  # who waits for short does not do what is due
        self.pump.on_thread = None if is_driver else self._talks
        self.closed = False
        self.lost: str = ""
        self.link = Link(self, channel)
        self.send = self.link.send
        self.links = Links(self, self.link)
        self.securing = Securing(self)
        self.tell = self.links.tell if self.node_no else self.link.send
        self.check_open = self.link.check_open
        self.ask = self.link.ask
        self.callbacks = Callbacks()
        self.recording = Recording(self, welcome.history)
        self.memory = Memory(arena)
        self.grants = Grants(self)
        self.objects = Objects(self)
        self.tasks = Tasks(self)
        self.holdups = HoldUps(self.tasks)
        self.rebuild = Rebuild(self)
        self.groups = Groups(self)
        self.actors = Actors(self)
        self.streams = Streams(self)
        self.waits = Waits(self)
        self.spilling = Spilling(self)
        self.telling = Telling(self)
        self.reporting = Reporting(self)
        self.tracing: Tracing | None = None
        """What makes spans of tasks and calls, if that is wanted."""
        self.environments = Environments(self)
        self._ids = itertools.count(1)
        self.next_id = self._ids.__next__
        self._reserved = 1 << 64
        """Ranges of ids are cut off the other end."""
        self._actor_prefix = HEAD.to_bytes(4, "big") + os.urandom(4)
        self._local = threading.local()
        self.on_message: Callable[[Any, list[int]], bool] | None = None
        self.before_block: Callable[[], None] | None = None
        self.on_output: Callable[[m.Output], None] | None = None
        self.kept: Any = None
        self.main_thread = threading.main_thread().ident
        self.link.handlers = {
            m.Fetched: self.objects.fetched,
            m.Freed: self.grants.freed,
            m.Memory: self.link.answer,
            m.Answer: self.link.answer,
            m.FoundActor: self.link.answer,
            m.WorkerDied: self.tasks.retries.worker_died,
            m.ActorChanged: self.actors.life.changed,
            m.CannotStart: self.tasks.cannot_start,
            m.GiveBack: self.tasks.asked_back,
            m.GiveBackMemory: self.grants.asked_back,
            m.Output: self.output,
            m.Elsewhere: self.tasks.demand.elsewhere,
            m.Unschedulable: self.tasks.demand.unschedulable,
            m.Pulled: self.objects.pulled,
            m.NodeDied: self.links.node_died,
            m.Evict: self.spilling.evict,
            m.Offer: self.spilling.offer,
            m.Refused: self.link.farewell,
            m.Rebuild: self.rebuild.asked,
            m.GroupChanged: self.groups.changed,
            m.Question: self.telling.asked,
            m.Reached: self.links.reached,
        }

    # ------------------------------------------------------------ ids

    def next_ids(self, count: int) -> int:
        """Reserve `count` ids that nothing else gets; the first."""
        self._reserved -= count + 1
        return self._reserved

    def new_id(self) -> bytes:
        """A new object id."""
        return self.client_id + self.next_id().to_bytes(8, "big")

    def new_actor_id(self) -> bytes:
        """A new actor's id. The head answers for actors, wherever they are made."""
        if not self.node_no:
            return self.new_id()
        return self._actor_prefix + self.next_id().to_bytes(8, "big")

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

    def output(self, message: m.Output) -> None:
        """Workers of this job have printed something."""
        if self.on_output is not None:
            self.on_output(message)

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
            if self.node_no:
                self.links.note_hold(ident, -1)
            self.tell(m.Hold(ident, -1))
        if self.memory.ended:
            for ident in self.memory.settle():
                self.send(m.Hold(ident, -1))
            self.grants.trim()

    def _forget_actor(self, ident: bytes) -> bool:
        """The last handle of an actor is gone, and every call is answered; True when the node never heard of it."""
        actor = self.actors.by_id.pop(ident)
        if actor.creating is not None:
            self.actors.creation.abandon(actor, "all handles to it were dropped before it had started")
            return True
        self.actors.disconnect(actor)
        return False

    def _flush(self) -> None:
        """Send what must not wait for an answer."""
        if self.actors.dirty or self.dropped or self.memory.ended or self.dropped_streams:
            with self.lock:
                self.actors.flush_dirty()
                self.settle()

    def between(self) -> float | None:
        """What is due between two polls; the seconds until something will be."""
        self._flush()
        later = self.recording.due() if self.recording.rows or self.recording.alone else None
        timed = self.tasks.retries.waiting or self.tasks.locality.waiting
        if self.tasks.submitter.workers or self.tasks.submitter.lessened or timed:
            due = self.tasks.next_due()
            if (due is not None and due <= LINGER_CHECK_S) or timed:
                with self.lock:
                    self.tasks.run_due()
            later = sooner(later, due)
        if self.tasks.submitter.ahead:
            later = sooner(later, self.holdups.look())
        if PROCESS.changed:
            later = sooner(later, self.reporting.run_due())
        return later

    def last_words(self) -> None:
        """Tell the node what it does not know yet, as this process is about to end. Needs the lock."""
        self.settle()
        self.recording.send()
        self.reporting.tell()

    def _talks(self) -> None:
        """Messages of the node are read from now on, whatever this worker runs."""
        with self.lock:
            self.send(m.Talks())

    # ------------------------------------------------------------ Runtime: work

    def submit(self, function: FunctionSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See `Runtime.submit`."""
        return self.tasks.submit(function, args, kwargs)

    def create_actor(
        self, spec: ActorSpec, args: tuple[Any, ...], kwargs: dict[str, Any], meta: bytes
    ) -> tuple[ObjectRef[Any], bytes]:
        """See `Runtime.create_actor`."""
        return self.actors.creation.create(spec, args, kwargs, meta)

    def call(self, actor: ObjectRef[Any], method: MethodOptions, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See `Runtime.call`."""
        return self.actors.call(actor, method, args, kwargs)

    def get_actor(self, name: str, namespace: str) -> tuple[ObjectRef[Any], bytes]:
        """See `Runtime.get_actor`."""
        with self.lock:
            self.check_open()
            head = self.links.head
            slot = head.open_request()
            head.send(m.FindActor(slot.number, name, namespace or self.namespace))
        found = head.wait_request(slot)
        if found.error:
            raise ValueError(found.error)
        with self.lock:
            return self.objects.adopt(found.id), found.meta

    def list_named_actors(self, all_namespaces: bool) -> list[tuple[str, str]]:
        """See `Runtime.list_named_actors`."""
        names = [(space, name) for space, name in self.links.head.ask("named_actors")]
        return names if all_namespaces else [pair for pair in names if pair[0] == self.namespace]

    def kill(self, actor: ObjectRef[Any], no_restart: bool) -> None:
        """See `Runtime.kill`."""
        with self.lock:
            self.actors.life.killed(actor)
            self.links.head.send(m.KillActor(actor.binary(), no_restart))

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
                self.pump.start_thread()  # the thread that asks may run an event loop, and never lead
                self.when_done(ref, callback if quick else lambda ref: self.callbacks.later(partial(callback, ref)))
                self.actors.flush_dirty()
                return
        callback(ref)

    def await_met(self, waiter: Waiter, timeout: float) -> bool:
        """See `Runtime.await_met`."""
        return self.waits.wait_for(waiter, timeout, lambda: "something that callbacks say")

    def meet(self, waiter: Waiter) -> None:
        """See `Runtime.meet`."""
        waiter.notify()
        self.pump.wake()

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

    def why(self, what: ObjectRef[Any] | str) -> str:
        """See `Runtime.why`."""
        from .why import ASKED_S, of_runtime

        return of_runtime(self, what, ASKED_S)

    # ------------------------------------------------------------ Runtime: cancelling

    def cancel(self, what: ObjectRef[Any] | ObjectRefGenerator[Any], force: bool, recursive: bool) -> None:
        """See `Runtime.cancel`."""
        with self.lock:
            if isinstance(what, ObjectRefGenerator) and self.streams.cancel(what._stream, force):
                return
            task = what._stream.record if isinstance(what, ObjectRefGenerator) else what._task
            if task is None and isinstance(what, ObjectRef) and what._state == REMOTE:
                raise ValueError("only the process that submitted a task can cancel it")
            if not isinstance(task, TaskRecord):
                return
            self.cancel_task(task, force, recursive)

    def cancel_task(self, task: TaskRecord, force: bool, recursive: bool) -> None:
        """Cancel a task or call that has not ended. Needs the lock."""
        if not isinstance(task.worker, ActorClient):
            self.tasks.cancel(task, force, recursive)
        elif force:
            raise ValueError("force=True is not supported for actor calls; use skate.kill to end the actor")
        else:
            self.actors.cancel(task.worker, task)
        self.pump.nudge()

    # ------------------------------------------------------------ Runtime: streams

    def stream_next(self, generator: ObjectRefGenerator[Any], timeout: float | None) -> ObjectRef[Any] | None:
        """See `Runtime.stream_next`."""
        return self.streams.next(generator._stream, timeout)

    def stream_on_item(self, generator: ObjectRefGenerator[Any], callback: Callable[[], None]) -> Callable[[], None]:
        """See `Runtime.stream_on_item`."""
        with self.lock:
            self.actors.flush_dirty()
        return self.streams.on_item(generator._stream, callback)

    def stream_completed(self, generator: ObjectRefGenerator[Any]) -> ObjectRef[None]:
        """See `Runtime.stream_completed`."""
        return self.streams.completed(generator._stream)

    def stream_finished(self, generator: ObjectRefGenerator[Any]) -> bool:
        """See `Runtime.stream_finished`."""
        return self.streams.finished(generator._stream)

    def stream_id(self, generator: ObjectRefGenerator[Any]) -> str:
        """See `Runtime.stream_id`."""
        stream: Stream = generator._stream
        return str((stream.completed if stream.public is None else stream.public).hex())

    def reduce_stream(self, generator: ObjectRefGenerator[Any]) -> tuple[Any, ...]:
        """See `Runtime.reduce_stream`."""
        with self.lock:
            return self.streams.reduce(generator._stream)

    def stream_dropped(self, stream: Stream) -> None:
        """The generator of a stream is gone here. Called by the garbage collector: at any time, on any thread."""
        if not self.closed and not stream.abandoned:
            self.dropped_streams.append(stream)
            self.pump.nudge()

    def send_credit(self, record: TaskRecord, taken: int) -> None:
        """The consumer has taken items of a stream with back-pressure. Needs the lock."""
        worker: Any = record.worker  # a leased worker, or an actor
        if worker.channel is not None:
            try:
                worker.channel.post(m.encode(m.Credit(record.seq, taken)))
            except ChannelClosed:
                return  # its producer is dead: the stream ends by that

    # ------------------------------------------------------------ Runtime: references

    def reduce_ref(self, ref: ObjectRef[Any]) -> tuple[Any, ...]:
        """See `Runtime.reduce_ref`."""
        return self.pins.reduce(ref)

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
            runtime_env=self.environments.own,
        )

    def head_address(self) -> str:
        """See `Runtime.head_address`."""
        return str(self.ask("head"))

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

    def status(self) -> dict[str, Any]:
        """See `Runtime.status`."""
        with self.lock:
            self.tasks.return_idle(-1.0)
        state: dict[str, Any] = self.links.head.ask("cluster_status")
        return state

    def check_feasible(self, what: str, resources: Mapping[str, float], node_id: str = "") -> None:
        """See `Runtime.check_feasible`."""
        if self.node_no:  # a node that has it may join: the node says what is waited for
            state = self.ask("node_state", node_id) if node_id else "alive"
            if state in ("", "dead", "draining"):
                why = "is being drained" if state == "draining" else "is not there"
                raise TaskUnschedulableError(f"{what} can never run: it must run on node {node_id}, which {why}.")
            return
        if node_id and node_id != self.welcome.node:
            raise TaskUnschedulableError(
                f"{what} can never run: it must run on node {node_id}, and there is no such node. See skate.nodes(); with "
                "soft=True it may run elsewhere."
            )
        wish = in_request(resources)
        if wish and not any(meets(self.nodes()[0]["Labels"], each) for each in wish_of(wish)):
            raise TaskUnschedulableError(
                f"{what} can never run: it needs {describe(resources)}; the only node is not so."
            )
        total = self.welcome.total
        resources = without(resources)
        for name, amount in resources.items():
            if is_own(name) and amount > total.get(name, 0.0) + 1e-9:
                have = ", ".join(f"{key}: {value:.12g}" for key, value in sorted(total.items()))
                raise TaskUnschedulableError(
                    f"{what} can never run: it needs {amount:.12g} {name}, and the cluster has {total.get(name, 0.0):.12g}. "
                    f"The cluster has {{{have}}}."
                )

    def leave_to_parent(self, reason: str) -> None:
        """In a forked child: close the parent's sockets here, without a word on them, and be unusable."""
        self.closed = True
        self.lost = reason
        PROCESS.forget()
        self.control.sock.close()
        self.links.leave_to_parent()
        self.securing.close()
        for worker in self.tasks.submitter.workers.values():
            worker.channel.close()
        for actor in self.actors.by_id.values():
            if actor.channel is not None:
                actor.channel.close()

    def shutdown(self) -> None:
        """Leave the node. What this process started ends."""
        if not self.closed:
            slot = None
            with self.lock:
                self.actors.flush_dirty()
                self.reporting.tell()
                if self.is_driver:
                    self.recording.abandoned(self.telling.unfinished())
                    failure = program_failure()
                    self.links.leave(m.Leaving(failure, intended=not failure))
                self.recording.send()
                slot = self.link.open_request()
                self.send(m.Flushed(slot.number))
            try:
                self.link.wait_request(slot, timeout=5.0)
            except (RaySystemError, GetTimeoutError):
                self.lost = self.lost or "the node did not answer"
        with self.lock:
            self.closed = True
            self.lost = self.lost or "skate was shut down; call skate.init() to start again"
            self.reporting.close()
            if self.is_driver:
                self.link.fail_everything(self.lost)
        self.links.close()
        self.securing.close()
        self.pump.close()
        self.pins.clear()
        self.callbacks.close()
        for worker in list(self.tasks.submitter.workers.values()):
            worker.channel.close()
        for actor in self.actors.by_id.values():
            if actor.channel is not None:
                actor.channel.close()
        self.control.close()
        self.environments.close()
        self.memory.close()


LINGER_CHECK_S = 1.0
