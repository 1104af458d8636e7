"""Running one task or call: arguments in, value or error out, as a `Reply`.

Everything here is the same for tasks, for calls of plain actors and, but for how the function is called, for threaded and
async actors.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..client.errors import pack_error
from ..client.memory import Block
from ..client.metering import PROCESS
from ..client.serialization import INLINE_BYTES_MAX, Packed, deserialize, is_plain, plain_dumps, serialize
from ..client.sites import of_function
from ..client.specs import STREAMING
from ..exceptions import ObjectLostError
from ..wire import messages as m
from ..wire.channel import Channel, ChannelClosed
from ..wire.groups import group_of
from ..wire.labels import without
from ..wire.stream import StreamChannel
from .credits import wait_for_credit

if TYPE_CHECKING:
    from ..client.objects import Objects
    from .process import Worker

_loads = pickle.loads


class ExitActor(BaseException):
    """Raised by `exit_actor()`: the actor ends after this call."""


class ArgumentsLost(Exception):
    """The bytes of arguments cannot be had: the caller has to see to that, and send the task again."""

    def __init__(self, values: list[m.Value], data: bytes) -> None:
        super().__init__(f"{len(values)} arguments are lost")
        self.values = values
        self.data = data


class Function:
    """A function or method as this worker knows it."""

    __slots__ = (
        "at_most_once",
        "backpressure",
        "calls",
        "capture",
        "group",
        "lends",
        "max_calls",
        "name",
        "num_returns",
        "resources",
        "run",
        "short",
        "site",
        "tally",
    )

    def __init__(self, run: Callable[..., Any], definition: m.Definition, owner: str = "") -> None:
        """`owner`: the class of the actor whose method it is."""
        self.run = run
        self.name = definition.name
        self.short = definition.name.rsplit(".", 1)[-1]
        self.num_returns = definition.num_returns
        self.max_calls = definition.max_calls
        self.backpressure = definition.backpressure
        self.lends = definition.lends
        self.group = definition.group
        self.resources = definition.resources and without(definition.resources)
        group, captures = group_of(definition.resources or {})
        self.capture = group if captures else ""
        """The placement group that what it starts belongs to."""
        self.at_most_once = definition.at_most_once
        full = f"{owner}.{definition.name}" if owner else definition.name
        self.site = of_function(full, run)
        """Where its results are made."""
        self.tally = PROCESS.tally(full)
        self.calls = 0


class Caller:
    """Somebody whose tasks arrive here, on a channel of its own."""

    __slots__ = ("channel", "credits", "depth", "far", "functions", "id", "kept", "parts", "ran", "replies", "spent")

    def __init__(self, ident: bytes, channel: Channel | StreamChannel, depth: int) -> None:
        self.id = ident
        self.channel = channel
        self.far = threading.Lock() if isinstance(channel, StreamChannel) else None
        """Whoever reads a connection to another node: the I/O thread does, too, while a task runs long."""
        self.depth = depth
        self.functions: dict[int, Function] = {}
        self.replies: list[m.Reply] = []
        self.credits: dict[int, int] = {}
        self.kept: list[bytes] = []
        self.parts: dict[int, dict[int, m.Part]] = {}
        self.spent = 0.0
        self.ran = 0
        if self.far is not None:
            self._greet()

    def _greet(self) -> None:
        """Nothing of this channel is read before this is sent: a caller whose connection ends without it can be sure."""
        try:
            self.channel.send(m.encode(m.Replies([])))
        except ChannelClosed:
            return  # the caller is gone: its end of file is on the way

    def forget_oldest(self, keep: int) -> None:
        """Forget the functions that were defined first. The caller defines them again if it needs them.

        Call it only when no task is waiting here that was read before.
        """
        for no in list(self.functions)[: len(self.functions) - keep]:
            del self.functions[no]


class Received:
    """The blocks of shared memory that a task was sent: those that are still read after it are kept."""

    __slots__ = ("blocks",)

    def __init__(self) -> None:
        self.blocks: list[Block] = []

    def kept(self) -> list[weakref.ref[Block]]:
        """Weak references to the blocks, to see later which are still alive."""
        return [weakref.ref(block) for block in self.blocks]


def hold_kept(runtime: Any, block: Block, owner: bytes) -> None:
    """A block of a caller is read on here: the node answers for it from now on. Needs the lock."""
    value = m.Value(m.SHARED, b"", block.id, block.offset, block.size)
    runtime.send(m.Register(block.id, value, b"", owner))
    block.held = True


def arguments(
    worker: Worker, caller: Caller | None, task: m.Task, received: Received | None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and keyword arguments of a task.

    Raises:
        Exception: an argument was passed by reference, and making it has failed.
        ArgumentsLost: the bytes of some cannot be had.
    """
    objects = worker.runtime.objects
    blocks = received.blocks if received is not None else None
    dependencies = task.dependencies
    if task.parts and caller is not None:
        parts = caller.parts.pop(task.seq)
        dependencies = [dependency for at in range(task.parts) for dependency in parts[at].dependencies]
        task.refs = [ident for at in range(task.parts) for ident in parts[at].refs] or None
    if received is not None and dependencies:  # all at once, what is not here
        here = objects.localize([dependency.value for dependency in dependencies], received.blocks)
        lost = [at for at, value in enumerate(here) if value.kind == m.LOST]
        if lost:
            raise ArgumentsLost([m.Value(m.LOST, b"", dependencies[at].value.id) for at in lost], here[lost[0]].data)
        dependencies = [m.Dependency(each.where, value) for each, value in zip(dependencies, here, strict=True)]
    if task.shared is not None:
        task.shared.refs = task.refs
        args, kwargs = objects.load_value(task.shared, blocks)
    elif task.refs is not None:
        args, kwargs = objects.load_value(m.Value(m.INLINE, task.body, b"", 0, 0, task.refs), blocks)
    else:
        args, kwargs = deserialize(task.body)
    args = list(args)
    if dependencies:
        for dependency in dependencies:
            value = _load(objects, dependency.value, received)
            where = dependency.where
            if type(where) is int:
                args[where] = value
            else:
                kwargs[where] = value
    return tuple(args), kwargs


