"""Values to bytes and back.

A packed value is one of two things, told apart by its first byte. Most are a bare pickle (0x80). One with large
buffers (numpy, Arrow, pandas, anything of pickle protocol 5) is a table of buffers, the pickle, and the buffers, each
on a 64-byte boundary (0x01): in shared memory they are read where they lie.

References inside a value are pickled as their number in the list of references of that value; that list travels
beside the value, so that nodes can count them without opening a pickle. On the way back the unpickler resolves the
numbers with one C call each.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections import ChainMap
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any, cast

import cloudpickle

from .refs import ObjectRef

INLINE_BYTES_MAX = 64 * 1024
"""Values up to this size travel inside messages; larger ones through shared memory."""

ALIGN = 64
_BUFFERED = 0x01
_HEADER = struct.Struct("<B3xIQ")
_ENTRY = struct.Struct("<QQ")
_PLAIN_TYPES = frozenset({int, float, bool, type(None), str, bytes, complex})

plain_dumps = pickle.dumps
loads = pickle.loads


def is_plain(value: Any) -> bool:
    """An immutable built-in: it can be shared instead of copied, and needs no search for references."""
    return type(value) in _PLAIN_TYPES


class Arguments(tuple[Any, ...]):
    """`(args, kwargs)` of a call. Packed as a plain tuple; errors name the argument instead of the place in it."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, (tuple(self),)


class Packed:
    """A serialised value that has not been written anywhere yet."""

    __slots__ = ("_offsets", "buffers", "data", "refs", "size")

    def __init__(self, data: bytes, buffers: list[memoryview], refs: list[ObjectRef[Any]]) -> None:
        self.data = data
        self.buffers = buffers
        self.refs = refs
        if not buffers:
            self.size = len(data)
            return
        at = _HEADER.size + _ENTRY.size * len(buffers) + len(data)
        self._offsets = []
        for buffer in buffers:
            at = -(-at // ALIGN) * ALIGN
            self._offsets.append(at)
            at += buffer.nbytes
        self.size = at

    def to_bytes(self) -> bytes:
        """The packed value as one `bytes`."""
        if not self.buffers:
            return self.data
        out = bytearray(self.size)
        head = self.head()
        out[: len(head)] = head
        for offset, buffer in self.parts():
            out[offset : offset + buffer.nbytes] = buffer
        return bytes(out)

    def head(self) -> bytes:
        """What comes before the buffers: the whole pickle if there are none."""
        if not self.buffers:
            return self.data
        table = b"".join(_ENTRY.pack(o, b.nbytes) for o, b in self.parts())
        return _HEADER.pack(_BUFFERED, len(self.buffers), len(self.data)) + table + self.data

    def parts(self) -> list[tuple[int, memoryview]]:
        """The buffers and where they go."""
        return list(zip(self._offsets, self.buffers, strict=True)) if self.buffers else []


def _keep_in(out_of_band: list[memoryview]) -> Callable[[pickle.PickleBuffer], bool]:
    """The buffer callback of a pickler. Not a method of it: that would be a cycle, which keeps what it has pickled."""

    def keep(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:
            return True  # not contiguous: stays inside the pickle
        out_of_band.append(raw)
        return False

    return keep


_reduce_code: Callable[[CodeType], tuple[Any, ...]] = cast("Any", cloudpickle.Pickler.dispatch_table)[CodeType]
_NO_FILE = "<dynamic-code>"
"""What cloudpickle 3.1.3 and newer write in place of the name of a function's file."""


def _code_with_file(code: CodeType) -> tuple[Any, ...]:
    """Code travels with the name of its file: tracebacks show the line that failed."""
    make, parts = _reduce_code(code)[:2]
    return make, tuple(code.co_filename if part == _NO_FILE else part for part in parts)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    dispatch_table: Any = ChainMap({CodeType: _code_with_file}, cast("Any", cloudpickle.Pickler.dispatch_table))

    def __init__(self, file: io.BytesIO) -> None:
        self.out_of_band: list[memoryview] = []
        self.found: list[ObjectRef[Any]] = []
        super().__init__(file, protocol=5, buffer_callback=_keep_in(self.out_of_band))

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is ObjectRef:
            found = self.found
            found.append(obj)
            return nth_reference, (len(found) - 1,)
        return super().reducer_override(obj)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, buffers: Sequence[memoryview], refs: list[ObjectRef[Any]]) -> None:
        super().__init__(file, buffers=buffers)
        self._nth = refs.__getitem__

    def find_class(self, module: str, name: str) -> Any:
        if name == "nth_reference" and module == __name__:
            return self._nth
        return super().find_class(module, name)


def nth_reference(number: int) -> ObjectRef[Any]:
    """Stands in a pickle for reference `number` of the value; only `deserialize` can resolve it."""
    raise pickle.UnpicklingError(f"reference {number} of a value that was unpickled without its references")


def serialize(value: Any) -> Packed:
    """Serialise any value.

    Raises:
        TypeError: a part of it cannot be pickled; the message has the path to the culprit.
    """
    if type(value) in _PLAIN_TYPES:
        return Packed(pickle.dumps(value, 5), [], [])
    file = io.BytesIO()
    pickler = _Pickler(file)
    try:
        pickler.dump(value)
    except RecursionError:
        raise
    except Exception as error:
        raise TypeError(_explain(value, error)) from error
    return Packed(file.getvalue(), pickler.out_of_band, pickler.found)


def _explain(value: Any, error: Exception) -> str:
    from .culprit import explain_unpicklable

    if type(value) is Arguments:
        for name, argument in [*((f"argument {i}", a) for i, a in enumerate(value[0])), *value[1].items()]:
            try:
                serialize(argument)
            except Exception as inner:
                return f"{name}: {inner}"
    return explain_unpicklable(value, error)


def deserialize(data: bytes | memoryview, refs: list[ObjectRef[Any]] | None = None) -> Any:
    """A packed value back as an object; large buffers become read-only views of `data`."""
    if data[0] != _BUFFERED:
        if refs:
            return _Unpickler(io.BytesIO(data), (), refs).load()
        return pickle.loads(data)
    view = memoryview(data)
    _, count, size = _HEADER.unpack_from(view)
    at = _HEADER.size
    buffers = []
    for _ in range(count):
        offset, length = _ENTRY.unpack_from(view, at)
        buffers.append(view[offset : offset + length].toreadonly())
        at += _ENTRY.size
    body = view[at : at + size]
    if refs:
        return _Unpickler(io.BytesIO(body), buffers, refs).load()
    return pickle.loads(body, buffers=buffers)
