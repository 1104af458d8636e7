"""JSON files: an object on each line, read by Arrow in pieces; or one array of objects, or one object, in a file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.json as arrow_json

from .. import block as blocks
from ..block import Block
from .files import Files, FileSource

PIECE_BYTES = 8 << 20


class JSON(FileSource):
    """JSON files.

    Args:
        files: what is read.
        lines: each line is an object; False: look at the file to see whether it is one array.
        read_options, parse_options: Arrow's own.
    """

    name = "JSON"
    growth = 2.0

    def __init__(self, files: Files, lines: bool = False, read_options: Any = None, parse_options: Any = None) -> None:
        super().__init__(files)
        self.lines = lines
        self.read_options = read_options
        self.parse_options = parse_options

    def read_file(self, path: str) -> Iterator[Block]:
        with self.where.open(path) as file:
            line = 1
            pieces = _pieces(file)
            for piece in pieces:
                if line == 1 and not self.lines and piece.lstrip()[:1] == b"[":
                    yield from _whole(path, piece + b"".join(pieces))
                    return
                try:
                    yield arrow_json.read_json(pa.py_buffer(piece), self._how(), self.parse_options)
                except pa.ArrowInvalid as error:
                    if line == 1 and not self.lines and not _is_line(piece):
                        yield from _whole(path, piece + b"".join(pieces))
                        return
                    raise ValueError(f"{path}: {_explained(piece, line, str(error))}") from None
                line += piece.count(b"\n")

    def _how(self) -> Any:
        return self.read_options or arrow_json.ReadOptions(use_threads=False, block_size=2 * PIECE_BYTES)


def _pieces(file: Any) -> Iterator[bytes]:
    """A file in pieces of whole lines, without those that hold nothing."""
    rest = b""
    while data := file.read(PIECE_BYTES):
        cut = data.rfind(b"\n") + 1
        if cut:
            yield from (each for each in (rest + data[:cut],) if each.strip())
            rest = data[cut:]
        else:
            rest += data
    if rest.strip():
        yield rest


def _is_line(piece: bytes) -> bool:
    """Whether the first line is a value of its own."""
    try:
        json.loads(piece.lstrip().split(b"\n", 1)[0])
    except ValueError:
        return False
    return True


def _whole(path: str, data: bytes) -> Iterator[Block]:
    try:
        found = json.loads(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    rows = found if isinstance(found, list) else [found]
    wrong = next((at for at, row in enumerate(rows) if not isinstance(row, dict)), None)
    if wrong is not None:
        raise ValueError(f"{path}: value {wrong} is no object but {type(rows[wrong]).__name__}: rows are objects")
    yield blocks.from_rows(rows)


def _explained(piece: bytes, first: int, text: str) -> str:
    """Arrow's words, with the line of the file."""
    for number, line in enumerate(piece.split(b"\n"), first):
        if line.strip():
            try:
                json.loads(line)
            except json.JSONDecodeError as error:
                return f"line {number}, column {error.colno}: {error.msg}"
    found = re.search(r" in row (\d+)", text)
    return text if found is None else f"line {first + int(found[1])}: {text[: found.start()]}"
