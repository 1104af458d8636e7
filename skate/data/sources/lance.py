"""Lance datasets, read by their own library. A task reads some of the fragments of one version."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from ..block import Block, BlockMeta
from ..errors import no_column
from ..optional import need
from ..trust import refuse_objects
from .source import ReadTask, Source, shown

FIXED = frozenset({"fragments", "columns", "filter"})
"""Options of a scanner that are said otherwise."""


class Lance(Source):
    """One version of a Lance dataset.

    Args:
        uri: of the dataset.
        version: a number or a tag; None: the newest.
        columns: only these; None: all.
        condition: SQL; only rows for which it is true.
        storage_options: for the library, such as credentials.
        scanner: more options of `LanceDataset.scanner`.
    """

    name = "Lance"

    def __init__(
        self,
        uri: str,
        version: int | str | None = None,
        columns: Sequence[str] | None = None,
        condition: str | None = None,
        storage_options: Mapping[str, str] | None = None,
        scanner: Mapping[str, Any] | None = None,
    ) -> None:
        lance = need("lance", "pylance", "read_lance")
        wrong = FIXED & set(scanner or ())
        if wrong:
            raise ValueError(
                f"read_lance: scanner_options={sorted(wrong)}: fragments are chosen by tasks; give columns= and filter="
            )
        self.uri = uri
        self.storage_options = dict(storage_options or {}) or None
        dataset = lance.dataset(uri, version=version, storage_options=self.storage_options)
        self.version = dataset.version
        """What tasks read: it stays as it is, whatever is written meanwhile."""
        self._full: pa.Schema = dataset.schema
        self.columns = None if columns is None else list(columns)
        self.condition = condition
        self.scanner = dict(scanner or {})
        for name in self.columns or ():
            if name not in self._full.names:
                raise no_column(name, self._full.names)

    def _dataset(self) -> Any:
        return need("lance", "pylance", "read_lance").dataset(
            self.uri, version=self.version, storage_options=self.storage_options
        )

    def schema(self) -> pa.Schema:
        names = self._full.names if self.columns is None else self.columns
        return pa.schema([self._full.field(name) for name in names])

    def count(self) -> int | None:
        return int(self._dataset().count_rows()) if self.condition is None else None

    def left_out(self) -> list[str]:
        columns = [] if self.columns is None else [f"columns={shown(self.columns)}"]
        return columns + ([] if self.condition is None else [f"filter={self.condition}"])

    def with_columns(self, columns: Sequence[str]) -> Source | None:
        if not columns:
            return None
        source = copy.copy(self)
        source.columns = list(columns)
        return source

    def tasks(self, wanted: int) -> list[ReadTask]:
        fragments = self._dataset().get_fragments()
        parts = max(1, min(wanted, len(fragments)))
        found = []
        for part in range(parts):
            mine = fragments[len(fragments) * part // parts : len(fragments) * (part + 1) // parts]
            rows = sum(each.count_rows() for each in mine) if self.condition is None else -1
            size = sum(file.file_size_bytes or 0 for each in mine for file in each.data_files())
            read = partial(self._read, [each.fragment_id for each in mine])
            found.append(ReadTask(read, BlockMeta(rows, size, self.schema(), (self.uri,))))
        return found

    def _read(self, fragments: list[int]) -> Iterator[Block]:
        empty = True
        if fragments:
            dataset = self._dataset()
            chosen = [dataset.get_fragment(each) for each in fragments]
            scanner = dataset.scanner(columns=self.columns, filter=self.condition, fragments=chosen, **self.scanner)
            for batch in scanner.to_batches():
                refuse_objects(
                    batch.schema, self.uri, "read it with the lance library, and use from_arrow(..., allow_pickle=True)"
                )
                empty = empty and not batch.num_rows
                yield pa.Table.from_batches([batch])
        if empty:
            yield self.schema().empty_table()
