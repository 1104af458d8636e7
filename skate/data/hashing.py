"""Hashes of rows that are the same in every process and on every machine: Python's own differ.

Numbers and the words of strings are mixed by the finaliser of MurmurHash3 (Austin Appleby, public domain).

INV-1: values that a join takes for equal have the same hash, whatever their types: integers, floats and decimals of any width,
strings with and without a dictionary, times of any unit.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from .block import Block, column, to_values
from .compute import pc

Hashes = np.ndarray[tuple[int], np.dtype[np.uint64]]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2 ** 64 by the golden ratio: what numbers in a row are multiplied by so that they are far apart."""
NULL = GOLDEN
ROWS_AT_ONCE = 1 << 15
"""What fits into a processor's cache."""
EXACT = 1 << 53
"""Whole numbers beyond it are hashed as the floats next to them, as what a float or a decimal is joined to them by."""
WORDS = 32
"""Strings of more words of eight bytes are hashed one by one, by CRC-32."""


OF_BYTES = pa.types.is_string, pa.types.is_binary, pa.types.is_large_string, pa.types.is_fixed_size_binary


def hash_rows(block: Block, keys: Sequence[str]) -> Hashes:
    """A number for each row, by the values of `keys`."""
    found = np.zeros(block.num_rows, dtype=np.uint64)
    for key in keys:
        values = _hash(column(block.column(key)))
        for at in range(0, len(found), ROWS_AT_ONCE):
            piece = found[at : at + ROWS_AT_ONCE]
            piece *= np.uint64(31)
            piece += values[at : at + ROWS_AT_ONCE]
            mix(piece)
    return found


def hash_places(where: str, first: int, count: int) -> Hashes:
    """A number for each of `count` rows in a row, by where they are and their number there. Those of one place differ."""
    start = int.from_bytes(hashlib.blake2b(where.encode(), digest_size=8).digest(), "little")
    found = np.arange(first, first + count, dtype=np.uint64) * GOLDEN + np.uint64(start)
    mix(found)
    return found


def mix(values: Hashes) -> None:
    """Spread the differences over all bits, in place."""
    values ^= values >> np.uint64(33)
    values *= np.uint64(0xFF51AFD7ED558CCD)
    values ^= values >> np.uint64(33)
    values *= np.uint64(0xC4CEB9FE1A85EC53)
    values ^= values >> np.uint64(33)


def _hash(values: pa.Array) -> Hashes:
    kind = values.type
    if pa.types.is_null(kind):
        return np.full(len(values), NULL)
    if pa.types.is_dictionary(kind):
        return _of_dictionary(values)
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_time(kind):
        values = _microseconds(values)
    elif pa.types.is_date(kind):
        values = values.cast(pa.date32()).cast(pa.int32())
    elif pa.types.is_decimal(kind):
        values = pc.cast(values, pa.float64(), safe=False)
    elif pa.types.is_boolean(kind):
        values = values.cast(pa.int8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return _of_bytes(values)
    return _of_numbers(values)


def _microseconds(values: pa.Array) -> pa.Array:
    kind = values.type
    if pa.types.is_timestamp(kind):
        values = pc.cast(values, pa.timestamp("us", kind.tz), safe=False)
    elif pa.types.is_duration(kind):
        values = pc.cast(values, pa.duration("us"), safe=False)
    else:
        values = pc.cast(values, pa.time64("us"), safe=False)
    return values.cast(pa.int64())


def _of_numbers(values: pa.Array) -> Hashes:
    missing = np.asarray(values.is_null()) if values.null_count else None
    if pa.types.is_floating(values.type):
        found = _of_floats(np.asarray(pc.fill_null(values, 0.0)).astype(np.float64))
    else:
        numbers = np.asarray(values if missing is None else pc.fill_null(values, 0))
        found = numbers.astype(np.int64, copy=False).view(np.uint64)
        if numbers.itemsize == 8 and len(numbers) and (numbers.max() > EXACT or numbers.min() < -EXACT):
            found = np.where((numbers > EXACT) | (numbers < -EXACT), _of_floats(numbers.astype(np.float64)), found)
    return found if missing is None else np.where(missing, NULL, found)


def _of_floats(numbers: Any) -> Hashes:
    numbers = np.where(np.isnan(numbers), np.nan, numbers + 0.0)  # one NaN, and one zero
    whole = (numbers == np.floor(numbers)) & (np.abs(numbers) < 2.0**63)
    integers = np.where(whole, numbers, 0).astype(np.int64).view(np.uint64)
    return np.where(whole, integers, numbers.view(np.uint64))


def _of_dictionary(values: pa.Array) -> Hashes:
    hashes = _hash(values.dictionary)
    places = np.asarray(pc.fill_null(values.indices, 0)).astype(np.int64)
    found: Hashes = hashes[places] if len(hashes) else np.zeros(len(places), np.uint64)
    return np.where(np.asarray(values.indices.is_null()), NULL, found)


def _of_bytes(values: pa.Array) -> Hashes:
    kind = values.type
    if any(each(kind) for each in OF_BYTES):
        values = values.cast(pa.large_binary())
    elif not pa.types.is_large_binary(kind):
        texts = [repr(value).encode() for value in to_values(pa.chunked_array([values]))]
        return np.fromiter((zlib.crc32(text) for text in texts), np.uint64, len(texts))
    offsets: Any = np.frombuffer(values.buffers()[1], np.int64)[values.offset : values.offset + len(values) + 1]
    found = _words(values, offsets[:-1], np.diff(offsets))
    return np.where(np.asarray(values.is_null()), NULL, found) if values.null_count else found


def _words(values: pa.Array, first: Any, lengths: Any) -> Hashes:
    """Of strings, all of them word by word."""
    found: Hashes = lengths.astype(np.uint64)
    if not len(found) or not lengths.any():
        return found
    data = np.concatenate([np.frombuffer(values.buffers()[2], np.uint8), np.zeros(8, np.uint8)])
    words: Any = np.ndarray((len(data) - 7,), "<u8", data, strides=(1,))
    rows = np.flatnonzero((lengths > 0) & (lengths <= 8 * WORDS))
    for number in range(WORDS):
        rows = rows[lengths[rows] > 8 * number]
        if not len(rows):
            break
        left = np.minimum(lengths[rows] - 8 * number, 8).astype(np.uint64)
        word = words[first[rows] + 8 * number] & (
            np.uint64(0xFFFFFFFFFFFFFFFF) >> (np.uint64(64) - left * np.uint64(8))
        )
        piece = found[rows] * np.uint64(31) + word
        mix(piece)
        found[rows] = piece
    for row in np.flatnonzero(lengths > 8 * WORDS):
        found[row] = zlib.crc32(data[first[row] : first[row] + lengths[row]].tobytes())
    return found
