"""CSV files, read by Arrow in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv

from ..block import Block
from .files import File, FileSource, open_file
from .source import Source

PIECE_BYTES = 8 << 20


class CSV(FileSource):
    """CSV files. Arrow's own options are passed on."""

    name = "CSV"
    growth = 1.5

    def __init__(
        self,
        files: Sequence[File],
        include_paths: bool = False,
        filesystem: Any = None,
        read_options: Any = None,
        parse_options: Any = None,
        convert_options: Any = None,
    ) -> None:
        super().__init__(files, include_paths, filesystem)
        self.options = read_options, parse_options, convert_options
        self.columns: list[str] | None = None

    def with_columns(self, columns: Sequence[str]) -> Source | None:
        if self.include_paths or self.options[2] is not None or not columns:
            return None
        source = CSV(self.found, False, self.filesystem, *self.options)
        source.columns = list(columns)
        return source

    def read_file(self, path: str) -> Iterator[Block]:
        read, parse, convert = self.options
        if read is None:
            read = pa.csv.ReadOptions(block_size=PIECE_BYTES, use_threads=False)
        if self.columns is not None:
            convert = pa.csv.ConvertOptions(include_columns=self.columns)
        with open_file(path, self.filesystem) as file:
            try:
                reader = pa.csv.open_csv(file, read, parse, convert)
                while True:
                    try:
                        yield pa.Table.from_batches([reader.read_next_batch()])
                    except StopIteration:
                        return
            except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
                raise ValueError(f"{path}: {error}") from error
