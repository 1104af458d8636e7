"""Where rows of a CSV file begin, so that it can be cut.

A line break between quotes ends no row, and whether a place is between quotes follows from the number of quotes before it: odd
means between them. (A doubled quote, which stands for one, counts twice.) To count, all before the place would have to be read.
So the neighbourhood is looked at first: where there are no quotes near a place, it is outside of them, as no value is that long.
Only a file that does have quotes near a cut is read once, and its quotes are counted.
"""

from __future__ import annotations

import csv
import itertools
import mmap
import os
import re
from typing import NamedTuple

QUOTE, BREAK = b'"', b"\n"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
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


# ---------------------------------------------------------------- the first rows


class FirstRows(NamedTuple):
    """The first rows of a file, or of a part of one.

    Args:
        names: of the columns.
        first, last: where the rows begin and end.
        data: their bytes.
    """

    names: list[str]
    first: int
    last: int
    data: bytes


def first_rows(path: str, first: int, last: int, size: int, names: list[str] | None) -> FirstRows | None:
    """As many whole rows as there are in the first `size` bytes of a file, or of a part of it, if line breaks alone say where
    they end; None if there are quotes, or no row.

    Args:
        first, last: the part; a row begins there.
        names: of the columns. At the beginning of a file its first line says them.
    """
    with open(path, "rb", buffering=0) as file:
        data = os.pread(file.fileno(), min(size, last - first), first)
    begin = 0
    if first == 0:
        header = PLAIN_HEADER.match(data)
        if header is None or not _is_text(header[0]):
            return None
        names, begin = next(csv.reader([header[0].decode()])), header.end()
    end = len(data) if first + len(data) == last else data.rfind(BREAK) + 1
    if names is None or begin >= end or data.find(QUOTE, begin, end) >= 0:
        return None
    return FirstRows(names, first + begin, first + end, data[begin:end])


def _is_text(line: bytes) -> bool:
    """Whether a line has something in it, and is what it seems to be."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return False
    return not text.isspace() and not line.startswith(BYTE_ORDER_MARK)
