"""CSV files, read by Arrow in pieces.

The types of the columns follow from the first piece. Where a later one has a value that does not fit, the rest of the file is
read with a wider type, if there is one that goes together with what was read before: blocks with integers and with floats become
floats when they meet. Otherwise the error says which line it was, and how to choose the type.

A large file of this machine is cut into parts of whole rows, which tasks read at once; see `cuts.py`.

Arrow's stream takes half as much again of the processor if it has to find the types, for all of its blocks, and parses two blocks
before it gives the first. So the first rows are read on their own, and the rest as a stream with their types. If there are quotes
among the first rows, a stream is begun only to hear the types.
"""

from __future__ import annotations

import copy
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.csv as arrow_csv

from ..block import Block, BlockMeta
from ..storage import File, Local, codec_of, storage_of
from .cuts import FirstRows, first_rows, row_starts
from .encodings import NotText, first_wrong, is_utf8
from .files import Files, FileSource
from .source import NO_SCHEMA, ReadTask, Source

PIECE_BYTES = 2 << 20
"""What is parsed at a time: twice what Arrow takes by itself for the types, and not much, as somebody waits for the first."""
HEAD_BYTES = 64 << 10
"""Of a file whose columns' names are wanted, and no types."""
SMALL_BYTES = 1 << 20
"""The rows of a file up to this size are counted at once."""
CUT_BYTES = 32 << 20
"""A file is cut into parts of about so many bytes, at the least."""
LONG_BYTES = 8 << 20
"""A stream of a file of this machine, or of a part of one, is begun again with its types if it is so long."""
EMPTY = "Empty CSV file"
"""What Arrow says of a file without any line."""
NOT_UTF8 = "invalid UTF8 data"
"""What Arrow says of a value that is no text, in a column that was text before."""
WIDER = {pa.null(): pa.int64(), pa.int64(): pa.float64()}
"""What a column becomes when a value does not fit."""
WIDEST_OF_EMPTY = pa.string()


