"""Avro files, read by fastavro."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from .. import block as blocks
from ..block import Block
from ..optional import need
from .files import Files, FileSource

ROWS_AT_ONCE = 10_000


class Avro(FileSource):
    """Avro files."""

    name = "Avro"
    growth = 2.0

    def __init__(self, files: Files) -> None:
        super().__init__(files)
        need("fastavro", "fastavro", "read_avro")

    def read_file(self, path: str) -> Iterator[Block]:
        import fastavro

        with self.where.open(path) as file:
            try:
                for rows in _batches(fastavro.reader(file)):
                    yield blocks.from_rows(rows)
            except Exception as error:  # of any kind: fastavro trusts the lengths that are written in the file
                raise ValueError(f"{path}: it cannot be read as Avro: {error}") from error


def _batches(records: Iterator[Any]) -> Iterator[list[dict[str, Any]]]:
    while rows := list(itertools.islice(records, ROWS_AT_ONCE)):
        if not isinstance(rows[0], dict):
            raise ValueError(f"it holds {type(rows[0]).__name__} values, not records")
        yield rows
