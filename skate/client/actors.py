"""Actors as their callers see them: one channel per actor, calls in order, and what a restart means for them.

A call goes straight to the actor's process. Calls of one handle's process reach it in the order in which they were made, also
when an argument of an earlier one is not there yet. A caller whose actor may be restarted keeps a duplicate of the actor's
end of the channel: a call that the dead process had never read is sent again without any risk, whatever `max_task_retries`
says.

INV-1: a call is in `queue` (not sent) or in `inflight` (sent, unanswered), never in both.
INV-2: `inflight` is in the order of sending.
"""

from __future__ import annotations

import socket
from collections import deque
from typing import TYPE_CHECKING, Any

from ..exceptions import (
    ActorAlreadyExistsError,
    ActorDiedError,
    ActorUnavailableError,
    NotRunningError,
    PendingCallsLimitExceeded,
    RayTaskError,
    TaskCancelledError,
)
from ..wire import messages as m
from ..wire.channel import PACKET_BYTES, Channel, ChannelClosed, pair, take_back
from .arguments import EMPTY_BODY, Code, pack_arguments, packets, wire_task
from .errors import unpack_error
from .objects import Held
from .refs import ERROR, REMOTE, VALUE, ObjectRef
from .serialization import serialize
from .specs import ActorSpec, MethodOptions
from .submitter import TaskRecord

if TYPE_CHECKING:
    from .runtime import ClientRuntime

BATCH_CALLS = 32
"""Calls that are collected before they are sent while others are under way."""
BATCH_BYTES = 48 * 1024
ACTOR_PENDING = "pending"
ACTOR_ALIVE = "alive"
ACTOR_RESTARTING = "restarting"
ACTOR_DEAD = "dead"
ACTOR_KILLED = "killed"
"""This process has asked to kill it: later calls wait for what the node says of that."""


class Method:
    """A method of one actor as a caller knows it; stands where a task has its function."""

    __slots__ = ("no", "options")

    def __init__(self, no: int, options: MethodOptions) -> None:
        self.no = no
        self.options = options


class ActorClient:
    """One actor as this process sees it."""

    __slots__ = (
        "channel",
        "class_name",
        "creating",
        "death",
        "defined",
        "error",
        "fresh",
        "id",
        "inflight",
        "max_pending",
        "methods",
        "pid",
        "placement",
        "queue",
        "reader_end",
        "restarts",
        "state",
    )

    def __init__(self, ident: bytes, class_name: str, max_pending: int) -> None:
        self.id = ident
        self.class_name = class_name
        self.max_pending = max_pending
        self.channel: Channel | None = None
        self.reader_end: socket.socket | None = None
        self.queue: deque[TaskRecord] = deque()
        self.inflight: dict[int, TaskRecord] = {}
        self.methods: dict[Any, Method] = {}
        self.defined: set[int] = set()
        self.state = ACTOR_PENDING
        self.restarts = 0
        self.pid = 0
        self.error = b""
        self.death: m.Death | None = None
        self.creating: Any = None
        self.fresh = False
        """Its first word from the node says which incarnation the channel leads to."""
        self.placement: dict[str, float] | None = None


