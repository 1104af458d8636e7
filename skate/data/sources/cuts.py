"""Where rows of a CSV file begin, so that it can be cut.

A line break between quotes ends no row, and whether a place is between quotes follows from the number of quotes before it: odd
means between them. (A doubled quote, which stands for one, counts twice.) To count, all before the place would have to be read.
So the neighbourhood is looked at first: where there are no quotes near a place, it is outside of them, as no value is that long.
Only a file that does have quotes near a cut is read once, and its quotes are counted.
"""

from __future__ import annotations

import itertools
import mmap
import os
import re
from collections.abc import Iterator

QUOTE, BREAK = b'"', b"\n"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
HEADER_BYTES = 64 << 10
PLAIN_HEADER = re.compile(rb'(?:"[^"\r\n]*"|[^",\r\n]+)(?:,(?:"[^"\r\n]*"|[^",\r\n]*))*\r?\n')
"""A line of names, each between quotes as a whole or without any."""
NEAR_BYTES = 256 << 10
STEP_BYTES = 8 << 20


def row_starts(path: str, size: int, parts: int) -> list[int]:
    """Where about equal parts of a file begin: each at the beginning of a row. Parts that would be empty are left out."""
    wanted = [size * part // parts for part in range(1, parts)]
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        near = [_near_start(data, at) for at in wanted]
        if None in near:
            return sorted({0, *_counted_starts(data, wanted)} - {size})
    return sorted({0, *(at for at in near if at is not None)} - {size})


def _near_start(data: mmap.mmap, at: int) -> int | None:
    """The beginning of the next row, if there are no quotes near."""
    end = data.find(BREAK, at)
    if end < 0:
        return len(data)
    if data.find(QUOTE, max(0, at - NEAR_BYTES), end + 1) >= 0 or end - at > NEAR_BYTES:
        return None
    return end + 1


def _counted_starts(data: mmap.mmap, wanted: list[int]) -> list[int]:
    """The beginning of the first row after each place, with all quotes before it counted."""
    found = []
    inside = False
    for first, last in itertools.pairwise([0, *wanted]):
        inside ^= (
            sum(data[at : min(at + STEP_BYTES, last)].count(QUOTE) for at in range(first, last, STEP_BYTES)) % 2 > 0
        )
        found.append(_next_start(data, last, inside))
    return found


def _next_start(data: mmap.mmap, at: int, inside: bool) -> int:
    while True:
        end = data.find(BREAK, at)
        if end < 0:
            return len(data)
        inside ^= data[at:end].count(QUOTE) % 2 > 0
        if not inside:
            return end + 1
        at = end + 1


# ---------------------------------------------------------------- pieces of whole rows


def plain_header(path: str) -> bytes | None:
    """The first line of a file, if it is clear that its rows begin behind it."""
    with open(path, "rb", buffering=0) as file:
        found = PLAIN_HEADER.match(file.read(HEADER_BYTES))
    line = None if found is None else found[0]
    return None if line is None or line.startswith(BYTE_ORDER_MARK) or line.isspace() else line


def whole_rows(path: str, first: int, last: int, size: int, header: int = 0) -> Iterator[tuple[int, memoryview]]:
    """The places and bytes of pieces of whole rows, from a row that begins at `first`; each is there until the next is asked for.

    Args:
        size: of a piece, with the row that it ends in.
        header: bytes of the line before `first`, which counts as a part of the first piece.

    They end early, before the first piece in which more than line breaks says where rows end: because there is a quote in it, or
    no line break at all.
    """
    buffer = bytearray(min(size, last - first))
    limit = max(0, size - header)
    with open(path, "rb", buffering=0) as file:
        while first < last:
            count = os.preadv(file.fileno(), [memoryview(buffer)[: min(limit, last - first)]], first)
            end = count if first + count >= last else buffer.rfind(BREAK, 0, count) + 1
            if not end or buffer.find(QUOTE, 0, end) >= 0:
                return
            yield first, memoryview(buffer)[:end]
            first += end
            limit = size
