"""TFRecord files and `tf.train.Example` messages, without TensorFlow.

A record is: its length (8 bytes), the masked CRC-32C of the length, the bytes, and their masked CRC-32C. An Example is a protobuf
message of three levels: Example { Features features = 1 }, Features { map<string, Feature> feature = 1 }, and Feature, which is
one of bytes (1), floats (2) and integers (3), each a message with `repeated value = 1`, packed or not.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from . import block as blocks
from .block import Block
from .optional import need

LENGTH_MAX = 1 << 31
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
KIND_BYTES, KIND_FLOATS, KIND_INTEGERS = 1, 2, 3


def masked_crc(data: bytes) -> int:
    """The checksum that the format wants."""
    crc: int = need("google_crc32c", "google-crc32c", "the TFRecord format").value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


# ---------------------------------------------------------------- records


def records(file: Any) -> Iterator[bytes]:
    """The records of a file.

    Raises:
        ValueError: it is cut short, or a checksum is wrong.
    """
    number = 0
    while head := file.read(12):
        length = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else 0
        if len(head) < 12 or struct.unpack("<I", head[8:])[0] != masked_crc(head[:8]) or length > LENGTH_MAX:
            raise ValueError(f"record {number}: its length is damaged: this is no TFRecord file, or it is cut short")
        data, tail = file.read(length), file.read(4)
        if len(data) < length or len(tail) < 4:
            raise ValueError(f"record {number}: the file ends in the middle of it")
        if struct.unpack("<I", tail)[0] != masked_crc(data):
            raise ValueError(f"record {number}: its checksum is wrong")
        yield data
        number += 1


def frame(data: bytes) -> bytes:
    """A record as it stands in a file."""
    head = struct.pack("<Q", len(data))
    return head + struct.pack("<I", masked_crc(head)) + data + struct.pack("<I", masked_crc(data))


# ---------------------------------------------------------------- protobuf


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is longer than 64 bits")


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a message: their numbers and their values, as bytes or integers."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == BYTES:
            size, at = _varint(data, at)
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
        else:
            raise ValueError(f"a field of kind {kind}, which is not known")
        if at + size > len(data):
            raise ValueError("a field is longer than its message")
        yield key >> 3, data[at : at + size]
        at += size


def decode(data: bytes) -> dict[str, list[Any]]:
    """The features of an Example, each with its values.

    Raises:
        ValueError: it is no Example.
    """
    try:
        return {
            name: values
            for number, features in _fields(data)
            if number == 1
            for _, entry in _fields(features)
            for name, values in (_entry(entry),)
        }
    except (IndexError, TypeError, AttributeError, struct.error, UnicodeDecodeError):
        raise ValueError("it is no Example message") from None


def _entry(data: bytes) -> tuple[str, list[Any]]:
    found = dict(_fields(data))
    name = found.get(1, b"").decode()  # an empty name is left out
    for kind, values in _fields(found.get(2, b"")):
        return name, _values(kind, values)
    return name, []


def _values(kind: int, data: bytes) -> list[Any]:
    out: list[Any] = []
    for number, value in _fields(data):
        if number != 1:
            continue
        if kind == KIND_BYTES:
            out.append(value)
        elif kind == KIND_FLOATS:
            out.extend(np.frombuffer(value, "<f4").tolist())
        elif isinstance(value, int):
            out.append(_signed(value))
        else:
            at = 0
            while at < len(value):
                one, at = _varint(value, at)
                out.append(_signed(one))
    return out


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _put_varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _put(number: int, data: bytes) -> bytes:
    return _put_varint(number << 3 | BYTES) + _put_varint(len(data)) + data


def encode(row: Mapping[str, Any]) -> bytes:
    """A row as an Example. A null is a feature without values.

    Raises:
        TypeError: a value is none of bytes, text, floats, integers and booleans, or lists of one of these.
    """
    return _put(1, b"".join(_put(1, _put(1, name.encode()) + _put(2, _feature(name, row[name]))) for name in row))


def _feature(name: str, value: Any) -> bytes:
    if value is None:
        return b""
    values = value.ravel().tolist() if isinstance(value, np.ndarray) else value
    values = list(values) if isinstance(values, (list, tuple)) else [values]
    if all(isinstance(each, (bytes, str)) for each in values):
        packed = (each.encode() if isinstance(each, str) else each for each in values)
        return _put(KIND_BYTES, b"".join(_put(1, each) for each in packed))
    if all(isinstance(each, (int, np.integer)) for each in values):
        return _put(KIND_INTEGERS, _put(1, b"".join(_put_varint(int(each)) for each in values)))
    if all(isinstance(each, (int, float, np.number)) for each in values):
        return _put(KIND_FLOATS, _put(1, np.asarray(values, "<f4").tobytes()))
    kinds = ", ".join(sorted({type(each).__name__ for each in values}))
    raise TypeError(f"column {name!r}: TFRecords hold bytes, floats and integers, not {kinds}")


def examples_to_block(found: Sequence[bytes]) -> Block:
    """Examples as rows."""
    rows = [decode(data) for data in found]
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns: dict[str, Any] = {}
    for name in names:
        values = [row.get(name, []) for row in rows]
        single = all(len(each) <= 1 for each in values)
        columns[name] = [each[0] if each else None for each in values] if single else values
    return blocks.from_columns(columns)


def block_to_records(block: Block) -> Iterable[bytes]:
    """Rows as records of a file."""
    return (frame(encode(row)) for row in blocks.to_rows(block))
