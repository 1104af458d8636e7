"""Actors as their callers see them: one channel per actor, and calls in order.

A call goes straight to the actor's process. Calls of one process reach it in the order in which they were made, also when an
argument of an earlier one is not there yet. How an actor is made is in `creation.py`, what a restart means in `actor_life.py`.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

from ..exceptions import NotRunningError, PendingCallsLimitExceeded, RayTaskError
from ..wire import messages as m
from ..wire.channel import ChannelClosed, packet_buffer, pair
from .actor_client import (
    ACTOR_ALIVE,
    ACTOR_DEAD,
    ACTOR_KILLED,
    ACTOR_MOVING,
    ActorClient,
)
from .actor_life import ActorLife
from .arguments import EMPTY_BODY, define, pack_arguments, packets, wire_task
from .creation import Creation
from .errors import unpack_error
from .pipe import FarPipe, Pipe
from .recording import GOOD, now
from .refs import ERROR, VALUE, ObjectRef
from .sites import note_call
from .specs import MethodOptions
from .submitter import TaskRecord, cancellation

if TYPE_CHECKING:
    from .runtime import ClientRuntime

BATCH_CALLS = 32
"""Calls that are collected before they are sent while others are under way."""
BATCH_BYTES = 48 * 1024


class Actors:
    """The actors that this client calls."""

    def __init__(self, runtime: ClientRuntime) -> None:
        self.runtime = runtime
        self.by_id: dict[bytes, ActorClient] = {}
        self.dirty: dict[ActorClient, None] = {}
        self._buffer, self._view = packet_buffer()
        self.creation = Creation(runtime, self)
        self.life = ActorLife(runtime, self)

    # ------------------------------------------------------------ connections

    def open(self, actor: ActorClient, keep: bool) -> socket.socket:
        """Make the channel; returns the actor's end, which the caller sends away and closes."""
        mine, theirs = pair()
        channel = actor.channel = Pipe(mine, self.runtime.pump, theirs.dup() if keep else None)
        actor.defined = {}
        self.runtime.pump.add(channel.fd, lambda mask: self._on_actor(actor, mask))
        return theirs

    def disconnect(self, actor: ActorClient) -> None:
        """Close the channel. Needs the lock."""
        channel = actor.channel
        if channel is not None:
            self.runtime.pump.remove(channel.fd)
            channel.close()
            actor.channel = None

    def client(self, ref: ObjectRef[Any]) -> ActorClient:
        """The actor behind its reference; connected on the first call. Needs the lock."""
        actor: ActorClient | None = ref._task
        if actor is None:
            ident = ref.binary()
            actor = self.by_id.get(ident)
            if actor is None:
                actor = self.by_id[ident] = ActorClient(ident, "", -1)
                self.connect(actor)
            ref._task = actor
        return actor

    def connect(self, actor: ActorClient) -> None:
        """Have the node hand a new channel to the actor's process. In a cluster, ask the head where that is first.
        Needs the lock."""
        actor.fresh = True
        if self.runtime.links.clustered:
            self.runtime.links.head.send(m.ConnectActor(actor.id))
        else:
            self._connect_here(actor)

    def _connect_here(self, actor: ActorClient) -> None:
        theirs = self.open(actor, keep=True)
        self.runtime.send(m.ConnectActor(actor.id), [theirs.fileno()])
        theirs.close()

    def reach(self, actor: ActorClient, node: int) -> None:
        """Connect to an actor that lives on this node or on another. Needs the lock."""
        actor.node = node
        if actor.channel is not None:
            return
        links = self.runtime.links
        if node == links.number:
            self._connect_here(actor)
            self.flush(actor)
            return
        restarts = actor.restarts
        if not actor.trouble:
            actor.trouble_since = time.monotonic()

        def connected(sock: socket.socket | None, rest: bytes, error: str) -> None:
            if sock is None:
                self.life.unreachable(actor, restarts, error)
                return
            if actor.channel is not None or actor.state != ACTOR_ALIVE or actor.restarts != restarts:
                sock.close()
                return
            channel = actor.channel = FarPipe(sock, self.runtime.pump, rest)
            actor.defined = {}
            actor.trouble = ""
            self.runtime.pump.add(channel.fd, lambda mask: self._on_actor(actor, mask))
            self.flush(actor)
            self.life.reached(actor)

        links.to(node)  # its node has to know who holds what the actor returns
        links.dial(node, "data", actor.id + self.runtime.client_id, connected)

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
        trace = None if runtime.tracing is None else runtime.tracing.submitted(self._name_of(ref, options))
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
            if trace is not None:
                record.trace = trace
            method = actor.methods.get(options)
            if method is None:
                method = actor.method(options)
            record.function = method
            record.seq = seq = runtime.next_id()
            if runtime.recording.on:
                record.submitted = now()
            record.retries_left = options.max_task_retries
            if options.num_returns == 1:
                out: ObjectRef[Any] = ObjectRef(runtime, seq)
                result: Any = out
                out._task = record
                record.ref = out
            else:
                result = self._many(record, options.num_returns)
            record.worker = actor
            if runtime.sites:
                note_call(record)
            if not runtime.is_driver:
                runtime.pump.start_thread()
            record.pins = ref  # the actor lives until the call is answered
            if actor.state == ACTOR_DEAD:
                self.life.fail(actor, record)
                return result
            actor.queue.append(record)
            if record.dependencies is not None or record.refs is not None:
                self.creation.when_ready(record, lambda: self.flush(actor))
            elif not actor.inflight or len(actor.queue) >= BATCH_CALLS:
                self.flush(actor)
                if len(actor.inflight) > BATCH_CALLS:
                    runtime.pump.nudge_turn = True
            else:
                self.dirty[actor] = None
        if runtime.pump.nudge_turn:
            runtime.pump.nudge_turn = False
            runtime.pump.try_turn()
        return result

    @staticmethod
    def _name_of(ref: ObjectRef[Any], options: MethodOptions) -> str:
        actor: ActorClient | None = ref._task
        return f"{actor.class_name}.{options.name}" if actor is not None and actor.class_name else options.name

    def _many(self, record: TaskRecord, num_returns: int) -> Any:
        return self.runtime.tasks._many(record, num_returns)

    def flush(self, actor: ActorClient) -> None:
        """Send what may be sent, in order. Needs the lock."""
        self.dirty.pop(actor, None)
        channel = actor.channel
        queue = actor.queue
        if actor.state in (ACTOR_KILLED, ACTOR_MOVING):
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
                    self.runtime.tasks.fail(task, failed._value, failed._contained)
                    continue
                tasks.append(task)
                actor.inflight[task.seq] = task
                size += len(task.body)
            if not tasks:
                return
            self._send(actor, channel, tasks)

    def _send(self, actor: ActorClient, channel: Pipe | FarPipe, tasks: list[TaskRecord]) -> None:
        out = []
        definitions: list[m.Definition] = []
        sites = self.runtime.sites
        if channel.reader_end is None and actor.node != self.runtime.node_no:
            for task in tasks:
                self.runtime.grants.lend_for(task, None)
        for task in tasks:
            method = task.function
            no = method.no
            if no not in actor.defined:
                define(actor.defined, no)
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
            plain = task.dependencies is None and task.shared is None and task.refs is None
            if plain and not task.attempt and task.trace is None and not sites:
                out.append(m.Task(task.seq, no, task.body))
            else:
                out.append(wire_task(self.runtime, task, no))
        try:
            for packet in packets(out, definitions or None):
                channel.post(packet)
        except ChannelClosed:
            return  # the node will say what has become of the actor

    def flush_dirty(self) -> None:
        """Send what was collected. Needs the lock."""
        while self.dirty:
            self.flush(self.dirty.popitem()[0])

    # ------------------------------------------------------------ answers

    def _on_actor(self, actor: ActorClient, mask: int) -> None:
        channel = actor.channel
        if channel is None:
            return
        if mask & 4:
            channel.resume()
        self.read(actor, 32)
        if actor.queue:
            self.flush(actor)

    def read(self, actor: ActorClient, limit: int) -> None:
        """Handle what the actor has answered."""
        channel = actor.channel
        back: list[TaskRecord] = []
        for _ in range(limit):
            if channel is None or channel.closed:
                break
            try:
                raw = channel.receive_into(self._buffer, self._view)
            except ChannelClosed:
                self.runtime.pump.remove(channel.fd)  # the node will say how the actor ended
                if isinstance(channel, FarPipe):  # or it lives, and only the connection has ended
                    self.life.cut_off(actor)
                break
            if raw is None:
                break
            self._on_replies(actor, m.decode_replies(raw), back)
        if back:
            actor.queue.extendleft(reversed(back))
        if channel is not None and channel.more and not channel.closed:  # no event will tell of it
            self.read(actor, limit)

    def _on_replies(self, actor: ActorClient, message: m.Replies, back: list[TaskRecord]) -> None:
        """One packet of answers; calls that were read but not begun are added to `back`, in order."""
        recording = self.runtime.recording
        done: list[TaskRecord] = []
        method, alike, expected = None, self.runtime.is_driver, -1  # as in `Tasks._on_replies`
        objects = self.runtime.objects
        inflight = actor.inflight
        if message.kept:  # before the calls end here, and their arguments with them
            self.runtime.grants.keep_for_others(message.kept)
        for reply in message.replies:
            kind = reply.kind
            if kind == m.ITEM:
                task = inflight.get(reply.seq)
                if task is not None:
                    self.runtime.streams.item(task.stream, reply)
                continue
            task = inflight.pop(reply.seq, None)
            if task is None:
                self.runtime.tasks.drop_late(reply)
                continue
            task.worker = None
            ref = task.ref
            if kind in GOOD:
                if task.function is not method or reply.seq != expected or task.attempt:
                    alike = alike and not done and not task.attempt
                method, expected = task.function, reply.seq + 1
                done.append(task)
            elif kind in (m.FAILED, m.CANCELLED):
                recording.failed(task, actor, reply.data if kind == m.FAILED else cancellation(task), message)
            if kind == m.DONE and type(ref) is ObjectRef:
                ref._value = reply.data
                ref._state = VALUE
                if ref._callbacks is None and ref._hold is None:
                    ref._task = None
                else:
                    objects.finish(ref)
            elif kind == m.FAILED and self._retry_exception(actor, task, reply):
                continue
            elif kind == m.NOT_STARTED:
                task.worker = actor
                back.append(task)
            else:
                self.runtime.tasks.conclude(task, reply)
        if done and recording.on:
            recording.packet(actor, message, done, alike)

    def _retry_exception(self, actor: ActorClient, task: TaskRecord, reply: m.Reply) -> bool:
        options = task.function.options
        if not options.retry_exceptions or not task.retries_left or task.cancelled:
            return False
        error = unpack_error(reply.data)
        cause = error.cause if isinstance(error, RayTaskError) else error
        if not isinstance(cause, options.retry_exceptions):
            return False
        self.runtime.tasks.drop_late(reply)
        task.retries_left -= task.retries_left > 0
        self.again(actor, task)
        actor.queue.appendleft(task)
        self.flush(actor)
        return True

    def again(self, actor: ActorClient, task: TaskRecord) -> None:
        """Another attempt of a call begins; the caller queues it."""
        self.runtime.recording.failed(task, actor, self.life.death_error(actor))  # unless it was told why
        old = task.seq
        task.attempt += 1
        self.runtime.recording.again(task)
        task.seq = self.runtime.next_id()
        for ref in task.ref if type(task.ref) is list else [task.ref]:
            if ref._id == old:
                ref.binary()
        task.worker = actor

    def cancel(self, actor: ActorClient, task: TaskRecord) -> None:
        """Drop a call that waits; ask the actor to cancel one that was sent. Needs the lock."""
        task.cancelled = task.cancelled or True
        task.retries_left = 0
        if task.seq not in actor.inflight:
            if task in actor.queue:
                actor.queue.remove(task)
            self.runtime.tasks.fail(task, cancellation(task, self.runtime.task_id_of_seq(task.seq)))
            return
        if actor.channel is not None:
            try:
                actor.channel.post(m.encode(m.Forget(task.seq)))
            except ChannelClosed:
                return  # it is dead: the call fails by that