class Actors:
    """The actors that this client calls."""

    def __init__(self, runtime: ClientRuntime) -> None:
        self.runtime = runtime
        self.by_id: dict[bytes, ActorClient] = {}
        self.dirty: set[ActorClient] = set()
        self._buffer = bytearray(PACKET_BYTES + 64)
        self._view = memoryview(self._buffer)

    # ------------------------------------------------------------ creation

    def create(self, spec: ActorSpec, args: Any, kwargs: Any, meta: bytes) -> tuple[ObjectRef[Any], bytes]:
        """See `Runtime.create_actor`."""
        runtime = self.runtime
        options = spec.options
        needed = dict(options.resources) or dict(options.placement)
        runtime.check_feasible(f"actor {options.class_name}", needed)
        exported = spec.exported
        if exported is None or exported[0] is not runtime:
            exported = spec.exported = (runtime, Code(serialize(spec.cls), runtime))
        code = exported[1]
        record = TaskRecord(0, Method(0, MethodOptions("__init__")), EMPTY_BODY, None)
        pack_arguments(runtime, record, args, kwargs)
        with runtime.lock:
            runtime.settle()
            ident = runtime.new_id()
            record.seq = int.from_bytes(ident[8:], "big")
            actor = ActorClient(ident, options.class_name, options.max_pending_calls)
            request = self._creation(actor, spec, code, record, meta)
            ref: ObjectRef[Any] = ObjectRef(runtime, ident, REMOTE)
            slot = runtime.open_request() if options.name else None
            if slot is not None:
                request.request = slot.number
            runtime.objects.known[ident] = ref
            ref._hold = Held(runtime, ident)
            ref._task = actor
            self.by_id[ident] = actor
            actor.creating = (request, record)
            actor.placement = needed
            self._when_ready(record, lambda: self._send_creation(actor))
        if slot is not None:
            return self._settle_name(runtime.wait_request(slot), ref, actor, meta, options.name)
        return ref, meta

    def _settle_name(
        self, found: m.FoundActor, ref: ObjectRef[Any], actor: ActorClient, meta: bytes, name: str
    ) -> tuple[ObjectRef[Any], bytes]:
        if found.created:
            return ref, meta
        with self.runtime.lock:
            self.by_id.pop(actor.id, None)
            ref._hold = None
            if actor.channel is not None:
                self._disconnect(actor)
            if found.error:
                raise ActorAlreadyExistsError(found.error)
            return self.runtime.objects.adopt(found.id), found.meta

    def _creation(
        self, actor: ActorClient, spec: ActorSpec, code: Code, record: TaskRecord, meta: bytes
    ) -> m.CreateActor:
        options = spec.options
        runtime = self.runtime
        if code.block is not None:
            runtime.lend_block(code.block)
        return m.CreateActor(
            actor.id,
            m.Definition(0, code.hash, code.value(runtime), options.class_name, 1),
            m.Value(m.INLINE),
            None,
            meta,
            options.name,
            options.namespace or runtime.namespace,
            options.class_name,
            options.detached,
            dict(options.resources),
            dict(options.resources or options.placement),
            options.max_restarts,
            options.max_concurrency,
            dict(options.concurrency_groups),
            options.is_async,
            options.get_if_exists,
            0,
        )

    def _when_ready(self, record: TaskRecord, then: Any) -> None:
        """Go on when every reference among the arguments has a value; publish those nested in them."""
        runtime = self.runtime
        for ref in record.refs or ():
            runtime.objects.publish(ref)

        def one_less(_: object) -> None:
            record.missing -= 1
            if not record.missing:
                then()

        for _, ref in record.dependencies or ():
            if ref._state < VALUE:
                record.missing += 1
                runtime.when_done(ref, one_less)
        if not record.missing:
            then()

    def _send_creation(self, actor: ActorClient) -> None:
        """The arguments are there. The node keeps them as long as it may have to start the actor again."""
        if actor.creating is None:
            return  # it was abandoned meanwhile
        runtime = self.runtime
        request, record = actor.creating
        objects = runtime.objects
        depends: list[bytes] = []
        for _, ref in record.dependencies or ():
            if ref._state == ERROR:
                actor.error = objects.to_value(ref).data
                self.abandon(actor, "an argument of it failed")
                return
            depends.append(objects.publish(ref))
        request.dependencies = [m.Dependency(where, objects.to_value(ref)) for where, ref in record.dependencies or ()]
        nested = [objects.publish(ref) for ref in record.refs or ()]
        depends.extend(nested)
        if record.shared is not None:
            block = record.shared
            runtime.lend_block(block)
            depends.append(block.id)
            request.body = m.Value(m.SHARED, b"", block.id, block.offset, block.size, nested or None)
        else:
            request.body = m.Value(m.INLINE, record.body, b"", 0, 0, nested or None)
        code = request.definition.code
        if code is not None:
            depends.extend(code.refs or ())
            if code.id:
                depends.append(code.id)
        request.depends = depends
        theirs = self._open(actor, keep=request.max_restarts != 0)
        runtime.send(request, [theirs.fileno()])
        theirs.close()
        actor.creating = None
        self.flush(actor)

    def abandon(self, actor: ActorClient, reason: str) -> None:
        """An actor ends before the node has heard of it. Needs the lock."""
        request, _ = actor.creating
        actor.creating = None
        actor.state = ACTOR_DEAD
        actor.death = m.Death(reason, intended=True)
        self.runtime.answer(m.FoundActor(request.request, actor.id, request.meta, created=True))
        self._fail_all(actor)

    def _open(self, actor: ActorClient, keep: bool) -> socket.socket:
        """Make the channel; returns the actor's end, which the caller sends away and closes."""
        mine, theirs = pair()
        channel = actor.channel = Channel(mine)
        actor.reader_end = theirs.dup() if keep else None
        actor.defined = set()
        self.runtime.pump.add(channel.fd, lambda mask: self._on_actor(actor, mask))
        return theirs

    def _disconnect(self, actor: ActorClient) -> None:
        channel = actor.channel
        if channel is not None:
            self.runtime.pump.remove(channel.fd)
            channel.close()
            actor.channel = None
        if actor.reader_end is not None:
            actor.reader_end.close()
            actor.reader_end = None

    def client(self, ref: ObjectRef[Any]) -> ActorClient:
        """The actor behind its reference; connected on the first call. Needs the lock."""
        actor: ActorClient | None = ref._task
        if actor is None:
            ident = ref.binary()
            actor = self.by_id.get(ident)
            if actor is None:
                actor = self.by_id[ident] = ActorClient(ident, "", -1)
                self._connect(actor)
            ref._task = actor
        return actor

    def _connect(self, actor: ActorClient) -> None:
        theirs = self._open(actor, keep=True)
        actor.fresh = True
        self.runtime.send(m.ConnectActor(actor.id), [theirs.fileno()])
        theirs.close()

    # ------------------------------------------------------------ calls

    def call(self, ref: ObjectRef[Any], options: MethodOptions, args: Any, kwargs: Any, max_pending: int = -1) -> Any:
        """See `Runtime.call`."""
        runtime = self.runtime
        if runtime.closed or ref._runtime is not runtime:
            runtime.check_open()
            raise NotRunningError(f"actor {ref.hex()} belongs to a session that has ended")
        record = TaskRecord(0, None, EMPTY_BODY, None)
        if args or kwargs:
            pack_arguments(runtime, record, args, kwargs)
        with runtime.lock:
            if runtime.dropped:
                runtime.settle()
            actor = ref._task
            if actor is None:
                actor = self.client(ref)
            limit = actor.max_pending
            if limit >= 0 and len(actor.inflight) + len(actor.queue) >= limit:
                raise PendingCallsLimitExceeded(
                    f"actor {actor.class_name} has {limit} unfinished calls, which is its max_pending_calls"
                )
            method = actor.methods.get(options)
            if method is None:
                method = actor.methods[options] = Method(len(actor.methods) + 1, options)
            record.function = method
            record.seq = seq = runtime.next_id()
            record.retries_left = options.max_task_retries
            if options.num_returns == 1:
                out: ObjectRef[Any] = ObjectRef(runtime, seq)
                result: Any = out
                out._task = record
                record.ref = out
            else:
                result = self._many(record, options.num_returns)
            record.worker = actor
            if not runtime.is_driver:
                runtime.pump.start_thread()
            record.pins = ref  # the actor lives until the call is answered
            if actor.state == ACTOR_DEAD:
                self._fail(actor, record)
                return result
            actor.queue.append(record)
            if record.dependencies is not None or record.refs is not None:
                self._when_ready(record, lambda: self.flush(actor))
            elif not actor.inflight or len(actor.queue) >= BATCH_CALLS:
                self.flush(actor)
                if len(actor.inflight) > BATCH_CALLS:
                    runtime.pump.nudge_turn = True
            else:
                self.dirty.add(actor)
        if runtime.pump.nudge_turn:
            runtime.pump.nudge_turn = False
            runtime.pump.try_turn()
        return result

    def _many(self, record: TaskRecord, num_returns: int) -> Any:
        return self.runtime.tasks._many(record, num_returns)

    def flush(self, actor: ActorClient) -> None:
        """Send what may be sent, in order. Needs the lock."""
        self.dirty.discard(actor)
        channel = actor.channel
        queue = actor.queue
        if actor.state == ACTOR_KILLED:
            return
        while queue and channel is not None and not channel.backlog and actor.creating is None:
            tasks: list[TaskRecord] = []
            size = 0
            while queue and len(tasks) < 2 * BATCH_CALLS and size < BATCH_BYTES and not queue[0].missing:
                task = queue.popleft()
                if task.cancelled:
                    continue
                failed = next((r for _, r in task.dependencies or () if r._state == ERROR), None)
                if failed is not None:
                    self.runtime.tasks.fail(task, failed._value)
                    continue
                tasks.append(task)
                actor.inflight[task.seq] = task
                size += len(task.body)
            if not tasks:
                return
            self._send(actor, channel, tasks)

    def _send(self, actor: ActorClient, channel: Channel, tasks: list[TaskRecord]) -> None:
        out = []
        definitions: list[m.Definition] = []
        for task in tasks:
            method = task.function
            no = method.no
            if no not in actor.defined:
                actor.defined.add(no)
                options = method.options
                definitions.append(
                    m.Definition(
                        no,
                        b"",
                        None,
                        options.name,
                        options.num_returns,
                        0,
                        options.backpressure,
                        options.concurrency_group,
                    )
                )
            if task.dependencies is None and task.shared is None and task.refs is None and not task.attempt:
                out.append(m.Task(task.seq, no, task.body))
            else:
                out.append(wire_task(self.runtime, task, no))
        try:
            done = True
            for packet in packets(out, definitions or None):
                done = channel.send(packet)
            if not done:
                self.runtime.pump.want_write(channel.fd, True)
        except ChannelClosed:
            return  # the node will say what has become of the actor

    def flush_dirty(self) -> None:
        """Send what was collected. Needs the lock."""
        while self.dirty:
            self.flush(self.dirty.pop())

    # ------------------------------------------------------------ answers

    def _on_actor(self, actor: ActorClient, mask: int) -> None:
        channel = actor.channel
        if channel is None:
            return
        if mask & 4:
            try:
                if channel.flush():
                    self.runtime.pump.want_write(channel.fd, False)
            except ChannelClosed:
                self.runtime.pump.want_write(channel.fd, False)
        self.read(actor, 32)
        if actor.queue:
            self.flush(actor)

    def read(self, actor: ActorClient, limit: int) -> None:
        """Handle what the actor has answered."""
        channel = actor.channel
        objects = self.runtime.objects
        inflight = actor.inflight
        for _ in range(limit):
            if channel is None or channel.closed:
                return
            try:
                raw = channel.receive_into(self._buffer, self._view)
            except ChannelClosed:
                self.runtime.pump.remove(channel.fd)  # the node will say how the actor ended
                return
            if raw is None:
                return
            message = m.decode_replies(raw)
            if message.kept:  # before the calls end here, and their arguments with them
                self.runtime.keep_for_others(message.kept)
            for reply in message.replies:
                kind = reply.kind
                if kind == m.ITEM:
                    task = inflight.get(reply.seq)
                    if task is not None:
                        self.runtime.streams.item(task.stream, reply)
                    continue
                task = inflight.pop(reply.seq, None)
                if task is None:
                    self.runtime.tasks._drop_late(reply)
                    continue
                task.worker = None
                ref = task.ref
                if kind == m.DONE and type(ref) is ObjectRef:
                    ref._value = reply.data
                    ref._state = VALUE
                    if ref._callbacks is None and ref._hold is None:
                        ref._task = None
                    else:
                        objects.finish(ref)
                elif kind == m.FAILED and self._retry_exception(actor, task, reply.data):
                    continue
                elif kind == m.NOT_STARTED:
                    actor.queue.appendleft(task)
                else:
                    self.runtime.tasks.conclude(task, reply)

    def _retry_exception(self, actor: ActorClient, task: TaskRecord, data: bytes) -> bool:
        options = task.function.options
        if not options.retry_exceptions or not task.retries_left or task.cancelled:
            return False
        error = unpack_error(data)
        cause = error.cause if isinstance(error, RayTaskError) else error
        if not isinstance(cause, options.retry_exceptions):
            return False
        task.retries_left -= task.retries_left > 0
        self._again(actor, task)
        actor.queue.appendleft(task)
        self.flush(actor)
        return True

    def _again(self, actor: ActorClient, task: TaskRecord) -> None:
        old = task.seq
        task.attempt += 1
        task.seq = self.runtime.next_id()
        for ref in task.ref if type(task.ref) is list else [task.ref]:
            if ref._id == old:
                ref.binary()
        task.worker = actor

    # ------------------------------------------------------------ life

    def killed(self, ref: ObjectRef[Any]) -> None:
        """What is called from now on must not reach the process that is about to be killed. Needs the lock."""
        actor = self.client(ref)
        if actor.creating is not None:
            self.abandon(actor, "it was killed by skate.kill before it had started")
        elif actor.state in (ACTOR_PENDING, ACTOR_ALIVE):
            self.flush(actor)
            actor.state = ACTOR_KILLED

    def changed(self, message: m.ActorChanged) -> None:
        """The node tells of a new state."""
        actor = self.by_id.get(message.id)
        if actor is None:
            return
        if actor.fresh:
            actor.fresh = False
            actor.restarts = message.restarts
        if message.state == ACTOR_ALIVE:
            if actor.state == ACTOR_KILLED and message.restarts == actor.restarts:
                return  # said before the node had heard of the kill
            actor.state = ACTOR_ALIVE
            actor.pid = message.pid
            if message.restarts > actor.restarts:
                actor.restarts = message.restarts
                self._reconnect(actor)
            return
        if message.state not in (ACTOR_DEAD, ACTOR_RESTARTING):
            actor.state = message.state
            return
        self.read(actor, 1 << 20)
        actor.death = message.death
        actor.error = message.error
        actor.state = message.state
        if message.state == ACTOR_RESTARTING:
            self._interrupted(actor)
        else:
            self._disconnect(actor)
            self._fail_all(actor)

    def _reconnect(self, actor: ActorClient) -> None:
        self._interrupted(actor)
        self._connect(actor)
        self.flush(actor)

    def _interrupted(self, actor: ActorClient) -> None:
        """The process is gone and another will come: calls that it had not read wait for that one."""
        if actor.channel is None:
            return
        unread: set[int] = set()
        if actor.reader_end is not None:
            while (raw := take_back(actor.reader_end, self._buffer, self._view)) is not None:
                batch = m.decode_batch(raw)
                if type(batch) is m.Batch:
                    unread.update(task.seq for task in batch.tasks)
        self._disconnect(actor)
        inflight, actor.inflight = actor.inflight, {}
        again = []
        for seq, task in inflight.items():
            if seq in unread:
                again.append(task)
            elif task.retries_left:
                task.retries_left -= task.retries_left > 0
                self._again(actor, task)
                again.append(task)
            else:
                self._fail(actor, task)
        actor.queue.extendleft(reversed(again))

    def _fail_all(self, actor: ActorClient) -> None:
        self.dirty.discard(actor)
        tasks = [*actor.inflight.values(), *actor.queue]
        actor.inflight = {}
        actor.queue.clear()
        for task in tasks:
            self._fail(actor, task)

    def _fail(self, actor: ActorClient, task: TaskRecord) -> None:
        task.worker = None
        if task.cancelled:
            self.runtime.tasks.fail(task, TaskCancelledError(self.runtime.task_id_of_seq(task.seq)))
            return
        self.runtime.tasks.fail(task, self.death_error(actor))

    def death_error(self, actor: ActorClient) -> Exception:
        """What a call to an actor that is dead, or died meanwhile, raises."""
        name = actor.class_name or "actor"
        ident = actor.id.hex()
        death = actor.death
        if actor.state == ACTOR_RESTARTING:
            reason = death.reason if death else "its process died"
            return ActorUnavailableError(
                f"Actor {name} ({ident}) is being restarted: {reason}. The call may or may not have run; "
                "set max_task_retries to have such calls made again.",
                ident,
            )
        if actor.error:
            return ActorDiedError(unpack_error(actor.error), actor_id=ident, class_name=name)
        if death is None:
            return ActorDiedError("it is not there", actor_id=ident, class_name=name)
        error = ActorDiedError(
            death.reason,
            actor_id=ident,
            class_name=name,
            memory_bytes=None if death.intended else death.memory_bytes or None,
            last_output=None if death.intended else death.last_lines,
        )
        error.exit_signal = death.signal or None  # the reason names them already
        error.exit_code = death.exit_code
        return error

    def cancel(self, actor: ActorClient, task: TaskRecord) -> None:
        """Drop a call that waits; ask the actor to cancel one that was sent. Needs the lock."""
        task.cancelled = True
        task.retries_left = 0
        if task.seq not in actor.inflight:
            if task in actor.queue:
                actor.queue.remove(task)
            self.runtime.tasks.fail(task, TaskCancelledError(self.runtime.task_id_of_seq(task.seq)))
            return
        if actor.channel is not None:
            try:
                if not actor.channel.send(m.encode(m.Forget(task.seq))):
                    self.runtime.pump.want_write(actor.channel.fd, True)
            except ChannelClosed:
                return  # it is dead: the call fails by that

    def why(self, actor: ActorClient, task: TaskRecord) -> tuple[str, dict[str, float] | None]:
        """What a call waits for, and the resources if its actor waits for these."""
        name = f"{actor.class_name or 'actor'}.{task.function.options.name}"
        if task.missing:
            return f"{name} waits for {task.missing} of its arguments", None
        if actor.state in (ACTOR_PENDING, ACTOR_RESTARTING):
            return f"{name} waits: its actor is {actor.state}", actor.placement
        before = list(actor.inflight).index(task.seq) if task.seq in actor.inflight else len(actor.inflight)
        if before:
            return f"{name} waits behind {before} earlier calls of this process on actor process {actor.pid}", None
        return f"{name} runs on actor process {actor.pid}", None
