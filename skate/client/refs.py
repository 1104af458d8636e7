"""References: what `.remote()` and `put` return.

An `ObjectRef` is the future itself, not a pointer into a table of futures: its slots hold the state and the
value, so that a finished task costs no look-up and a dropped reference costs no bookkeeping. Identity is
equality: within one process there is at most one live `ObjectRef` per object id (the runtime interns those
that arrive from other processes), so the default `==` and `hash` are right, and fast.

States: PENDING -> VALUE | PLAIN | SHARED | ERROR | FAR, and REMOTE -> one of these once it has been fetched. FAR becomes SHARED
when it is read.
INV-1: `_callbacks` is None or non-empty only while the state is PENDING or REMOTE.
INV-2: `_state` is written last, after `_value`: whoever sees a final state may read the value without a lock.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .ids import Id

if TYPE_CHECKING:
    import asyncio
    import concurrent.futures

    from .waist import Runtime

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

PENDING = 0
"""A task of this process makes it."""
REMOTE = 1
"""Known to the node, not fetched yet."""
VALUE = 2
"""`_value` is its pickle, as bytes. A `get` makes a fresh copy."""
PLAIN = 3
"""`_value` is the value itself, of an immutable built-in type."""
SHARED = 4
"""`_value` is a block of shared memory."""
ERROR = 5
"""`_value` is what `get` raises: an exception, or its pickle."""
FAR = 6
"""`_value` says on which other node the bytes are: they come when somebody reads them."""

IN_WORDS = {
    PENDING: "pending",
    REMOTE: "known to the node, not fetched",
    VALUE: "done",
    PLAIN: "done",
    SHARED: "done, in shared memory",
    ERROR: "failed: get() raises the error",
    FAR: "done, on another node",
}
"""The states, for people."""


def home_of(ident: bytes) -> int:
    """The number of the node that answers for an object or client; 0 outside of any cluster."""
    return int.from_bytes(ident[:4], "big")


class ObjectRef(Generic[T_co]):
    """A reference to a value that exists, or will exist, somewhere in the cluster.

    Pass it to a task to pass the value; `skate.get(ref)` fetches it; `await ref` and `ref.future()` bridge to
    asyncio and to `concurrent.futures`. It can be pickled inside values, arguments and closures. The object
    lives as long as any process holds a reference to it.

    Example:
        >>> import skate
        >>> ref = skate.put([1, 2])
        >>> skate.get(ref)
        [1, 2]
    """

    __slots__ = (
        "__weakref__", "_callbacks", "_contained", "_hold", "_id", "_runtime", "_site", "_state", "_task", "_value"
    )  # fmt: skip

    _runtime: Runtime
    _id: bytes | int
    _state: int
    _value: Any
    _task: Any
    _callbacks: list[Callable[[ObjectRef[Any]], None]] | None
    _contained: Any
    _hold: Any
    _site: str
    """Where it was made; set only if that is recorded (see `sites.py`)."""

    def __init__(self, runtime: Runtime, ident: bytes | int, state: int = PENDING, value: Any = None) -> None:
        self._runtime = runtime
        self._id = ident
        self._value = value
        self._task = None
        self._callbacks = None
        self._contained = None
        self._hold = None
        self._state = state

    def binary(self) -> bytes:
        """The id, 16 bytes."""
        ident = self._id
        return ident if type(ident) is bytes else self._runtime.ref_id(self)

    def hex(self) -> str:
        """The id as 32 hexadecimal digits."""
        return self.binary().hex()

    def task_id(self) -> Id:
        """The id of the task that makes the object, in hexadecimal; the object's own for `put`."""
        return Id(self._runtime.task_id_of(self))

    def job_id(self) -> Id:
        """The id of the job that the reference belongs to, in hexadecimal."""
        return Id(self._runtime.context().job_id)

    def is_nil(self) -> bool:
        """Always False: there are no nil references."""
        return False

    def __repr__(self) -> str:
        return f"ObjectRef({self.hex()})"

    def _repr_html_(self) -> str:
        from .display import facts

        state = self._state
        waits = {"Waits for": self._runtime.why(self)} if state == PENDING else {}
        return facts("ObjectRef", {"Id": self.hex(), "State": IN_WORDS[state], **waits})

    def __reduce__(self) -> tuple[Any, ...]:
        return self._runtime.reduce_ref(self)

    def __copy__(self) -> ObjectRef[T_co]:
        return self

    def __deepcopy__(self, _: Any) -> ObjectRef[T_co]:
        return self

    def future(self) -> concurrent.futures.Future[T_co]:
        """A `concurrent.futures.Future` that gets the value or the error."""
        import concurrent.futures  # imported here: it would double the time of `import skate`

        future: concurrent.futures.Future[T_co] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()

        def deliver(ref: ObjectRef[Any]) -> None:
            try:
                value = self._runtime.get([ref], None)[0]
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(value)

        self._runtime.on_done(self, deliver)
        return future

    def as_future(self) -> asyncio.Future[T_co]:
        """An `asyncio.Future` of the running loop that gets the value or the error."""
        import asyncio

        loop = asyncio.get_running_loop()
        future: asyncio.Future[T_co] = loop.create_future()
        future.skate_ref = self  # type: ignore[attr-defined]  # for those who ask what its loop waits for

        def settle() -> None:
            del future.skate_ref  # type: ignore[attr-defined]
            if future.done():
                return
            try:
                value = self._runtime.get([self], None)[0]
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(value)

        def wake(_: ObjectRef[Any]) -> None:
            try:
                loop.call_soon_threadsafe(settle)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more

        self._runtime.on_done(self, wake, quick=True)
        return future

    def __await__(self) -> Generator[Any, None, T_co]:
        return self.as_future().__await__()


