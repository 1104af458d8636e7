"""Tasks of one client: from `.remote()` to the value, over leased workers.

The decisions are in `submitter.py`; here are the sockets. A packet of tasks goes straight to the worker that was leased
for it, and the answers come straight back. The client keeps a duplicate of the worker's end of the channel: packets
that the worker has not read can be taken back through it, when another worker is idle, and after the worker's death.
"""

from __future__ import annotations

import socket
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from ..exceptions import WorkerCrashedError
from ..wire import messages as m
from ..wire.channel import ChannelClosed, packet_buffer
from ..wire.groups import group_of, request
from .arguments import EMPTY_BODY, Code, define, pack_arguments, packets, wire_task
from .demand import Demand
from .exported import Exported
from .lineage import Rerun
from .locality import Locality
from .objects import Contained, Held
from .pipe import FarPipe, Pipe
from .pump import sooner
from .recording import GOOD, now
from .refs import ERROR, PENDING, REMOTE, VALUE, ObjectRef, ObjectRefGenerator
from .retries import Retries
from .serialization import serialize
from .sites import note_call
from .specs import DYNAMIC, STREAMING, FunctionSpec, value_of
from .submitter import FAR_BITS, NUMBER_MASK, Function, LeasedWorker, Shape, Submitter, TaskRecord, cancellation, far

if TYPE_CHECKING:
    from .peer_link import PeerLink
    from .runtime import ClientRuntime

LINGER_S = 0.05
"""How long an idle worker is kept, in case more work comes at once; and how long what is asked for stands when less will do."""
FILL_EVERY = 16
"""While a program submits without waiting, look for answers and free workers after this many tasks."""


