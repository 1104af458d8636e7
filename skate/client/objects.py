"""References and values between this process and its node.

A reference that never leaves its process is nobody else's business. One that does is published: the node then
answers for the object, and counts who holds it. A reference that arrives is adopted: this process holds it too, until the
last `ObjectRef` of that id is gone here.

Holds are counted at the node, per client, and settle to zero in any order of arrival; what matters is that a process sends
its own `Hold` before it sends the answer that lets somebody else drop theirs.

INV-1: `ref._hold` is set exactly when the node counts this process as a holder of `ref`.
INV-2: a published reference that was pending is delivered to the node when it is done.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..exceptions import GetTimeoutError, ObjectLostError, OwnerDiedError
from ..wire import messages as m
from .errors import pack_error, to_raise, unpack_error
from .memory import Block
from .pump import Waiter
from .refs import ERROR, FAR, PENDING, PLAIN, REMOTE, SHARED, VALUE, ObjectRef, home_of
from .serialization import INLINE_BYTES_MAX, Packed, deserialize, is_plain, plain_dumps, serialize
from .sites import NOTED_BYTES_MIN, here, note_put, of_ref
from .words import several

if TYPE_CHECKING:
    from .runtime import ClientRuntime


class Held:
    """This process counts as a holder of an object, as long as this lives."""

    __slots__ = ("_runtime", "announced", "id")

    def __init__(self, runtime: ClientRuntime, ident: bytes) -> None:
        self._runtime = runtime
        self.id = ident
        self.announced = False
        """The object's home was told that others may hold it soon, whose word may come after ours."""
        if runtime.node_no:
            runtime.links.note_hold(ident, 1)

    def __del__(self) -> None:
        runtime = self._runtime
        runtime.dropped.append(self.id)
        runtime.pump.nudge()


class Far:
    """Where the bytes of an object are, if not on this node, and the hold that keeps them there."""

    __slots__ = ("held", "readers", "recipe", "value")

    def __init__(self, value: m.Value, held: Held | None) -> None:
        self.value = value
        self.held = held
        self.recipe: Any = None
        """How it is made again if it is lost."""
        self.readers: list[Callable[[], None]] | None = None
        """Who waits for the bytes, once they were asked for."""


class Contained:
    """The references inside a value: their ids, and from the first use on the references themselves."""

    __slots__ = ("held", "ids", "refs")

    def __init__(self, ids: list[bytes], held: Held | Block | None) -> None:
        self.ids = ids
        self.held = held
        self.refs: list[ObjectRef[Any]] | None = None