class ObjectRefGenerator(Generic[T_co]):
    """The references of a streaming task, one after the other, as they are made.

    `next()` blocks until the next item's reference exists; the item itself may then be fetched with `get`.
    It works in `for`, `async for`, `wait` and `cancel`, and can be passed to another task or actor.
    A task that raises ends the stream with one last reference, whose `get` raises the error.

    The state of the stream belongs to the runtime that made it (`_stream`).
    """

    __slots__ = ("__weakref__", "_runtime", "_stream")

    def __init__(self, runtime: Runtime, stream: Any) -> None:
        self._runtime = runtime
        self._stream = stream

    def __del__(self) -> None:
        self._runtime.stream_dropped(self._stream)

    def __iter__(self) -> ObjectRefGenerator[T_co]:
        return self

    def __next__(self) -> ObjectRef[T_co]:
        ref = self._runtime.stream_next(self, None)
        if ref is None:
            raise StopIteration
        return ref

    def __aiter__(self) -> ObjectRefGenerator[T_co]:
        return self

    async def __anext__(self) -> ObjectRef[T_co]:
        from ..exceptions import GetTimeoutError

        while True:
            await self._next_item()
            try:
                ref = self._runtime.stream_next(self, 0)
            except GetTimeoutError:  # another reader of this generator was faster
                continue
            if ref is None:
                raise StopAsyncIteration
            return ref

    async def _next_item(self) -> None:
        """Wait until the next item's reference exists, or there is none."""
        import asyncio

        loop = asyncio.get_running_loop()
        ready = loop.create_future()

        def settle() -> None:
            if not ready.done():
                ready.set_result(None)

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(settle)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more

        forget = self._runtime.stream_on_item(self, wake)
        try:
            await ready
        except BaseException:  # cancelled: a loop of short waits must not leave a callback each
            if forget is not None:
                forget()
            raise

    def completed(self) -> ObjectRef[None]:
        """A reference that is done when the task has made its last item; its `get` raises the task's error."""
        return self._runtime.stream_completed(self)

    def is_finished(self) -> bool:
        """True when the task has ended and every item has been handed out."""
        return self._runtime.stream_finished(self)

    def close(self) -> None:
        """Stop the task that makes the items; what is already there can still be read."""
        self._runtime.cancel(self, False, True)

    def __repr__(self) -> str:
        return f"ObjectRefGenerator({self._runtime.stream_id(self)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return self._runtime.reduce_stream(self)


DynamicObjectRefGenerator = ObjectRefGenerator
StreamingObjectRefGenerator = ObjectRefGenerator
