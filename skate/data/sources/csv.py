"""CSV files, read by Arrow in pieces.

The types of the columns follow from the first piece. Where a later one has a value that does not fit, the rest of the file is
read with
a wider type, if there is one that goes together with what was read before: blocks with integers and with floats become floats
when they meet. Otherwise the error says which line it was, and how to choose the type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv as arrow_csv

from ..block import Block
from .files import Files, FileSource
from .source import Source

PIECE_BYTES = 8 << 20
HEAD_BYTES = 256 << 10
"""What the names and first types of the columns are taken from."""
WIDER = {pa.null(): pa.int64(), pa.int64(): pa.float64()}
"""What a column becomes when a value does not fit."""
WIDEST_OF_EMPTY = pa.string()


class CSV(FileSource):
    """CSV files.

    Args:
        files: what is read.
        read_options, parse_options, convert_options: Arrow's own; None: its defaults, with line breaks allowed in quoted values.
    """

    name = "CSV"
    growth = 1.5

    def __init__(
        self, files: Files, read_options: Any = None, parse_options: Any = None, convert_options: Any = None
    ) -> None:
        super().__init__(files)
        self.read_options = read_options
        self.parse_options = parse_options or arrow_csv.ParseOptions(newlines_in_values=True)
        self.convert_options = convert_options

    def with_columns(self, columns: Sequence[str]) -> Source | None:
        if self.convert_options is not None or not columns:
            return None
        return self._select(columns)

    def file_schema(self, path: str) -> pa.Schema | None:
        if self.read_options is not None:
            return None
        with self.where.open(path) as file:
            head = file.read(HEAD_BYTES)
        if not head.strip():
            return pa.schema([])
        whole = head if len(head) < HEAD_BYTES else head[: head.rfind(b"\n") + 1]
        try:
            return arrow_csv.open_csv(pa.py_buffer(whole), self._how(), self.parse_options, self.convert_options).schema
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path}: {error}") from None

    def _how(self, skip: int = 0) -> Any:
        if self.read_options is not None:
            return self.read_options
        return arrow_csv.ReadOptions(block_size=PIECE_BYTES, use_threads=False, skip_rows_after_names=skip)

    def read_file(self, path: str) -> Iterator[Block]:
        types = _Types()
        rows = 0
        while True:
            try:
                with self.where.open(path) as file:
                    reader = self._open(path, file, rows, types)
                    while reader is not None:
                        block = pa.Table.from_batches([reader.read_next_batch()])
                        yield block
                        rows += block.num_rows
                return  # the file is empty
            except StopIteration:
                return
            except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
                self._widen(path, error, types)

    def _open(self, path: str, file: Any, rows: int, types: _Types) -> Any:
        convert = self.convert_options
        if convert is None:
            convert = arrow_csv.ConvertOptions(
                column_types=types.widened, include_columns=self.own_columns(self.where.extras(path))
            )
        try:
            reader = arrow_csv.open_csv(file, self._how(rows), self.parse_options, convert)
        except pa.ArrowInvalid as error:
            if "Empty CSV file" in str(error):
                return None
            raise
        types.seen(reader.schema)
        return reader

    def _widen(self, path: str, error: Exception, types: _Types) -> None:
        """Choose a wider type for the column that an error is about, or raise the error with the file in it."""
        found = re.match(r"In CSV column #(\d+): (.*)", str(error), re.DOTALL)
        given = self.convert_options is not None or self.read_options is not None
        schema = None if found is None or given else self.file_schema(path)
        if found is None or schema is None or schema.field(int(found[1])).name not in types.now:
            raise ValueError(f"{path}: {_with_line(str(error))}") from None
        name = schema.field(int(found[1])).name
        if not types.widen(name):
            raise ValueError(
                f"{path}: column {name!r} is {types.first[name]} at first, but {_with_line(found[2])}. To read it as text, pass "
                f"convert_options=pyarrow.csv.ConvertOptions(column_types={{{name!r}: pyarrow.string()}})."
            ) from None


class _Types:
    """The types of a file's columns: as they were at first, and as they are now."""

    def __init__(self) -> None:
        self.first: dict[str, pa.DataType] = {}
        self.now: dict[str, pa.DataType] = {}
        self.widened: dict[str, pa.DataType] = {}

    def seen(self, schema: pa.Schema) -> None:
        """They are those of a reader."""
        self.now = {field.name: field.type for field in schema}
        self.first = {**self.now, **self.first}

    def widen(self, name: str) -> bool:
        """Take the next wider type for a column, if there is one."""
        wider = WIDER.get(self.now[name])
        if wider is None and self.first[name] == pa.null() and self.now[name] != WIDEST_OF_EMPTY:
            wider = WIDEST_OF_EMPTY  # nothing but nulls was read of it: what failed has given no rows
        if wider is not None:
            self.widened[name] = self.now[name] = wider
        return wider is not None


def _with_line(text: str) -> str:
    """Arrow's words, with "line" for what it calls a row."""
    return re.sub(r"Row #(\d+)", r"line \1", text)