def _load(objects: Objects, value: m.Value, received: Received | None) -> Any:
    """An argument that was passed by reference. It was here; while others came it may have had to leave, and be lost by now."""
    try:
        return objects.load_value(value, received.blocks if received is not None else None)
    except ObjectLostError as error:
        if received is None or value.kind != m.SHARED:
            raise
        data = pack_error(error, function_name="", pid=0, task_id="")
        raise ArgumentsLost([m.Value(m.LOST, b"", value.id)], data) from error


def traced(worker: Worker, caller: Caller, task: m.Task, function: Function) -> Callable[..., Any]:
    """The function of a task, in a span of its own."""
    from ..client.tracing import Tracing

    assert task.trace is not None
    tracing = worker.runtime.tracing
    if tracing is None:  # what sets it up came with the task: this process has heard of it now
        tracing = worker.runtime.tracing = Tracing.of(task.trace)
    owner = worker.actor
    name = function.name if owner is None else f"{owner.spec.class_name}.{function.name}"
    attributes = {"skate.task_id": task_id(caller, task), "skate.attempt": task.attempt, "skate.pid": os.getpid()}
    if owner is not None:
        attributes["skate.actor_id"] = owner.spec.id.hex()
    return tracing.running(function.run, task.trace, name, attributes)


def success(worker: Worker, caller: Caller, task: m.Task, function: Function, result: Any) -> m.Reply:
    """The reply for a result."""
    count = function.num_returns
    if count == 1:
        if is_plain(result):
            data = plain_dumps(result, 5)
            if len(data) <= INLINE_BYTES_MAX:
                return m.Reply(task.seq, m.DONE, data)
        value = worker.runtime.objects.give_value(serialize(result), caller.id, task.site or function.site)
        if value.kind == m.INLINE and value.refs is None:
            return m.Reply(task.seq, m.DONE, value.data)
        return m.Reply(task.seq, m.DONE_VALUES, b"", [value])
    if count == 0:
        return m.Reply(task.seq, m.DONE)
    if count < 0:
        return stream(worker, caller, task, function, result)
    values = tuple(result) if hasattr(result, "__iter__") else (result,)
    if len(values) != count:
        raise ValueError(f"{function.name} has num_returns={count}, but returned {len(values)} values")
    give = worker.runtime.objects.give_value
    site = task.site or function.site
    return m.Reply(task.seq, m.DONE_VALUES, b"", [give(serialize(value), caller.id, site) for value in values])


