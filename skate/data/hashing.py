"""Hashes of rows that are the same in every process and on every machine: Python's own differ.

Numbers are mixed by the finaliser of MurmurHash3 (Austin Appleby, public domain), strings and bytes by CRC-32 of each distinct
value. Integers and floats that are equal have the same hash, so that keys of different widths meet.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from .block import Block, to_values
from .compute import pc

_NULL = np.uint64(0x9E3779B97F4A7C15)


def hash_rows(block: Block, keys: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """A number for each row, by the values of `keys`."""
    found = np.zeros(block.num_rows, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for key in keys:
            found = mix(found * np.uint64(31) + _hash(block.column(key)))
    return found


def mix(values: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Spread the differences over all bits."""
    values = values ^ (values >> np.uint64(33))
    values = values * np.uint64(0xFF51AFD7ED558CCD)
    values = values ^ (values >> np.uint64(33))
    values = values * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


def _hash(column: pa.ChunkedArray) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    values = column.combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = values.chunk(0) if values.num_chunks else pa.array([], column.type)
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _by_index(_hash(pa.chunked_array([values.dictionary])), values.indices)
    if pa.types.is_temporal(kind):
        values = values.cast(pa.int64() if kind.bit_width == 64 else pa.int32())
    elif pa.types.is_boolean(kind):
        values = values.cast(pa.int8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return _by_value(values)
    return _numbers(values)


def _numbers(values: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    missing = np.asarray(values.is_null())
    if pa.types.is_floating(values.type):
        numbers = np.asarray(pc.fill_null(values, 0.0)).astype(np.float64)
        numbers = np.where(np.isnan(numbers), np.nan, numbers + 0.0)  # one NaN, and one zero
        with np.errstate(invalid="ignore"):
            whole = (numbers == np.floor(numbers)) & (np.abs(numbers) < 2.0**63)
            found = np.where(
                whole, np.where(whole, numbers, 0).astype(np.int64).view(np.uint64), numbers.view(np.uint64)
            )
    else:
        found = np.asarray(pc.fill_null(values, 0)).astype(np.int64, copy=False).view(np.uint64)
    return np.where(missing, _NULL, found)


def _by_value(values: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type) or pa.types.is_binary(values.type):
        encoded = values.dictionary_encode(null_encoding="mask")
        distinct = encoded.dictionary.to_pylist()
        hashes = np.fromiter(
            (zlib.crc32(value.encode() if isinstance(value, str) else value) for value in distinct),
            np.uint64,
            len(distinct),
        )
        return _by_index(hashes, encoded.indices)
    texts = [repr(value).encode() for value in to_values(pa.chunked_array([values]))]
    return np.fromiter((zlib.crc32(text) for text in texts), np.uint64, len(texts))


def _by_index(
    hashes: np.ndarray[tuple[int], np.dtype[np.uint64]], indices: pa.Array
) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    places = np.asarray(pc.fill_null(indices, 0)).astype(np.int64)
    found = hashes[places] if len(hashes) else np.zeros(len(indices), np.uint64)
    return np.where(np.asarray(indices.is_null()), _NULL, found)