class Objects:
    """The table of references that the node knows, and the making and reading of values."""

    def __init__(self, runtime: ClientRuntime) -> None:
        self._runtime = runtime
        self.known: weakref.WeakValueDictionary[bytes, ObjectRef[Any]] = weakref.WeakValueDictionary()
        self.fetching: dict[bytes, ObjectRef[Any]] = {}
        self._pulls: dict[bytes, list[Callable[[m.Value], None]]] = {}
        self._ahead: set[bytes] = set()
        """Those of `_pulls` that nobody waits for yet."""
        """Bytes that are on their way here from another node, and who waits for them."""

    # ------------------------------------------------------------ making

    def put(self, value: Any) -> ObjectRef[Any]:
        """A reference to a copy of the value."""
        runtime = self._runtime
        if is_plain(value) and not (type(value) in (str, bytes) and len(value) > INLINE_BYTES_MAX // 4):
            plain: ObjectRef[Any] = ObjectRef(runtime, runtime.next_id(), PLAIN, value)
            if runtime.sites:
                note_put(plain)
            return plain
        packed = serialize(value)
        if packed.size <= INLINE_BYTES_MAX:
            ref: ObjectRef[Any] = ObjectRef(runtime, runtime.next_id(), VALUE, packed.to_bytes())
            if runtime.sites:
                note_put(ref)
        else:
            block = self.write(packed)
            if packed.size >= NOTED_BYTES_MIN or runtime.sites:
                block.made = here(3)
            ref = ObjectRef(runtime, block.id, SHARED, block)
            block.ref = weakref.ref(ref)
        if packed.refs:
            ref._contained = contained = Contained([], None)
            contained.refs = packed.refs
        return ref

    def write(self, packed: Packed) -> Block:
        """Write a packed value into shared memory.

        Raises:
            ObjectStoreFullError: there is no room, and none came free in time.
        """
        runtime = self._runtime
        memory = runtime.memory
        with runtime.lock:
            runtime.settle()
            block = self.cut_block(packed.size)
        if block is None:
            block = runtime.grants.grow(packed.size)
        arena = memory.arena
        arena.copy_in(block.offset, memoryview(packed.head()))
        for at, buffer in packed.parts():
            arena.copy_in(block.offset + at, buffer)
        return block

    def cut_block(self, size: int) -> Block | None:
        """A block of free memory, or None: ask the node. Needs the lock, so that an interrupt cannot lose it."""
        memory = self._runtime.memory
        offset = memory.cut(size)
        if offset is None:
            return None
        return Block(memory, self._runtime.new_id(), offset, size, mine=True, held=False)

    # ------------------------------------------------------------ reading

    def load(self, ref: ObjectRef[Any], deadline: float | None = None) -> Any:
        """The value of a reference that is done; raises what the task raised, and `GetTimeoutError` at `deadline`."""
        state = ref._state
        if state == VALUE:
            data = ref._value
            if ref._contained is None:
                return deserialize(data)
            return deserialize(data, self.contained(ref._contained))
        if state == PLAIN:
            return ref._value
        if state == SHARED:
            refs = None if ref._contained is None else self.contained(ref._contained)
            view = self.find(ref._value)
            if not isinstance(view, m.Value):
                return deserialize(view, refs)
            if view.kind == m.LOST:
                with self._runtime.lock:
                    self._runtime.rebuild.lost(ref, view.data)
                return self.load(ref, deadline)
            raise to_raise(unpack_error(view.data))
        if state == ERROR:
            raise self.error_of(ref)
        self.bring(ref, deadline)
        return self.load(ref, deadline)

    def error_of(self, ref: ObjectRef[Any]) -> BaseException:
        """What `get` raises for a reference that has failed, fresh each time."""
        error = ref._value
        return to_raise(unpack_error(error) if isinstance(error, bytes) else error)

    def contained(self, contained: Contained) -> list[ObjectRef[Any]]:
        """The references inside a value, adopted on first use."""
        if contained.refs is None:
            with self._runtime.lock:
                contained.refs = [self.adopt(ident) for ident in contained.ids]
        return contained.refs

    def load_value(self, value: m.Value, blocks: list[Block] | None = None) -> Any:
        """The object that a message's value stands for; blocks it reads are added to `blocks`."""
        if value.kind in (m.ERROR, m.LOST):
            raise to_raise(unpack_error(value.data))
        refs = None
        if value.refs:
            with self._runtime.lock:
                refs = [self.adopt(ident) for ident in value.refs]
        if value.kind == m.INLINE:
            return deserialize(value.data, refs)
        with self._runtime.lock:
            block = self.foreign_block(value, held=False)
        if blocks is not None:
            blocks.append(block)
        return deserialize(self.view(block), refs)

    def view(self, block: Block) -> memoryview:
        """A view of a block's bytes, which are brought here first if they are not.

        Raises:
            ObjectLostError: nobody has them any more.
            ObjectStoreFullError: there was no room for them in time.
        """
        found = self.find(block)
        if isinstance(found, m.Value):
            raise to_raise(unpack_error(found.data))
        return found

    def find(self, block: Block) -> memoryview | m.Value:
        """As `view`, with the error as a value."""
        runtime = self._runtime
        while True:
            with runtime.lock:
                if block.offset:
                    block.used = next(block.memory.clock)
                    return block.view()
            value = m.Value(m.SHARED, b"", block.id, 0, block.size, None, block.node)
            found = self.bring_values([value])[0]
            if isinstance(found, m.Value):
                return found

    # ------------------------------------------------------------ states

    def set_value(self, ref: ObjectRef[Any], value: m.Value, given: bool) -> None:
        """A reference gets its value. `given`: the sender has registered this process as a holder of what needs one."""
        if value.kind in (m.ERROR, m.LOST):
            if value.refs:
                ref._contained = Contained(value.refs, None)
            ref._value = value.data
            ref._state = ERROR
        elif value.kind == m.SHARED and value.node not in (0, self._runtime.node_no):
            value.offset = 0  # a place is of no use to others, and may change
            held = Held(self._runtime, value.id) if given else None
            if value.refs:
                ref._contained = Contained(value.refs, held)
            ref._value = Far(value, held)
            ref._state = FAR
        elif value.kind == m.SHARED:
            block = self.foreign_block(value, held=given)
            if value.refs:
                ref._contained = Contained(value.refs, block)
            ref._value = block
            ref._state = SHARED
        else:
            if value.refs:
                ref._contained = Contained(value.refs, Held(self._runtime, value.id) if given and value.id else None)
            ref._value = value.data
            ref._state = VALUE

    def foreign_block(self, value: m.Value, held: bool) -> Block:
        """The block that a message names; the same object as long as it lives here.

        A place that this process has forgotten is not learnt again from a message of another client, which may be older; the node
        tells it (`bring_values`).
        """
        memory = self._runtime.memory
        block = memory.foreign.get(value.id)
        if block is None:
            here = value.node in (0, self._runtime.node_no)
            if here and not value.offset:
                self._runtime.spilling.press()
            block = Block(memory, value.id, value.offset if here else 0, value.size, mine=False, held=held)
            block.node = 0 if here else value.node
            memory.foreign[value.id] = block
        elif held:
            if block.held:
                memory.ended.append((value.id, 0, 0, False, True))
            block.held = True
        return block

    def finish(self, ref: ObjectRef[Any]) -> None:
        """After a reference got its final state: tell the node if it answers for it, and whoever waits."""
        if ref._hold is not None and ref._task is not None:
            self._runtime.send(m.Deliver(ref.binary(), self.to_value(ref)))
        ref._task = None
        callbacks = ref._callbacks
        if callbacks is not None:
            ref._callbacks = None
            for callback in callbacks:
                callback(ref)

    # ------------------------------------------------------------ to others

    def to_value(self, ref: ObjectRef[Any]) -> m.Value:
        """The value of a reference that is done, for a message. What is inside it is published."""
        state = ref._state
        refs = None
        if ref._contained is not None:
            refs = self.contained_ids(ref._contained)
        if state == VALUE:
            return m.Value(m.INLINE, ref._value, b"", 0, 0, refs)
        if state == PLAIN:
            return m.Value(m.INLINE, plain_dumps(ref._value, 5))
        if state == SHARED:
            block = ref._value
            return m.Value(m.SHARED, b"", block.id, block.offset, block.size, refs, self._runtime.node_no)
        if state == FAR:
            value: m.Value = ref._value.value
            return value
        if state != ERROR:  # it was lost a moment ago, and is being made again
            return m.Value(m.LOST, pack_error(ObjectLostError(ref.hex()), function_name="", pid=0, task_id=""))
        error = ref._value
        if not isinstance(error, bytes):
            error = ref._value = pack_error(error, function_name="", pid=0, task_id="")
        return m.Value(m.ERROR, error, b"", 0, 0, refs)

    def contained_ids(self, contained: Contained) -> list[bytes]:
        """The ids of the references inside a value, all of them published."""
        if contained.refs is not None:
            contained.ids = [self.publish(ref) for ref in contained.refs]
        return contained.ids

    def publish(self, ref: ObjectRef[Any]) -> bytes:
        """Make the node answer for the object; returns its id. Needs the lock."""
        ident = ref.binary()
        runtime = self._runtime
        if ref._hold is not None:
            if runtime.node_no and home_of(ident) != runtime.node_no:
                self.announce(ref)
            return ident
        self.known[ident] = ref
        ref._hold = Held(runtime, ident)
        if ref._state in (PENDING, REMOTE):
            runtime.send(m.Register(ident, None, site=of_ref(ref)))
            return ident
        value = self.to_value(ref)
        runtime.send(m.Register(ident, value, site=of_ref(ref)))
        if value.kind == m.SHARED:
            runtime.rebuild.lineage.publish(ident, ref._value.recipe)
        if value.kind == m.SHARED and value.id == ident:
            runtime.send(m.Hold(ident, 1))
            runtime.memory.lend(ref._value)
        return ident

    def announce(self, ref: ObjectRef[Any]) -> None:
        """Tell the home of a published object, once, that others may hold it soon. Needs the lock."""
        if not ref._hold.announced:
            ref._hold.announced = True
            self._runtime.tell(m.Hold(ref.binary(), 0))

    def give_value(self, packed: Packed, to: bytes, site: str) -> m.Value:
        """A value for another client, which holds what it needs from now on; for results. Needs no lock.

        `site`: where it was made.
        """
        runtime = self._runtime
        if packed.size <= INLINE_BYTES_MAX and not packed.refs:
            return m.Value(m.INLINE, packed.to_bytes())
        block = self.write(packed) if packed.size > INLINE_BYTES_MAX else None
        with runtime.lock:
            refs = [self.publish(ref) for ref in packed.refs] or None
            if block is None:
                value = m.Value(m.INLINE, packed.to_bytes(), runtime.new_id(), 0, 0, refs)
            else:
                value = m.Value(m.SHARED, b"", block.id, block.offset, block.size, refs, runtime.node_no)
                runtime.memory.give(block)
            runtime.send(m.Register(value.id, value, to, site=site))
        return value

    def adopt(self, ident: bytes) -> ObjectRef[Any]:
        """The reference of an id that arrived, held from now on. Needs the lock."""
        ref = self.known.get(ident)
        if ref is None:
            ref = ObjectRef(self._runtime, ident, REMOTE)
            self.known[ident] = ref
        if ref._hold is None:
            ref._hold = Held(self._runtime, ident)
            self._runtime.tell(m.Hold(ident, 1))
        return ref

    # ------------------------------------------------------------ fetching

    def fetch(self, ref: ObjectRef[Any]) -> None:
        """Ask the node for a remote reference's value, once. Needs the lock."""
        if ref._state == REMOTE and ref._id not in self.fetching:
            self.fetching[ref.binary()] = ref
            self._runtime.tell(m.Fetch(ref.binary()))

    def watch(self, ident: bytes, callback: Callable[[ObjectRef[Any]], None]) -> None:
        """Call back when an object of this client has a value, or when nobody holds it any more, as an error.

        It is not held by being watched. Needs the lock.
        """
        ref: ObjectRef[Any] = ObjectRef(self._runtime, ident, REMOTE)
        ref._callbacks = [callback]
        self.fetching[ident] = ref
        self._runtime.tell(m.Fetch(ident))

    def unwatch(self, ident: bytes) -> None:
        """The value of an object is not waited for any more. Needs the lock."""
        self.fetching.pop(ident, None)

    def fetched(self, message: m.Fetched) -> None:
        """The node's answer to `fetch`."""
        ref = self.fetching.pop(message.id, None)
        if ref is None or ref._state != REMOTE:
            return
        value = message.value
        if value.kind == m.SHARED:
            self._runtime.tell(m.Hold(value.id, 1))
        self.set_value(ref, value, given=value.kind == m.SHARED)
        self.finish(ref)

    # ------------------------------------------------------------ bytes on other nodes

    def is_far(self, value: m.Value) -> bool:
        """Whether the node has to be asked for the bytes of a shared value: they are on another node, or on the disk."""
        return not value.offset or value.node not in (0, self._runtime.node_no)

    def _pull(self, value: m.Value, then: Callable[[m.Value], None], ahead: bool = False) -> None:
        """Have the own node fetch the bytes; `then(value)` with their place here, or an error. Needs the lock."""
        waiting = self._pulls.get(value.id)
        if waiting is not None:
            waiting.append(then)
            if not ahead:
                self._hurry(value.id)
            return
        self._pulls[value.id] = [then]
        if ahead:
            self._ahead.add(value.id)
        self._runtime.send(m.Pull(value.id, value.node, value.size, ahead))

    def _hurry(self, ident: bytes) -> None:
        """Somebody waits for an object now. Needs the lock."""
        if ident in self._ahead:
            self._ahead.discard(ident)
            self._runtime.send(m.Hurry(ident))

    def pulled(self, message: m.Pulled) -> None:
        """The own node has the bytes, and holds them for this process; or it could not get them."""
        waiting = self._pulls.pop(message.id, [])
        self._ahead.discard(message.id)
        for _ in waiting[1:]:
            if message.value.kind == m.SHARED:
                self._runtime.send(m.Hold(message.id, 1))  # each of them lets go by itself
        for then in waiting:
            then(message.value)

    def bring_values(self, values: list[m.Value]) -> list[Block | m.Value]:
        """The blocks of values, their bytes here, and held; or errors in their place."""
        here: list[Block | m.Value] = list(values)
        waiter = Waiter(len(values))

        def take(at: int, value: m.Value) -> None:
            here[at] = self._here(value) if value.kind == m.SHARED else value
            waiter.notify()

        with self._runtime.lock:
            for at, value in enumerate(values):
                self._pull(value, partial(take, at))
        self._runtime.waits.wait_keeping(
            waiter, lambda: f"the bytes of {several(len(values), 'object')}, from other nodes or from disk"
        )
        return here

    def _here(self, value: m.Value) -> Block:
        """The node says where the bytes of an object are, and holds them for this process. Needs the lock."""
        block = self.foreign_block(value, held=True)
        for each in self._runtime.memory.blocks(value.id):
            if not each.offset:
                each.offset = value.offset
                each.node = 0
        return block

    def localize(self, values: list[m.Value], blocks: list[Block]) -> list[m.Value]:
        """The same values, those of other nodes with their bytes here; what keeps them here is added to `blocks`."""
        far = [at for at, value in enumerate(values) if value.kind == m.SHARED and self.is_far(value)]
        if far:
            values = list(values)
            for at, found in zip(far, self.bring_values([values[at] for at in far]), strict=True):
                if isinstance(found, Block):
                    blocks.append(found)
                else:
                    values[at] = found
        return values

    def bring(self, ref: ObjectRef[Any], deadline: float | None = None) -> None:
        """Make the value of a reference readable here, or the reason why it cannot be had."""
        waiter = Waiter()
        with self._runtime.lock:
            if ref._state == FAR:
                self._ask_for(ref).append(waiter.notify)
            else:
                waiter.notify()
        waits = self._runtime.waits
        why = f"the bytes of object {ref.hex()} from another node"
        if not waits.wait_keeping(waiter, lambda: why, deadline=deadline):
            raise GetTimeoutError(f"get timed out: it waits for {why}")
        waits.await_done(ref, deadline)  # they may be lost, and made again

    def bring_soon(self, refs: Sequence[ObjectRef[Any]]) -> None:
        """Ask for what will be read next, all at once."""
        with self._runtime.lock:
            for ref in refs:
                if ref._state == FAR:
                    self._ask_for(ref, ahead=ref is not refs[0])

    def _ask_for(self, ref: ObjectRef[Any], ahead: bool = False) -> list[Callable[[], None]]:
        far: Far = ref._value
        if far.readers is None:
            far.readers = []
            self._pull(far.value, partial(self._brought, ref, far), ahead)
        elif not ahead:
            self._hurry(far.value.id)
        return far.readers

    def _brought(self, ref: ObjectRef[Any], far: Far, value: m.Value) -> None:
        readers, far.readers = far.readers or (), None
        if ref._value is not far:  # it was lost meanwhile
            if value.kind == m.SHARED:
                self._runtime.send(m.Hold(value.id, -1))
        elif value.kind == m.LOST:
            self._runtime.rebuild.lost(ref, value.data)
        elif value.kind == m.ERROR:
            ref._value, ref._state = value.data, ERROR
        else:
            block = self._here(value)
            block.keeps = far.held  # what is inside it is held through its home
            block.recipe = far.recipe
            ref._value = block
            ref._state = SHARED
        for notify in readers:
            notify()

    def fetched_from(self, number: int) -> list[bytes]:
        """What is asked of a node, as the home of an object or as its heir."""
        heir = self._runtime.links.heir
        return [ident for ident in self.fetching if heir(home_of(ident)) == number]

    def node_lost(self, number: int, reason: str) -> None:
        """What was asked of a node will not be answered. Needs the lock."""
        for ident in self.fetched_from(number):
            ref = self.fetching.pop(ident)
            error = OwnerDiedError(ident.hex(), f"the node that answers for it is gone: {reason}")
            ref._value, ref._state = error, ERROR
            self.finish(ref)
