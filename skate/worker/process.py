"""The worker's main loop: read a packet, run it, reply.

The main thread reads the callers' channels and runs tasks, with nothing in between. Control messages of the node arrive in the
runtime's pump, whose epoll is nested in this loop's. While a task runs long, the I/O thread (started when first
needed) sends the answers that wait and gives the rest of the packet back.

INV-1: a task that was read is answered exactly once: a result, an error, or NOT_STARTED.
INV-2: `pending` holds what was read and not begun; only the main thread begins tasks.
"""

from __future__ import annotations

import os
import select
import threading
import time
import weakref
from collections import deque
from types import FrameType
from typing import Any

from ..client.arguments import DEFINED_MAX
from ..client.metering import PROCESS
from ..client.runtime import ClientRuntime
from ..client.serialization import deserialize
from ..client.waist import TaskContext
from ..wire import messages as m
from ..wire.channel import ChannelClosed, packet_buffer, wait_writable
from . import execute, interrupts
from .actor import ActorHost
from .execute import Caller, ExitActor, Function, Received, Unloadable, forget_frames
from .serving import serve

REPLY_AFTER_S = 0.001
"""Answers wait for others of the same packet at most this long."""
SPIN_S = 100e-6
_clock = time.perf_counter


class Worker:
    """One worker process."""

    def __init__(self, runtime: ClientRuntime, begin: m.Begin) -> None:
        self.runtime = runtime
        self.begin = begin
        self.epoll = select.epoll()
        self.inner = runtime.pump.epoll.fileno()
        self.epoll.register(self.inner, select.EPOLLIN)
        self.callers: dict[int, Caller] = {}
        self.codes: dict[bytes, Any] = {}
        self.pending: deque[tuple[Caller, m.Task]] = deque()
        self.out_lock = threading.Lock()
        self.noted = threading.Condition()
        """Threads that wait for a message of their caller."""
        self.local = threading.local()
        self.cancelled: set[tuple[bytes, int]] = set()
        self.actor: ActorHost | None = None
        self.becoming: m.BeActor | None = None
        """What to be from the next round of the main loop on: user code never runs inside a handler."""
        self.pid = os.getpid()
        self.draining = False
        self.why_drained = "all handles to it were dropped"
        self.progress = runtime.memory.arena.progress(runtime.worker_no)
        self.progress[0] = 0
        self.gpus: list[int] = []
        self._buffer, self._view = packet_buffer()
        self._count = 0
        self._seen = -1
        self._unsent = 0.0
        self._kept: list[weakref.ref[Any]] = []
        self._kept_prune = 256
        self._spin_misses = 0
        self.running: tuple[Caller, m.Task, Function] | None = None
        self.missed = False
        """An interrupt came while nothing ran: the message that says what is to be cancelled may not be read yet."""
        self.held_up = False
        """What is behind the running task has waited for long."""
        self.began = 0.0
        """When the main thread began with what it runs."""
        runtime.on_message = self._on_message
        runtime.before_block = self.give_back_pending
        runtime.pump.on_tick = self._on_tick
        runtime.pump.between = self._between
        runtime.running_task = self._running_task
        runtime.running_now = self._running_now
        runtime.exit_actor = self._exit_actor  # type: ignore[method-assign]
        runtime.context = self.context  # type: ignore[method-assign]

    # ------------------------------------------------------------ loop

    def run(self) -> None:
        """Serve until told to stop."""
        while True:
            self.step()

    def step(self) -> None:
        """Wait for something to do, and do it."""
        events = self._wait(self.runtime.pump)
        if self.becoming is not None:
            message, self.becoming = self.becoming, None
            ActorHost(self, message)
            if self.actor is not None and self.actor.takes_over:
                self.actor.serve()
            return
        for fd, _ in events:
            caller = self.callers.get(fd)
            if caller is not None:
                self._read(caller)
        if self.draining and not self._anything_to_read():
            self.leave(self.why_drained if self.actor else "it was not needed any more", True)

    def close(self) -> None:
        """Close what this object has opened; a worker process just ends."""
        for caller in self.callers.values():
            caller.channel.close()
        self.epoll.close()
        self.progress.release()
        self.runtime.pump.close()
        self.runtime.control.close()
        self.runtime.memory.close()

    def _wait(self, pump: Any) -> list[tuple[int, int]]:
        """Wait for packets, leading the pump meanwhile."""
        pump.claim()
        try:
            while True:
                events = self._poll(pump.between())
                if self.inner in (fd for fd, _ in events):
                    pump.turn(0)
                    if len(events) == 1 and not self.draining and self.becoming is None:
                        continue
                return events
        finally:
            pump.unclaim(hand_over=self.actor is None or not self.actor.is_threaded)

    def _poll(self, due: float | None) -> list[tuple[int, int]]:
        poll = self.epoll.poll
        if self.draining:
            return poll(0)
        if self._spin_misses < 4:
            end = _clock() + SPIN_S
            while True:
                events = poll(0)
                if events:
                    self._spin_misses = 0
                    return events
                if _clock() > end:
                    break
        self._spin_misses += 1
        if self._spin_misses > 16:
            self._spin_misses = 0
        return poll(-1 if due is None else due)

    def _anything_to_read(self) -> bool:
        return any(fd in self.callers for fd, _ in self.epoll.poll(0))

    def _read(self, caller: Caller) -> None:
        """Take one packet of a caller and run it; all packets that were read from the kernel already."""
        while True:
            try:
                raw = self._receive(caller)
            except ChannelClosed:
                self._caller_gone(caller)
                return
            message = None if raw is None else m.decode_batch(raw)
            if type(message) is m.Batch:
                self._run_batch(caller, message)
            elif message is not None:
                self.note(caller, message)
            if not caller.channel.more:
                return

    def _receive(self, caller: Caller) -> Any:
        if caller.far is None:
            return caller.channel.receive_into(self._buffer, self._view)
        with caller.far:
            return caller.channel.receive_into(self._buffer, self._view)

    def note(self, caller: Caller, message: Any) -> None:
        """A message of a caller that is not work."""
        if type(message) is m.Credit:
            caller.credits[message.seq] = message.taken
        elif type(message) is m.Part:
            caller.parts.setdefault(message.seq, {})[message.at] = message
        else:
            self.cancelled.add((caller.id, message.seq))
        with self.noted:
            self.noted.notify_all()

    def _caller_gone(self, caller: Caller) -> None:
        fd = caller.channel.fd
        self.epoll.unregister(fd)
        del self.callers[fd]
        caller.channel.close()
        runtime = self.runtime
        with runtime.lock:
            for block in [ref() for ref in self._kept]:
                if block is not None and not block.held and block.id[:8] == caller.id:
                    execute.hold_kept(self.runtime, block, caller.id)
            runtime.settle()
            runtime.send(m.CallerGone(caller.id))

    # ------------------------------------------------------------ tasks

    def _run_batch(self, caller: Caller, batch: m.Batch) -> None:
        if len(caller.functions) > 2 * DEFINED_MAX and not self.pending:
            caller.forget_oldest(DEFINED_MAX)
        for definition in batch.definitions or ():
            self._define(caller, definition)
        tasks = batch.tasks
        if self.actor is not None and self.actor.dispatch(caller, tasks):
            return
        if len(tasks) == 1:
            self._run_one(caller, tasks[0])
        else:
            self.runtime.pump.start_thread()
            self.pending.extend((caller, task) for task in tasks)
        if self.pending:
            self._run_pending()
        PROCESS.changed = True
        self.flush(caller)

    def _run_pending(self) -> None:
        """Run what was read and not begun: the rest of a packet, and calls that came while a stream waited."""
        pending = self.pending
        while True:
            try:
                caller, task = pending.popleft()
            except IndexError:
                break
            self.progress[0] = task.seq
            self._run_one(caller, task)
            function = caller.functions.get(task.no)
            if _clock() - self._unsent > REPLY_AFTER_S or function is None or function.at_most_once or not pending:
                self.flush(caller)
        self.progress[0] = 0

    def _run_one(self, caller: Caller, task: m.Task) -> None:
        function = caller.functions.get(task.no)
        if function is None or (task.parts and len(caller.parts.get(task.seq, ())) < task.parts):
            # Its definition or a part of it was in an older packet, which the sender took back between two of our reads.
            caller.parts.pop(task.seq, None)
            with self.out_lock:
                caller.replies.append(m.Reply(task.seq, m.NOT_STARTED))
            return
        self._count += 1
        started = self.began = _clock()
        if self.cancelled and self.was_cancelled(caller, task):
            reply = m.Reply(task.seq, m.CANCELLED)
        else:
            reply = self.execute(caller, task, function)
        spent = _clock() - started
        with self.out_lock:
            if not caller.replies:
                self._unsent = started
            caller.replies.append(reply)
            caller.spent += spent
            caller.ran += 1
            function.tally[reply.kind] += 1
        if function.max_calls:
            function.calls += 1
            if function.calls >= function.max_calls:
                self.give_back_pending()
                self.flush(caller)
                self.leave(f"it had run {function.name} max_calls={function.max_calls} times", True)

    def execute(self, caller: Caller, task: m.Task, function: Function) -> m.Reply:
        """Run one task in this thread."""
        received = None
        self.running = self.local.running = (caller, task, function)
        if self.actor is None:
            self.runtime.tasks.capture = function.capture
        try:
            if self.missed:
                self.missed = False
                self.runtime.pump.try_turn()
                if self.was_cancelled(caller, task):
                    raise KeyboardInterrupt
            if task.dependencies is None and task.refs is None and task.shared is None and not task.parts:
                args, kwargs = deserialize(task.body)
            else:
                received = Received()
                args, kwargs = execute.arguments(self, caller, task, received)
                if self.actor is not None:
                    self.note_reading(received)
            run = function.run if task.trace is None else execute.traced(self, caller, task, function)
            result = run(*args, **kwargs)
            if os.getpid() != self.pid:
                os._exit(0)  # a child that the task forked and that came back out of it: the parent answers
            args = kwargs = None
            reply = execute.success(self, caller, task, function, result)
            result = None
        except ExitActor:
            self.leave("exit_actor() was called", True)
            raise
        except SystemExit as error:
            execute.flush_output()
            self.give_back_pending()
            with self.runtime.lock:
                self.runtime.last_words()
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
            os._exit(code)
        except BaseException as error:
            self.running = None  # it is over: a second interrupt must not break into what follows
            try:
                reply = execute.failure(self, caller, task, function, error)
            finally:
                forget_frames(error)
        finally:
            self.running = self.local.running = None
            if self.cancelled:
                self.cancelled.discard((caller.id, task.seq))
        if received is not None and received.blocks:
            self._note_kept(caller, received)
        if self.runtime.memory.ended or self.runtime.dropped:
            with self.runtime.lock:
                self.runtime.settle()
        return reply

    def _note_kept(self, caller: Caller, received: Received) -> None:
        """What the user's code still reads after the call must not be reused by its owner."""
        refs = received.kept()
        received.blocks.clear()
        for ref in refs:
            block = ref()
            if block is not None and not block.held:
                with self.runtime.lock:
                    execute.hold_kept(self.runtime, block, caller.id)
                with self.out_lock:
                    caller.kept.append(block.id)

    def note_reading(self, received: Received) -> None:
        """Blocks that a call reads: if their owner dies meanwhile, they are registered before its memory is settled."""
        self._kept.extend(received.kept())
        if len(self._kept) > self._kept_prune:
            self._kept = [ref for ref in self._kept if ref() is not None]
            self._kept_prune = max(256, 2 * len(self._kept))

    def _define(self, caller: Caller, definition: m.Definition) -> None:
        known = caller.functions.pop(definition.no, None)
        if known is not None:  # the caller had forgotten it: it is the newest again
            caller.functions[definition.no] = known
            return
        try:
            run = self._code(definition) if self.actor is None else self.actor.method(definition.name)
        except Exception as error:  # a property that raises, a method that was deleted
            run = Unloadable(definition.name, error)
        caller.functions[definition.no] = Function(run, definition, self.actor.spec.class_name if self.actor else "")

    def _code(self, definition: m.Definition) -> Any:
        run = self.codes.get(definition.hash)
        if run is None:
            try:
                assert definition.code is not None
                run = self.runtime.objects.load_value(definition.code)
            except BaseException as error:
                return Unloadable(definition.name, error)
            self.codes[definition.hash] = run
            if len(self.codes) > DEFINED_MAX:
                del self.codes[next(iter(self.codes))]
        return run

    # ------------------------------------------------------------ replies

    def flush(self, caller: Caller) -> None:
        """Send the answers that wait."""
        with self.out_lock:
            self._flush_locked(caller)

    def _flush_locked(self, caller: Caller) -> None:
        replies = caller.replies
        if not replies:
            return
        caller.replies = []
        kept, caller.kept = caller.kept, []
        data = m.encode(m.Replies(replies, int(caller.spent * 1e6), caller.ran, kept or None, time.time()))
        caller.spent = 0.0
        caller.ran = 0
        channel = caller.channel
        try:
            done = channel.send(data)
            while not done:
                wait_writable(channel.fd)
                done = channel.flush()
        except (ChannelClosed, OSError):
            return  # the caller is gone: its end of file is on the way

    def flush_with(self, caller: Caller, reply: m.Reply) -> None:
        """Send a reply and everything before it."""
        with self.out_lock:
            caller.replies.append(reply)
            self._flush_locked(caller)

    send_reply = flush_with

    def give_back_pending(self) -> None:
        """Answer what can be answered: results that wait, and NOT_STARTED for the rest of the packet."""
        callers = set()
        if self.actor is None:
            while True:
                try:
                    caller, task = self.pending.popleft()
                except IndexError:
                    break
                with self.out_lock:
                    caller.replies.append(m.Reply(task.seq, m.NOT_STARTED))
                callers.add(caller)
        for caller in [*callers, *(c for c in list(self.callers.values()) if c.replies)]:
            self.flush(caller)

    def _on_tick(self) -> None:
        """In the I/O thread: the same task has run for a while, so what waits behind it goes."""
        running = self._count
        self.held_up |= running == self._seen
        self._seen = running
        self._between()

    def _between(self) -> float | None:
        """What is due, also in the thread that leads while a task runs: perhaps what waits behind that is to go."""
        if self.held_up:
            self.held_up = False
            if self.running is not None:
                self.give_back_pending()
                self._refuse_far()
                PROCESS.changed = True  # of what ran before it in the same packet
        return self.runtime.between()

    def _refuse_far(self) -> None:
        """What callers on other nodes have sent behind a long task, they cannot take back: it is answered for them."""
        if self.actor is not None or self.becoming is not None:
            return
        for caller in list(self.callers.values()):
            reading = caller.far
            if reading is None or not reading.acquire(blocking=False):
                continue
            try:
                while (raw := caller.channel.receive_into(self._buffer, self._view)) is not None:
                    message = m.decode_batch(raw)
                    if type(message) is not m.Batch:
                        self.note(caller, message)
                        continue
                    for task in message.tasks:
                        caller.parts.pop(task.seq, None)
                    with self.out_lock:
                        caller.replies.extend(m.Reply(task.seq, m.NOT_STARTED) for task in message.tasks)
            except ChannelClosed:
                continue  # the main thread will see it, too
            finally:
                reading.release()
            self.flush(caller)

    # ------------------------------------------------------------ the node's messages

    def _on_message(self, message: Any, fds: list[int]) -> bool:
        kind = type(message)
        if kind is m.Serve:
            serve(self, message, fds[0])
        elif kind is m.Cancel:
            self.cancelled.add((message.caller, message.seq))
            if message.recursive:
                self.runtime.tasks.cancel_children((message.caller, message.seq))
            running = self.running
            if running is not None and self.was_cancelled(running[0], running[1]):
                interrupts.again()
        elif kind is m.LetGo:
            self.held_up = True
        elif kind is m.BeActor:
            self.set_gpus(message.gpus or [])
            self.becoming = message
        elif kind is m.Stop:
            if message.drain:
                self.draining = True
                self.why_drained = message.reason or self.why_drained
                if self.actor is not None:
                    self.actor.wake()
            else:
                self.leave("it was not needed any more", True)
        else:
            return False
        return True

    def watch(self, caller: Caller) -> None:
        """Poll this caller's channel, if it is not polled already."""
        try:
            self.epoll.register(caller.channel.fd, select.EPOLLIN)
        except FileExistsError:
            return  # it came before this worker became an async actor

    def set_gpus(self, gpus: list[int]) -> None:
        """These GPUs are for this process now."""
        if gpus or self.gpus:
            self.gpus = gpus
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))

    # ------------------------------------------------------------ cancelling and leaving

    def was_cancelled(self, caller: Caller, task: m.Task) -> bool:
        """Whether the task is to be cancelled."""
        return (caller.id, task.seq) in self.cancelled

    def was_cancelled_seq(self, caller: Caller, seq: int) -> bool:
        """As `was_cancelled`, by number."""
        return (caller.id, seq) in self.cancelled

    def on_interrupt(self, _signal: int, frame: FrameType | None) -> None:
        """SIGINT: interrupt the running task if it is the one to be cancelled.

        In the middle of the runtime's own work the interrupt is put off, and while a module is loaded: both must stay whole.
        """
        running = self.running
        if running is None:
            self.missed = True
            return
        lock: Any = self.runtime.lock
        if lock._is_owned() or self.out_lock.locked():
            interrupts.again()  # also when the message that says which task is not read yet: it cannot be read now
            return
        if not self.was_cancelled(running[0], running[1]):
            self.runtime.pump.try_turn()  # the message that says which task is perhaps not read yet; its reader calls again
        if self.was_cancelled(running[0], running[1]):
            if not interrupts.is_loading(frame):
                raise KeyboardInterrupt
            interrupts.again(interrupts.LOADING_AGAIN_S)

    def _running_task(self) -> tuple[bytes, int] | None:
        running = getattr(self.local, "running", None) or (self.actor.running_call() if self.actor else None)
        return None if running is None else (running[0].id, running[1].seq)

    def _running_now(self) -> list[Any]:
        from .doing import running_now

        return running_now(self)

    def _exit_actor(self) -> None:
        if self.actor is None:
            raise TypeError("exit_actor() ends the actor that calls it: it can only be called inside an actor")
        raise ExitActor

    def leave(self, reason: str, intended: bool) -> None:
        """End this process on purpose."""
        for caller in list(self.callers.values()):
            self.flush(caller)
        with self.runtime.lock:
            self.runtime.last_words()
            self.runtime.send(m.Leaving(reason, intended))
        import atexit

        atexit._run_exitfuncs()
        execute.flush_output()
        os._exit(0)

    # ------------------------------------------------------------ context

    def context(self) -> TaskContext:
        """Who runs on this thread."""
        base = self.runtime.base_context()
        base.namespace = self.begin.namespace
        if self.actor is not None:
            self.actor.describe(base)
        running = getattr(self.local, "running", None) or (self.actor.running_call() if self.actor else None)
        if running is None:
            return base
        caller, task, function = running
        base.task_id = execute.task_id(caller, task)
        base.task_name = function.name
        base.function_name = function.name
        base.attempt = task.attempt
        if self.actor is None:
            base.resources = function.resources or {}
        base.accelerator_ids = {"GPU": [str(i) for i in self.gpus]}
        base.is_canceled = lambda: self.was_cancelled(caller, task)
        return base