class CSV(FileSource):
    """CSV files.

    Args:
        files: what is read.
        read_options, parse_options, convert_options: Arrow's own; None: its defaults, with line breaks allowed in quoted values.
        encoding: of the files.
    """

    name = "CSV"
    growth = 1.5
    lets_others_run = True

    def __init__(
        self,
        files: Files,
        read_options: Any = None,
        parse_options: Any = None,
        convert_options: Any = None,
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(files)
        self.read_options = read_options
        self.can_cut = read_options is None and parse_options is None and is_utf8(encoding)
        self.encoding = "utf8" if is_utf8(encoding) else encoding
        self._starts: dict[str, tuple[list[int], list[str]]] = {}
        """Of files that are cut: where their parts begin, and the names of their columns."""
        self.parse_options = parse_options or arrow_csv.ParseOptions(newlines_in_values=True)
        self.convert_options = convert_options
        self.counts = False
        """Nobody wants more than the number of rows: of a column of many, one will do."""

    def with_columns(self, columns: Sequence[str]) -> Source | None:
        if self.convert_options is not None or not columns:
            return None
        return self._select(columns)

    def file_schema(self, path: str) -> pa.Schema | None:
        if self.read_options is not None:
            return None
        return self._schema_of(path, PIECE_BYTES)

    def _schema_of(self, path: str, size: int) -> pa.Schema:
        """The columns, if they are text."""
        try:
            return self._first_schema(path, size)
        except (NotText, UnicodeDecodeError):
            raise self._not_text(path) from None

    def _first_schema(self, path: str, size: int) -> pa.Schema:
        """The columns, with types as the first bytes of a file have them."""
        types = self._types()
        if size == PIECE_BYTES and self._is_plain(path):
            rows = first_rows(storage_of(path)[1], 0, self._end(path), PIECE_BYTES, None)
            block = None if rows is None else self._read_rows(path, rows, None)
            if block is not None:
                types.seen(block.schema)
                return block.schema
        read = arrow_csv.ReadOptions(block_size=size, use_threads=False, encoding=self.encoding)
        try:
            with self.where.open(path) as file:
                found = arrow_csv.open_csv(file, read, self.parse_options, self.convert_options).schema
            _unique(path, found.names)
            types.seen(found)
            return found
        except pa.ArrowInvalid as error:
            if EMPTY in str(error):
                return pa.schema([])
            if size < PIECE_BYTES:
                return self._schema_of(path, PIECE_BYTES)  # a row may be longer than what was looked at
            raise ValueError(f"{path}: {self._with_line(path, 0, str(error))}") from None

    def count(self) -> int | None:
        """A small file is counted at once: that takes no longer than to begin a plan."""
        file, *others = self.where.found
        if others or file.size > SMALL_BYTES or codec_of(file.path) or not self.is_local:
            return None
        source = copy.copy(self)
        source.counts, source.columns = True, None
        return sum(int(block.num_rows) for block in source._read([file.path]))

    # ------------------------------------------------------------ tasks

    def tasks(self, wanted: int) -> list[ReadTask]:
        found = self.where.ordered()
        if len(found) >= wanted or not self.can_cut or all(file.size < 2 * CUT_BYTES for file in found):
            return super().tasks(wanted)
        total = sum(file.size for file in found) or 1
        tasks: list[ReadTask] = []
        for file in found:
            parts = min(-(-wanted * file.size // total), file.size // CUT_BYTES)
            tasks.extend(self._cut(file, parts) if parts > 1 and self._is_here(file.path) else [self._task([file])])
        return tasks

    def _is_here(self, path: str) -> bool:
        """Whether a file is one of this machine, not compressed."""
        packed = codec_of(path) if self.where.compression == "infer" else self.where.compression
        return packed is None and isinstance(storage_of(path, self.where.filesystem)[0], Local)

    def _cut(self, file: File, parts: int) -> Iterator[ReadTask]:
        if file.path not in self._starts:  # a plan asks more than once
            starts = row_starts(storage_of(file.path)[1], file.size, parts)
            self._starts[file.path] = starts, self._schema_of(file.path, HEAD_BYTES).names
        starts, names = self._starts[file.path]
        source = self.for_task([file.path])
        for first, last in itertools.pairwise([*starts, file.size]):
            known = BlockMeta(-1, int((last - first) * self.growth), NO_SCHEMA, (file.path,))
            yield ReadTask(partial(source._read_part, file.path, first, last, names), known)

    def _read_part(self, path: str, first: int, last: int, names: list[str]) -> Iterator[Block]:
        from ..functions import HERE

        HERE.files = (path,)
        extras = self.where.extras(path)
        for block in self.read_file(path, first, last, names):
            yield self.add_extras(block, extras)

    # ------------------------------------------------------------ reading

    def read_file(
        self, path: str, first: int = 0, last: int | None = None, names: list[str] | None = None
    ) -> Iterator[Block]:
        types = self._types()
        if self._is_plain(path):
            last = self._end(path) if last is None else last
            rows = first_rows(storage_of(path)[1], first, last, PIECE_BYTES, names)
            block = None if rows is None else self._read_rows(path, rows, self.own_columns(self.where.extras(path)))
            if rows is not None and block is not None:
                try:
                    types.seen(block.schema)
                except NotText:
                    raise self._not_text(path, first, last) from None
                yield block
                if rows.last == last:
                    return
                first, names = rows.last, rows.names
        yield from self._read_stream(path, first, last, names, types)

    def _is_plain(self, path: str) -> bool:
        """Whether a file is one of this machine, not compressed, and all options are Arrow's own."""
        return self.can_cut and self.convert_options is None and self._is_here(path)

    def _end(self, path: str) -> int:
        return os.path.getsize(storage_of(path)[1])

    def _read_rows(self, path: str, rows: FirstRows, columns: list[str] | None) -> Block | None:
        """The first rows, from memory; None if there are only lines without anything."""
        if self.counts:
            columns = _unique(path, rows.names)[:1]
        read = arrow_csv.ReadOptions(block_size=2 * PIECE_BYTES, use_threads=False, column_names=rows.names)
        convert = arrow_csv.ConvertOptions(include_columns=columns)
        try:
            block = arrow_csv.open_csv(pa.BufferReader(rows.data), read, self.parse_options, convert).read_all()
        except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
            if EMPTY in str(error):
                return None
            if NOT_UTF8 in str(error):
                raise self._not_text(path, rows.first, rows.last) from None
            raise ValueError(f"{path}: {self._with_line(path, rows.first, str(error))}") from None
        _unique(path, block.column_names)
        return block if block.num_rows else None

    def _read_stream(
        self, path: str, first: int, last: int | None, names: list[str] | None, types: _Types
    ) -> Iterator[Block]:
        """The blocks that Arrow makes of a file, or of a part of it."""
        rows = 0
        asks_types = not types.now and last is not None and last - first >= LONG_BYTES
        while True:
            try:
                with self.where.open(path) as whole:
                    file = whole if last is None else whole.get_stream(first, last - first)
                    skip = rows  # not left to Arrow, whose `skip_rows` count lines without anything, too
                    reader = self._open(path, file, names if first else None, types)
                    if asks_types:
                        asks_types = False
                        continue
                    for batch in reader:
                        new = batch.slice(min(skip, batch.num_rows))
                        skip -= batch.num_rows - new.num_rows
                        if new.num_rows or not rows:
                            yield pa.Table.from_batches([new])
                            rows += new.num_rows
                    if not rows and reader:
                        yield reader.schema.empty_table()  # there is a line with the names of the columns, and no other
                return
            except (NotText, UnicodeDecodeError):
                raise self._not_text(path, first, last) from None
            except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
                if NOT_UTF8 in str(error):
                    raise self._not_text(path, first, last) from None
                self._widen(path, first, error, types)

    def _open(self, path: str, file: Any, names: list[str] | None, types: _Types) -> Any:
        """A reader of batches; `names` are those of the columns, if there is no line that says them."""
        convert, read = self.convert_options, self.read_options
        if convert is None:
            columns = self.own_columns(self.where.extras(path))
            convert = arrow_csv.ConvertOptions(column_types=types.now, include_columns=columns)
        if read is None:
            read = arrow_csv.ReadOptions(
                block_size=PIECE_BYTES, use_threads=False, column_names=names, encoding=self.encoding
            )
        try:
            reader = arrow_csv.open_csv(file, read, self.parse_options, convert)
        except pa.ArrowInvalid as error:
            if EMPTY in str(error):
                return ()
            raise
        _unique(path, reader.schema.names)
        types.seen(reader.schema)
        return reader

    def _widen(self, path: str, first: int, error: Exception, types: _Types) -> None:
        """Choose a wider type for the column that an error is about, or raise the error with the file in it."""
        found = re.match(r"In CSV column #(\d+): (.*)", str(error), re.DOTALL)
        given = self.convert_options is not None or self.read_options is not None
        schema = None if found is None or given else self.file_schema(path)
        if found is None or schema is None or schema.field(int(found[1])).name not in types.now:
            raise ValueError(f"{path}: {self._with_line(path, first, str(error))}") from None
        name = schema.field(int(found[1])).name
        if not types.widen(name):
            raise ValueError(
                f"{path}: column {name!r} is {types.first[name]} at first, but {self._with_line(path, first, found[2])}. "
                "To read it as text, pass convert_options="
                f"pyarrow.csv.ConvertOptions(column_types={{{name!r}: pyarrow.string()}})."
            ) from None

    def _types(self) -> _Types:
        """For one file. Who has chosen how values are converted may want bytes."""
        types = _Types()
        types.text = self.convert_options is None
        return types

    def _not_text(self, path: str, first: int = 0, last: int | None = None) -> ValueError:
        """The error of a file, or of a part of it, that is not in its encoding: with the first place where that shows."""
        encoding = getattr(self.read_options, "encoding", None) or self.encoding
        with self.where.open(path) as whole:
            wrong = first_wrong(whole if last is None else whole.get_stream(first, last - first), encoding)
        place = ""
        if wrong is not None:
            line, offset, data = wrong
            if first:
                with self.where.open(path) as whole:
                    line += whole.read_at(first, 0).count(b"\n")
            place = f"line {line + 1}, byte {first + offset}: {data!r} "
        name = "UTF-8" if encoding == "utf8" else encoding
        return ValueError(
            f"{path}: {place}is not {name}: pass the encoding of the file, such as encoding='latin-1'; or, to have bytes, "
            "convert_options=pyarrow.csv.ConvertOptions()"
        )

    def _with_line(self, path: str, first: int, text: str) -> str:
        """Arrow's words, with the line of the file for what it calls a row of the part that begins at `first`."""
        before = 0
        if first:
            with self.where.open(path) as file:
                before = file.read_at(first, 0).count(b"\n")
        return re.sub(r"Row #(\d+)", lambda found: f"line {before + int(found[1])}", text)


class _Types:
    """The types of a file's columns: as they were at first, and as they are now."""

    def __init__(self) -> None:
        self.first: dict[str, pa.DataType] = {}
        self.now: dict[str, pa.DataType] = {}
        self.text = True
        """Arrow takes values for bytes if they are no text, and nobody wants that."""

    def seen(self, schema: pa.Schema) -> None:
        """They are those of a reader.

        Raises:
            NotText: there are bytes among them.
        """
        wrong = [field.name for field in schema if self.text and pa.types.is_binary(field.type)]
        if wrong:
            raise NotText(f"the columns {wrong} are no text in the encoding of the file: pass encoding=")
        self.now = {field.name: field.type for field in schema}
        self.first = {**self.now, **self.first}

    def widen(self, name: str) -> bool:
        """Take the next wider type for a column, if there is one."""
        wider = WIDER.get(self.now[name])
        if wider is None and self.first[name] == pa.null() and self.now[name] != WIDEST_OF_EMPTY:
            wider = WIDEST_OF_EMPTY  # nothing but nulls was read of it: what failed has given no rows
        if wider is not None:
            self.now[name] = wider
        return wider is not None


def _unique(path: str, names: list[str]) -> list[str]:
    """The names of columns, if no two have one name: a row, as a dict, would lose all of them but one."""
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ValueError(
            f"{path}: several columns are called {twice[0]!r}. To name them yourself, pass read_options="
            f"pyarrow.csv.ReadOptions(skip_rows=1, column_names=[...])."
        )
    return names
