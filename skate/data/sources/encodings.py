"""Text in another encoding than was expected: where that shows first, for errors."""

from __future__ import annotations

import codecs
from typing import Any

PIECE_BYTES = 1 << 20


class NotText(ValueError):
    """Columns hold bytes that are no text in the encoding of the file."""


def is_utf8(encoding: str) -> bool:
    """Whether an encoding is UTF-8.

    Raises:
        LookupError: there is no such encoding.
    """
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


def first_wrong(file: Any, encoding: str) -> tuple[int, int, bytes] | None:
    """Where a file is no text of an encoding: lines before, bytes before, and the bytes; None: it is text.

    Args:
        file: it has `read`.
        encoding: in which each byte of a line break is one.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    lines = start = 0
    rest = b""
    while True:
        data = file.read(PIECE_BYTES)
        try:
            decoder.decode(data, not data)
        except UnicodeDecodeError as error:
            known = rest + data
            return lines + known[: error.start].count(b"\n"), start + error.start, known[error.start : error.end]
        if not data:
            return None
        rest, known = decoder.getstate()[0], rest + data
        done = len(known) - len(rest)
        lines += known[:done].count(b"\n")
        start += done