def stream(worker: Worker, caller: Caller, task: m.Task, function: Function, result: Any) -> m.Reply:
    """Send the items of a generator as they are made; the reply that ends the stream."""
    if not hasattr(result, "__next__"):
        raise TypeError(
            f"{function.name} has num_returns='streaming' and must return a generator or an iterator, "
            f"but it returned {type(result).__name__}"
        )
    items: Iterator[Any] = result
    limit = function.backpressure
    sent = 0
    for item in items:
        value = worker.runtime.objects.give_value(serialize(item), caller.id, task.site or function.site)
        worker.send_reply(caller, m.Reply(task.seq, m.ITEM, b"", [value], sent))
        sent += 1
        if limit and sent >= limit and caller.credits.get(task.seq, 0) <= sent - limit:
            wait_for_credit(worker, caller, task.seq, sent - limit + 1, function.lends)
    if limit:
        caller.credits.pop(task.seq, None)
    return m.Reply(task.seq, m.END, b"", None, sent)


def failure(worker: Worker, caller: Caller, task: m.Task, function: Function, error: BaseException) -> m.Reply:
    """The reply for an exception; call it inside the `except`."""
    if isinstance(error, ArgumentsLost):
        return m.Reply(task.seq, m.MISSING, error.data, error.values)
    if worker.was_cancelled(caller, task) and isinstance(error, KeyboardInterrupt):
        return m.Reply(task.seq, m.CANCELLED)
    runtime = worker.runtime
    data, refs = runtime.pins.collect(
        lambda: pack_error(error, function_name=function.name, pid=os.getpid(), task_id=task_id(caller, task))
    )
    if len(data) > INLINE_BYTES_MAX * 64:
        data = pack_error(
            RuntimeError(f"{type(error).__name__}: the error itself is too large to send ({len(data)} bytes)"),
            function_name=function.name,
            pid=os.getpid(),
            task_id=task_id(caller, task),
        )
        refs = []
    if refs:
        value = runtime.objects.give_value(Packed(b"", [], refs), caller.id, task.site or function.site)
        return m.Reply(task.seq, m.FAILED, data, [value])
    return m.Reply(task.seq, m.FAILED, data)


def task_id(caller: Caller, task: m.Task) -> str:
    """The task's id in hexadecimal."""
    return (caller.id + task.seq.to_bytes(8, "big")).hex()


def is_streaming(function: Function) -> bool:
    """Whether its items are sent one by one."""
    return function.num_returns <= STREAMING


def flush_output() -> None:
    """Write what was printed without a newline."""
    sys.stdout.flush()
    sys.stderr.flush()


class Unloadable:
    """Stands for a function that could not be unpickled: only its tasks fail."""

    def __init__(self, name: str, error: BaseException) -> None:
        self.name = name
        self.error = error

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError(f"the function {self.name} cannot be loaded in a worker: {self.error!r}") from self.error


def forget_frames(error: BaseException) -> None:
    """Let go of what the frames of an error hold."""
    error.__traceback__ = None
