"""Parquet files, read by Arrow's dataset reader: only the columns and row groups that are needed.

A large file is cut at its row groups. What files hold is known from their footers; those of many files are read by threads, and
only when somebody asks for counts or when a file is cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from ..block import Block, BlockMeta
from .files import File, FileSource, is_url
from .source import NO_SCHEMA, ReadTask, Source

if TYPE_CHECKING:
    from ..expressions import Expr

CUT_BYTES = 32 << 20
"""A file that is larger is cut, if there are not enough files."""
FOOTERS_AT_ONCE = 16
BATCH_ROWS = 1 << 17


class Parquet(FileSource):
    """Parquet files.

    Args:
        columns: only these; None: all.
        predicate: only rows for which it is true.
        partitioning: how the folders' names are read: Arrow's `Partitioning`, "hive", or None.
    """

    name = "Parquet"
    growth = 3.0

    def __init__(
        self,
        files: Sequence[File],
        include_paths: bool = False,
        filesystem: Any = None,
        columns: Sequence[str] | None = None,
        predicate: Expr | None = None,
        partitioning: Any = "hive",
        root: str | None = None,
    ) -> None:
        super().__init__(files, include_paths, filesystem)
        self.columns = None if columns is None else list(columns)
        self.predicate = predicate
        self.partitioning = partitioning
        self.root = root
        """The folder above the partitions."""
        self._schema: pa.Schema | None = None

    def _changed(self, columns: Sequence[str] | None, predicate: Expr | None) -> Parquet:
        return Parquet(
            self.found, self.include_paths, self.filesystem, columns, predicate, self.partitioning, self.root
        )

    # ------------------------------------------------------------ what is known without reading rows

    def schema(self) -> pa.Schema | None:
        if self._schema is None:
            found = self._dataset([self.found[0].path]).schema
            if self.columns is not None:
                found = pa.schema([found.field(name) for name in self.columns])
            self._schema = found.append(pa.field("path", pa.string())) if self.include_paths else found
        return self._schema.remove_metadata()

    def count(self) -> int | None:
        if self.predicate is not None:
            return None
        with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
            return sum(footer.num_rows for footer in pool.map(self._footer, (file.path for file in self.found)))

    def _footer(self, path: str) -> pq.FileMetaData:
        filesystem, inner = self._where(path)
        try:
            return pq.read_metadata(inner, filesystem=filesystem)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path}: {error}") from None

    def _where(self, path: str) -> tuple[Any, str]:
        if self.filesystem is not None or not is_url(path):
            return self.filesystem, path
        import fsspec

        filesystem, inner = fsspec.core.url_to_fs(path)
        return filesystem, inner

    def _dataset(self, paths: Sequence[str]) -> pads.Dataset:
        filesystem, _ = self._where(paths[0])
        inner = [self._where(path)[1] for path in paths]
        try:
            return pads.dataset(
                inner,
                format="parquet",
                filesystem=filesystem,
                partitioning=self.partitioning,
                partition_base_dir=self.root,
            )
        except pa.ArrowInvalid as error:
            raise ValueError(f"{', '.join(paths[:3])}: {error}") from None

    # ------------------------------------------------------------ push-down

    def with_columns(self, columns: Sequence[str]) -> Source | None:
        if self.include_paths and "path" in columns:
            return None
        source = self._changed(columns, self.predicate)
        source.include_paths = False
        return source

    def with_filter(self, predicate: Expr) -> Source | None:
        if predicate.to_arrow() is None or (self.include_paths and "path" in predicate.columns()):
            return None
        both = predicate if self.predicate is None else self.predicate & predicate
        return self._changed(self.columns, both)

    # ------------------------------------------------------------ reading

    def tasks(self, wanted: int) -> list[ReadTask]:
        if len(self.found) >= wanted:
            return super().tasks(wanted)
        tasks: list[ReadTask] = []
        total = sum(file.size for file in self.found) or 1
        for file in self.found:
            parts = max(1, min(-(-wanted * file.size // total), file.size // CUT_BYTES))
            tasks.extend([self._task([file])] if parts == 1 else self._cut(file, int(parts)))
        return tasks

    def _cut(self, file: File, parts: int) -> Iterator[ReadTask]:
        footer = self._footer(file.path)
        parts = min(parts, footer.num_row_groups)
        cuts = [footer.num_row_groups * part // parts for part in range(parts + 1)]
        for part in range(parts):
            groups = range(cuts[part], cuts[part + 1])
            rows = sum(footer.row_group(group).num_rows for group in groups)
            size = int(sum(footer.row_group(group).total_byte_size for group in groups))
            known = BlockMeta(rows if self.predicate is None else -1, size, self.schema() or NO_SCHEMA, (file.path,))
            yield ReadTask(partial(self._read_groups, file.path, groups), known)

    def _read_groups(self, path: str, groups: range) -> Iterator[Block]:
        from ..functions import HERE

        HERE.files = (path,)
        for fragment in self._dataset([path]).get_fragments():
            subset = fragment.subset(row_group_ids=list(groups))
            yield from self._scan(subset, path)

    def read_file(self, path: str) -> Iterator[Block]:
        for fragment in self._dataset([path]).get_fragments():
            yield from self._scan(fragment, path)

    def _scan(self, fragment: Any, path: str) -> Iterator[Block]:
        schema = self._dataset([path]).schema
        columns = self.columns if self.columns is not None else schema.names
        predicate = None if self.predicate is None else self.predicate.to_arrow()
        scanner = fragment.scanner(
            schema=schema, columns=columns, filter=predicate, batch_size=BATCH_ROWS, use_threads=False
        )
        empty = True
        try:
            for batch in scanner.to_batches():
                if batch.num_rows:
                    empty = False
                    yield pa.Table.from_batches([batch]).replace_schema_metadata(None)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path}: {error}") from error
        if empty:
            yield pa.table([pa.array([], schema.field(name).type) for name in columns], names=list(columns))