class Tasks:
    """The shell around `Submitter`."""

    def __init__(self, runtime: ClientRuntime) -> None:
        self.runtime = runtime
        self.submitter = Submitter()
        self._functions = 0
        self._since_fill = 0
        self._exported: weakref.WeakKeyDictionary[Any, Exported] = weakref.WeakKeyDictionary()
        self.awaiting: dict[int, TaskRecord] = {}
        """Tasks that wait for arguments."""
        self.depth = 0
        self.capture = ""
        """The placement group that what the running task starts belongs to."""
        self._buffer, self._view = packet_buffer()
        self.generous_until = 0.0
        self.retries = Retries(runtime, self)
        self.demand = Demand(self)
        self.locality = Locality(self)
        self.recording = runtime.recording

    # ------------------------------------------------------------ submission

    def export(self, spec: FunctionSpec) -> Function:
        """Prepare a function on its first use: pickle it, and give its shape a queue."""
        runtime = self.runtime
        exported = self._exported.get(spec.function)
        if exported is None:
            exported = self._exported[spec.function] = Exported(Code(serialize(spec.function), runtime))
        options = spec.options
        capture = self.capture
        if capture and (options.node_id or group_of(options.resources)[0]):
            capture = ""  # it says itself where it is to run
        if capture:
            options = replace(options, resources=request(options.resources, capture, -1, True))
        env = runtime.environments.of(options.env)
        key = value_of(options)
        with runtime.lock:
            function = exported.variants.get(key)
        if function is None:
            with runtime.lock:
                self._functions += 1
                shape = self.submitter.shape(dict(options.resources), options.node_id, options.node_soft, env=env)
                runtime.groups.watch(shape)
                function = Function(exported.code, options, shape, self._functions)
                exported.add(key, function)
        if not capture:
            spec.exported = (runtime, function)
        return function

    def submit(self, spec: FunctionSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Queue one task; see `Runtime.submit`."""
        runtime = self.runtime
        if runtime.closed:
            runtime.check_open()
        exported = spec.exported
        usable = exported is not None and exported[0] is runtime and not self.capture
        function = exported[1] if usable and exported is not None else self.export(spec)
        task = TaskRecord(0, function, EMPTY_BODY, None)
        if args or kwargs:
            pack_arguments(runtime, task, args, kwargs)
        options = function.options
        num_returns = options.num_returns
        if runtime.tracing is not None:
            task.trace = runtime.tracing.submitted(options.name)
        task.retries_left = options.max_retries
        if not runtime.is_driver:
            runtime.pump.start_thread()
            task.parent = runtime.running_task()
        if self.recording.on:
            task.submitted = now()
        with runtime.lock:
            if runtime.dropped:
                runtime.settle()
            task.seq = seq = runtime.next_id()
            if num_returns == 1:
                ref: ObjectRef[Any] = ObjectRef(runtime, seq)
                result: Any = ref
                ref._task = task
                task.ref = ref
            else:
                result = self._many(task, num_returns)
            if runtime.sites:
                note_call(task)
            if task.refs is None:
                self.enqueue(task)
            else:
                self.begin(task)
        if self._since_fill >= FILL_EVERY:
            self._since_fill = 0
            runtime.pump.try_turn()
        return result

    def _many(self, task: TaskRecord, num_returns: int) -> Any:
        runtime = self.runtime
        if num_returns in (STREAMING, DYNAMIC):
            stream = runtime.streams.new(task)
            task.stream = stream
            task.ref = stream.completed
            stream.completed._task = task
            if num_returns == DYNAMIC:
                return runtime.streams.dynamic(stream)
            return ObjectRefGenerator(runtime, stream)
        refs: list[ObjectRef[Any]] = [
            ObjectRef(runtime, task.seq if i == 0 else runtime.next_id()) for i in range(num_returns)
        ]
        for ref in refs:
            ref._task = task
        task.ref = refs
        return refs if num_returns else None

    def begin(self, task: TaskRecord) -> None:
        """Publish what the arguments refer to, and queue the task when they are there. Needs the lock."""
        if task.refs is not None:
            for ref in task.refs:
                self.runtime.objects.publish(ref)
        self.enqueue(task)

    def wait_for(self, task: TaskRecord, ref: ObjectRef[Any]) -> None:
        """The task is queued when this argument, and others that it waits for, are there. Needs the lock."""
        task.missing += 1
        self.awaiting[task.seq] = task
        self.runtime.when_done(ref, partial(self._dependency_done, task))

    def _dependency_done(self, task: TaskRecord, _: ObjectRef[Any]) -> None:
        task.missing -= 1
        if not task.missing:
            self.awaiting.pop(task.seq, None)
            if not task.cancelled:
                self.enqueue(task)

    def _has_arguments(self, task: TaskRecord) -> bool:
        """Whether all arguments are there; if not, the task waits for them, or has failed with one of them."""
        refs = [ref for _, ref in task.dependencies or ()]
        if self.runtime.links.dead:
            self.runtime.rebuild.look(refs)
        for ref in refs:
            if ref._state < VALUE:
                self.wait_for(task, ref)
        if not task.missing:
            failed = next((ref for ref in refs if ref._state == ERROR), None)
            if failed is None:
                return True
            self.fail(task, failed._value, failed._contained)
        return False

    def enqueue(self, task: TaskRecord) -> None:
        """Queue a task, now or when its arguments are there. Needs the lock."""
        if task.dependencies is not None:
            if not self._has_arguments(task):
                return
            if self.runtime.node_no:
                self.locality.place(task)
        shape = task.function.shape
        if shape.failed is not None:
            self.fail(task, shape.failed)
            return
        shape.queue.append(task)
        if shape.idle:
            batch = self.submitter.next_batch(shape)
            if batch is not None:
                self._send(*batch)
                return
        self._since_fill += 1
        if len(shape.queue) + len(shape.workers) > shape.asked or shape in self.submitter.lessened:
            self.demand.ask(shape)

    def fill(self, shape: Shape) -> None:
        """Send what there is room for, and take back what an idle worker could run."""
        if shape.failed is not None:
            self.fail_shape(shape, shape.failed)
        next_batch = self.submitter.next_batch
        while shape.queue:
            batch = next_batch(shape)
            if batch is None:
                break
            self._send(*batch)
        if shape.idle and not shape.queue:
            self._steal(shape)
        if shape.prefers and not shape.queue:
            self.locality.served(shape)
        if shape.asked or shape.queue:
            self.demand.ask(shape)

    def _steal(self, shape: Shape) -> None:
        victim = self.submitter.victim(shape)
        if victim is None:
            return
        seqs = self.unread(victim, max(1, (len(victim.packets) - 1) // 2) if len(shape.idle) else 0)
        if seqs:
            self.submitter.took_back(victim, seqs)
            while (batch := self.submitter.next_batch(shape)) is not None:
                self._send(*batch)

    def unread(self, worker: LeasedWorker, limit: int | None, dead: bool = False) -> list[int]:
        """Take unread packets back out of the worker's channel; the tasks in them, in order.

        The oldest come first, so all of them are taken, and what is beyond `limit` goes back.
        """
        pipe: Pipe | FarPipe = worker.channel
        packets = pipe.take_unread(dead)
        stays: list[bytes] = []
        if limit is not None and len(packets) > limit:
            cut = len(packets) - limit
            stays, packets = packets[:cut], packets[cut:]
        seqs: list[int] = []
        for raw in packets:
            batch = m.decode_batch(raw)
            if type(batch) is m.Batch:
                for definition in batch.definitions or ():
                    worker.defined.pop(definition.no, None)
                seqs.extend(task.seq for task in batch.tasks if task.seq in worker.inflight)
            elif type(batch) is not m.Part:
                stays.append(raw)  # it is about a task that runs
        for raw in stays:
            pipe.post(raw)
        return seqs

    # ------------------------------------------------------------ to the worker

    def _send(self, worker: LeasedWorker, tasks: list[TaskRecord]) -> None:
        out = []
        definitions = None
        sites = self.runtime.sites
        if worker.no >> FAR_BITS:
            for task in tasks:
                self.runtime.grants.lend_for(task, task.function.code)
        for task in tasks:
            function = task.function
            if function.spec_id not in worker.defined:
                define(worker.defined, function.spec_id)
                if definitions is None:
                    definitions = []
                definitions.append(self.definition(function))
            plain = task.dependencies is None and task.shared is None and task.refs is None
            if plain and not task.attempt and task.trace is None and not sites:
                out.append(m.Task(task.seq, function.spec_id, task.body))
            else:
                out.append(wire_task(self.runtime, task, function.spec_id))
        post = worker.channel.post
        try:
            for packet in packets(out, definitions):
                post(packet)
        except ChannelClosed:
            return  # its death is on the way from the node, which decides what becomes of the tasks

    def definition(self, function: Function) -> m.Definition:
        """What a worker must know of a function."""
        options = function.options
        code = function.code
        with self.runtime.lock:
            value = code.value(self.runtime)
        return m.Definition(
            function.spec_id,
            code.hash,
            value,
            options.name,
            options.num_returns,
            options.max_calls,
            options.backpressure,
            resources=options.resources,
            at_most_once=options.max_retries == 0,
            lends=options.lends,
        )

    # ------------------------------------------------------------ leases

    def leased(self, message: m.Leased, fds: list[int]) -> None:
        """The node grants a worker."""
        runtime = self.runtime
        pipe = Pipe(socket.socket(fileno=fds[0]), runtime.pump, socket.socket(fileno=fds[1]))
        self._add_worker(message, message.worker, pipe)

    def leased_far(self, link: PeerLink, message: m.Leased) -> None:
        """Another node grants a worker: connect to it. Needs the lock."""
        number = far(link.number, message.worker)
        coming = self.submitter.coming
        coming[number] = self.submitter.by_no[message.shape]

        def connected(sock: socket.socket | None, rest: bytes, error: str) -> None:
            shape = coming.pop(number, None)
            if sock is not None and shape is not None:
                self._add_worker(message, number, FarPipe(sock, self.runtime.pump, rest))
            elif sock is not None:
                sock.close()  # it has died meanwhile
            elif shape is not None:
                link.send(m.ReturnWorker(message.worker))
                self.demand.tell(shape)

        self.runtime.links.dial(link.number, "data", message.key, connected)

    def _add_worker(self, message: m.Leased, number: int, pipe: Pipe | FarPipe) -> None:
        worker = self.submitter.add_worker(number, message.shape, pipe, message.pid, time.monotonic())
        self.runtime.pump.add(pipe.fd, partial(self._on_worker, worker))
        self.fill(worker.shape)

    def link_of(self, worker: LeasedWorker) -> Any:
        """The connection to its node."""
        return self.runtime.links.to(worker.no >> FAR_BITS)

    def give_back(self, worker: LeasedWorker) -> None:
        """Return an idle worker to the node."""
        if worker.no not in self.submitter.workers:
            return
        shape = worker.shape
        link = self.link_of(worker)
        self.drop_lease(worker)
        number = worker.no >> FAR_BITS
        if shape.told.get(number, 0) > shape.wants_of(number):  # or it would be leased to us again, and others starve
            self.demand.tell(shape)
        self.submitter.given_back(shape)
        link.send(m.ReturnWorker(worker.no & NUMBER_MASK))

    def drop_lease(self, worker: LeasedWorker) -> None:
        """A lease has ended. Needs the lock."""
        self.submitter.remove_worker(worker)
        self.runtime.pump.remove(worker.channel.fd)
        worker.channel.close()

    def return_idle(self, linger: float) -> None:
        """Return workers that have been idle for long."""
        for worker in self.submitter.returnable(time.monotonic(), linger):
            self.give_back(worker)

    def asked_back(self, message: m.GiveBack, number: int = 0) -> None:
        """Others wait: idle workers go back now, and some busy ones when they are done."""
        self.return_idle(-1.0)
        self.generous_until = time.monotonic() + 1.0
        having = self.submitter if message.shape < 0 else self.submitter.by_no[message.shape]
        workers = [worker for worker in having.workers.values() if worker.node == number]
        busy = [w for w in workers if not w.draining]
        more = max(0, message.busy - (len(workers) - len(busy)))  # it may say so again before they are done
        for worker in busy[:more]:
            worker.draining = True

    def next_due(self) -> float | None:
        """Seconds until idle workers are to be returned or a task is to be retried; None when nothing is due."""
        due = LINGER_S if self.submitter.lessened else None
        for shape in self.submitter.by_no:
            if shape.idle:
                due = LINGER_S if time.monotonic() > self.generous_until else 0.002
        if self.locality.waiting:
            due = sooner(due, self.locality.next_due(time.monotonic()))
        return sooner(due, self.retries.next_due())

    def run_due(self) -> None:
        """Do what is due. Needs the lock."""
        now = time.monotonic()
        if self.submitter.workers:
            self.return_idle(LINGER_S if now > self.generous_until else 0.0)
        for shape in self.submitter.shrunk(now, LINGER_S) if self.submitter.lessened else ():
            self.demand.tell(shape)
        self.retries.run_due(now)
        if self.locality.waiting:
            self.locality.run_due(now)

    # ------------------------------------------------------------ answers

    def _on_worker(self, worker: LeasedWorker, mask: int) -> None:
        if mask & 4:
            worker.channel.resume()
        self.read(worker, 32)

    def read(self, worker: LeasedWorker, limit: int) -> None:
        """Handle what the worker has answered."""
        channel = worker.channel
        buffer, view = self._buffer, self._view
        for _ in range(limit):
            try:
                raw = channel.receive_into(buffer, view)
            except ChannelClosed:
                first = channel.fd in self.runtime.pump.handlers
                self.runtime.pump.remove(channel.fd)  # the node will say how the worker ended
                if first and isinstance(channel, FarPipe):  # if it has: a connection may also end alone
                    self.link_of(worker).send(m.Interrupt(worker.no & NUMBER_MASK, 0, True))
                return
            if raw is None:
                return
            self._on_replies(worker, m.decode_replies(raw))
            if worker.no not in self.submitter.workers:
                return
        if channel.more and not channel.closed:  # read from the kernel already: no event will tell of it
            self.read(worker, limit)

    def _on_replies(self, worker: LeasedWorker, message: m.Replies) -> None:
        finished = self.submitter.finished
        objects = self.runtime.objects
        function = None
        back = []
        done: list[TaskRecord] = []
        alike, expected = self.runtime.is_driver, -1  # so far; and the number of the next if it stays so
        if message.kept:  # before the tasks end here, and their arguments with them
            self.runtime.grants.keep_for_others(message.kept)
        for reply in message.replies:
            kind = reply.kind
            if kind == m.ITEM:
                task = worker.inflight.get(reply.seq)
                if task is not None:
                    self.runtime.streams.item(task.stream, reply)
                continue
            task = finished(worker, reply.seq)
            if task is None:
                self.drop_late(reply)
                continue
            if task.function is not function or reply.seq != expected or task.attempt:
                alike = alike and not done and not task.attempt
            function = task.function
            if kind == m.DONE:
                expected = reply.seq + 1
                done.append(task)
                ref = task.ref
                if type(ref) is ObjectRef:
                    ref._value = reply.data
                    ref._state = VALUE
                    if ref._callbacks is None and ref._hold is None:
                        ref._task = None
                    else:
                        objects.finish(ref)
                continue
            if kind == m.NOT_STARTED:
                worker.defined.pop(task.function.spec_id, None)  # its definition may have been refused with it
                back.append(task)
                continue
            if kind in (m.FAILED, m.CANCELLED):
                error = reply.data if kind == m.FAILED else cancellation(task)
                self.recording.failed(task, worker, error, message)
            elif kind in GOOD:
                done.append(task)
            self.conclude(task, reply)
        if back:
            self.put_back(back)
        self.submitter.settle(worker, message.spent_us, message.ran, function, time.monotonic())
        if back and worker.inflight:
            self.submitter.is_slow(worker)
        if worker.draining and not worker.inflight:
            self.give_back(worker)
        self.fill(worker.shape)
        if done and self.recording.on:  # while the worker is busy again
            self.recording.packet(worker, message, done, alike)

    def put_back(self, tasks: list[TaskRecord]) -> None:
        """These did not begin: they wait again, but for those that were cancelled on the way. Needs the lock."""
        self.submitter.requeue(task for task in tasks if not task.cancelled)
        for task in tasks:
            if task.cancelled:
                task.worker = None
                self.fail(task, cancellation(task, self.runtime.task_id_of_seq(task.seq)))

    def drop_late(self, reply: m.Reply) -> None:
        """An answer of an attempt that was given up: let go of what it holds for us."""
        for value in reply.values or ():
            if value.id:
                self.runtime.tell(m.Hold(value.id, -1))

    def conclude(self, task: TaskRecord, reply: m.Reply) -> None:
        """A task's last answer that is not a single inline value. Also used for actor calls."""
        kind = reply.kind
        if kind == m.DONE_VALUES:
            refs = task.ref if type(task.ref) is list else [task.ref]
            for ref, value in zip(refs, reply.values or (), strict=True):
                self.runtime.objects.set_value(ref, value, given=True)
            if self.runtime.node_no:
                self.runtime.rebuild.keep(task, refs)
            for ref in refs:
                self.runtime.objects.finish(ref)
        elif kind == m.DONE:  # num_returns=0
            return
        elif kind == m.END:
            self.runtime.streams.end(task.stream, reply.at)
        elif kind == m.FAILED:
            contained = self.inside_error(reply)
            if isinstance(task.function, Function) and self.retries.after_exception(task, reply.data):
                return
            self.fail(task, reply.data, contained)
        elif kind == m.MISSING:
            self.runtime.rebuild.missing(task, reply)
        elif kind == m.CANCELLED:
            self.fail(task, cancellation(task, self.runtime.task_id_of_seq(task.seq)))

    def inside_error(self, reply: m.Reply) -> Contained | None:
        """The references in the exception that a task has raised; held as long as this is."""
        if not reply.values:
            return None
        value = reply.values[0]
        return Contained(value.refs or [], Held(self.runtime, value.id))

    def fail(self, task: TaskRecord, error: Any, contained: Contained | None = None) -> None:
        """The task has failed for good."""
        if task.submitted:
            self.recording.failed(task, task.worker, error)
        if isinstance(task, Rerun) and task.recipe.running is task:
            task.recipe.running = None
        if task.stream is not None:
            self.runtime.streams.fail(task.stream, error, contained)
            return
        for ref in task.ref if type(task.ref) is list else [task.ref]:
            if ref._state in (PENDING, REMOTE):
                ref._contained = contained
                ref._value = error
                ref._state = ERROR
                self.runtime.objects.finish(ref)

    def fail_shape(self, shape: Shape, error: Exception) -> None:
        """No task of a shape can run any more."""
        shape.failed = error
        waiting = list(shape.queue)
        shape.queue.clear()
        for task in waiting:
            self.fail(task, error)
        if shape.told:
            self.demand.tell(shape)

    def cannot_start(self, message: m.CannotStart) -> None:
        """No worker can be had in an environment: what waits for one fails."""
        for shape in [shape for shape in self.submitter.by_no if shape.env == message.env]:
            waiting = list(shape.queue)
            shape.queue.clear()
            if shape.told:
                self.demand.tell(shape)
            for task in waiting:
                crashed = WorkerCrashedError(f"task {task.function.options.name} was not run: {message.reason}")
                self.fail(task, message.error or crashed)

    # ------------------------------------------------------------ cancelling

    def cancel_children(self, parent: tuple[bytes, int]) -> None:
        """Cancel what a task of this worker, itself cancelled, has started. Needs the lock."""
        for task in [task for task in self.submitter.tasks() if task.parent == parent]:
            self.cancel(task, force=False, recursive=True)

    def cancel(self, task: TaskRecord, force: bool, recursive: bool) -> None:
        """Drop it if it waits; interrupt it, or with `force` kill its worker, if it runs. Needs the lock."""
        task.cancelled = task.cancelled or True
        task.retries_left = 0
        worker = task.worker
        error = cancellation(task, self.runtime.task_id_of_seq(task.seq))
        if worker is None:
            shape = task.function.shape
            if task in shape.queue:
                shape.queue.remove(task)
                self.demand.fell(shape)
            self.fail(task, error)
            return
        self.runtime.holdups.take_back(worker)
        if task.worker is None:
            task.function.shape.queue.remove(task)
            self.fail(task, error)
        else:
            self.link_of(worker).send(m.Interrupt(worker.no & NUMBER_MASK, task.seq, force, recursive))
        self.fill(worker.shape)
