"""Functions and arguments as messages: pickled, with references apart and large parts in shared memory.

A packet to a worker must never be larger than the kernel takes at once, so what is too large goes another way: arguments and
functions through shared memory, long lists of references in `Part` messages before the task.
"""

from __future__ import annotations

import hashlib
import pickle
from typing import TYPE_CHECKING, Any

from ..exceptions import NotRunningError
from ..wire import messages as m
from ..wire.channel import PACKET_BYTES
from .refs import ObjectRef
from .serialization import Arguments, Packed, is_plain, serialize
from .sites import of_task

if TYPE_CHECKING:
    from .runtime import ClientRuntime
    from .submitter import TaskRecord

ARGUMENT_BYTES_MAX = 32 * 1024
"""Arguments and functions up to this size travel inside messages."""
PART_BYTES = 24 * 1024
"""About this much of a long list of dependencies goes into one message."""
DEFINED_MAX = 1000
"""So many functions or methods are known by number on one channel; a worker remembers at least the last that many."""
ARGUMENTS = "the arguments of a task"
"""What a block with them is, for whoever asks."""
EMPTY_BODY = pickle.dumps(((), {}), 5)


class Code:
    """A pickled function: shared by all option variants of it."""

    __slots__ = ("block", "data", "hash", "refs")

    def __init__(self, packed: Packed, runtime: ClientRuntime) -> None:
        self.data = packed.to_bytes()
        self.refs = packed.refs
        # references are numbers in the pickle: two functions may differ in nothing else
        ids = b"".join(ref.binary() for ref in packed.refs)
        self.hash = hashlib.blake2b(self.data + ids, digest_size=16).digest()
        self.block: Any = None
        if len(self.data) > ARGUMENT_BYTES_MAX:
            self.block = runtime.objects.write(Packed(self.data, [], []))
            self.block.made = "the code of a function"

    def value(self, runtime: ClientRuntime) -> m.Value:
        """Where it is, for a message. Needs the lock."""
        refs = [runtime.objects.publish(ref) for ref in self.refs] or None
        block = self.block
        if block is None:
            return m.Value(m.INLINE, self.data, b"", 0, 0, refs)
        return runtime.grants.value(block, refs)


def pack_arguments(runtime: ClientRuntime, task: TaskRecord, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Pack a call's arguments into the record: plain ones fast, references apart, large ones into shared memory."""
    dependencies: list[tuple[int | str, ObjectRef[Any]]] = []
    plain = True
    for at, arg in enumerate(args):
        if type(arg) is ObjectRef:
            _check_session(arg, runtime)
            dependencies.append((at, arg))
        elif plain and not is_plain(arg):
            plain = False
    for name, arg in kwargs.items():
        if type(arg) is ObjectRef:
            _check_session(arg, runtime)
            dependencies.append((name, arg))
        elif plain and not is_plain(arg):
            plain = False
    if dependencies:
        task.dependencies = dependencies
        args = tuple(None if type(arg) is ObjectRef else arg for arg in args)
        if kwargs:
            kwargs = {name: None if type(arg) is ObjectRef else arg for name, arg in kwargs.items()}
    if plain:
        body = pickle.dumps((args, kwargs), 5)
        if len(body) <= ARGUMENT_BYTES_MAX:
            task.body = body
            return
        task.body = b""
        task.shared = runtime.objects.write(Packed(body, [], []))
        task.shared.made = ARGUMENTS
        return
    packed = serialize(Arguments((args, kwargs)))
    task.refs = packed.refs or None
    for ref in packed.refs:
        _check_session(ref, runtime)
    if packed.size <= ARGUMENT_BYTES_MAX:
        task.body = packed.to_bytes()
    else:
        task.body = b""
        task.shared = runtime.objects.write(packed)
        task.shared.made = ARGUMENTS


def _check_session(ref: ObjectRef[Any], runtime: ClientRuntime) -> None:
    if ref._runtime is not runtime:
        raise NotRunningError(f"{ref} belongs to a session that has ended: skate.shutdown() was called since then")


def wire_task(runtime: ClientRuntime, task: TaskRecord, no: int) -> m.Task:
    """The message for a task with more than plain arguments. Needs the lock."""
    dependencies = None
    if task.dependencies is not None:
        to_value = runtime.objects.to_value
        dependencies = [m.Dependency(where, to_value(ref)) for where, ref in task.dependencies]
        if runtime.spilling.pressed:
            runtime.spilling.forget_places(task, dependencies)
    refs = None if task.refs is None else [ref.binary() for ref in task.refs]
    shared = None
    if task.shared is not None:
        block = task.shared
        shared = runtime.grants.value(block)
    site = of_task(task) if runtime.sites else ""
    return m.Task(task.seq, no, task.body, dependencies, shared, refs, task.attempt, 0, task.trace, site)


def define(defined: dict[int, None], no: int) -> None:
    """Note that a number is defined on a channel now. The oldest is forgotten, and defined again when it is needed.

    The other end may forget, too: definitions arrive in the order of `defined`, and what it was told last it remembers.
    """
    defined[no] = None
    if len(defined) > DEFINED_MAX:
        del defined[next(iter(defined))]


def packets(tasks: list[m.Task], definitions: list[m.Definition] | None) -> list[bytes]:
    """Tasks and the definitions that they need, as messages none of which is larger than a packet."""
    data = m.encode(m.Batch(tasks, definitions))
    if len(data) < PACKET_BYTES:
        return [data]
    out = [m.encode(m.Batch([], [definition])) for definition in definitions or ()]
    for task in tasks:
        out.extend(_parts(task))
    if sum(len(task.body) + 256 for task in tasks) < PACKET_BYTES // 2:
        out.append(m.encode(m.Batch(tasks)))
    else:
        out.extend(m.encode(m.Batch([task])) for task in tasks)
    return out


def _parts(task: m.Task) -> list[bytes]:
    """Take long lists of references and dependencies out of a task, as messages to send before it."""
    out = []
    refs, dependencies = task.refs or [], task.dependencies or []
    task.refs = [] if refs else None
    task.dependencies = None
    while refs or dependencies:
        count = size = 0
        while count < len(dependencies) and size < PART_BYTES:
            value = dependencies[count].value
            size += 64 + len(value.data) + 20 * len(value.refs or ())
            count += 1
        room = max(0, PART_BYTES - size) // 20
        out.append(m.encode(m.Part(task.seq, task.parts, dependencies[:count], refs[:room])))
        task.parts += 1
        dependencies, refs = dependencies[count:], refs[room:]
    return out
