"""Text files, a row for each line; and files as they are, a row for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute

from ..block import Block
from .files import FileRows, Files, FileSource

PIECE_BYTES = 8 << 20
pc: Any = pyarrow.compute  # its functions are made when it is loaded


class Text(FileSource):
    """Lines, as column "text".

    Args:
        files: what is read.
        encoding: of the text.
        drop_empty_lines: leave out those without any character.
    """

    name = "Text"
    growth = 1.3

    def __init__(self, files: Files, encoding: str = "utf-8", drop_empty_lines: bool = True) -> None:
        super().__init__(files)
        "".encode(encoding)  # raises for one that does not exist
        self.encoding = encoding
        self.drop_empty_lines = drop_empty_lines

    def file_schema(self, path: str) -> pa.Schema:
        return pa.schema([("text", pa.string())])

    def read_file(self, path: str) -> Iterator[Block]:
        import codecs

        decoder = codecs.getincrementaldecoder(self.encoding)()
        rest = ""
        with self.where.open(path) as file:
            while data := file.read(PIECE_BYTES):
                try:
                    text = rest + decoder.decode(data)
                except UnicodeDecodeError as error:
                    raise ValueError(f"{path}: {error}: pass the file's encoding=") from None
                whole, mark, rest = text.rpartition("\n")
                if mark:
                    yield self._lines(whole)
        try:
            rest += decoder.decode(b"", True)
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: {error}: pass the file's encoding=") from None
        yield self._lines(rest) if rest else self.file_schema(path).empty_table()

    def _lines(self, text: str) -> Block:
        lines = pc.split_pattern(pa.array([text], pa.large_string()), "\n").values.cast(pa.string())
        lines = pc.utf8_rtrim(lines, "\r")
        if self.drop_empty_lines:
            lines = lines.filter(pc.not_equal(lines, ""))
        return pa.table({"text": lines})


class Binary(FileRows):
    """Files as they are, as column "bytes"."""

    name = "Binary"

    def rows(self, path: str) -> Iterator[Mapping[str, Any]]:
        with self.where.open(path) as file:
            yield {"bytes": file.read()}
