"""Parquet files, read by Arrow's dataset reader: only the columns and row groups that are needed.

A large file is cut at its row groups. What files hold is known from their footers; those of many files are read by threads, and
only when somebody asks for counts or when a file is cut. What a file's path says (partitions, the path itself) is given to
Arrow as something that is true of all of its rows: so predicates over it leave out whole files, and its columns cost nothing.

The columns are those of the first file. A file that lacks one has nulls there; numbers widen; what does not go together is an
error that names both files.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
from pyarrow.fs import LocalFileSystem

from .. import block as blocks
from ..block import Block, BlockMeta
from ..errors import check_names
from ..storage import File, storage_of
from ..trust import refuse_objects
from .files import Files, FileSource
from .source import NO_SCHEMA, ReadTask, Source

if TYPE_CHECKING:
    from ..expressions import Expr

CUT_BYTES = 32 << 20
"""A file that is larger is cut, if there are not enough files."""
FOOTERS_AT_ONCE = 16
BATCH_ROWS = 1 << 17
RENAMED = "read it with pyarrow.parquet.ParquetFile, give them different names, and use from_arrow"
TRUSTED = "use read_parquet(..., allow_pickle=True)"
FORMAT = pads.ParquetFileFormat()


class Parquet(FileSource):
    """Parquet files.

    Args:
        files: what is read.
        columns: only these; None: all.
        condition: only rows for which it is true, an expression of Arrow's.
        allow_pickle: columns of Python objects may be there.
    """

    name = "Parquet"
    growth = 3.0
    lets_others_run = True

    def __init__(
        self,
        files: Files,
        columns: Sequence[str] | None = None,
        condition: pads.Expression | None = None,
        allow_pickle: bool = False,
    ) -> None:
        super().__init__(files)
        self.allow_pickle = allow_pickle
        self.columns = None if columns is None else list(columns)
        self.predicate: Expr | None = None
        """Only rows for which it is true; Arrow has an expression for it."""
        self.condition = condition

    # ------------------------------------------------------------ what is known without reading rows

    def file_schema(self, path: str) -> pa.Schema:
        found = self._fragment(path).physical_schema
        check_names(found.names, f"{path}: ", RENAMED)
        return found

    def count(self) -> int | None:
        if self.predicate is not None or self.condition is not None:
            return None
        with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
            footers = pool.map(self._footer, (file.path for file in self.where.found))
            return sum(int(footer.num_rows) for footer in footers)

    def _footer(self, path: str) -> pq.FileMetaData:
        return self._fragment(path).metadata

    def _fragment(self, path: str) -> Any:
        """The file as Arrow's dataset reader sees it, opened: its footer has been read.

        Raises:
            ValueError: it is no Parquet file.
        """
        fragment = self._unopened(path)
        try:
            fragment.ensure_complete_metadata()
        except (pa.ArrowInvalid, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise ValueError(f"{path}: it cannot be read as Parquet: {error}") from None
        return fragment

    def _unopened(self, path: str) -> Any:
        storage, inner = storage_of(path, self.where.filesystem)
        known = self._own_schema
        facts = [
            pads.field(name) == value if value.is_valid else pads.field(name).is_null()
            for name, value in self.where.extras(path).items()
            if known is not None and known.field(name).type == value.type  # not if files have a column of this name
        ]
        fact = reduce(lambda one, other: one & other, facts) if facts else None
        return FORMAT.make_fragment(inner, storage.arrow() or LocalFileSystem(), fact)

    def _filter(self) -> pads.Expression | None:
        found = None if self.predicate is None else self.predicate.to_arrow()
        if self.condition is not None:
            found = self.condition if found is None else found & self.condition
        return found

    def left_out(self) -> list[str]:
        wanted = [str(each) for each in (self.condition, self.predicate) if each is not None]
        return super().left_out() + ([f"filter={' & '.join(wanted)}"] if wanted else [])

    # ------------------------------------------------------------ push-down

    def with_columns(self, columns: Sequence[str]) -> Source | None:
        return self._select(columns)

    def with_filter(self, predicate: Expr) -> Source | None:
        known, said = self.schema(), predicate.to_arrow()
        if said is None or known is None or not predicate.columns() <= set(known.names):
            return None  # the error for a column that is not there comes where it was written
        try:
            pads.InMemoryDataset(known.empty_table()).scanner(filter=said)
        except pa.ArrowException:
            return None  # the reader brings fewer types together than we do, and does not say what was to be computed
        source = copy.copy(self)
        source.predicate = predicate if self.predicate is None else self.predicate & predicate
        return source

    # ------------------------------------------------------------ tasks

    def tasks(self, wanted: int) -> list[ReadTask]:
        source = self._pruned()
        found = source.where.ordered()
        if len(found) >= wanted or all(file.size < 2 * CUT_BYTES for file in found):
            return super(Parquet, source).tasks(wanted)
        tasks: list[ReadTask] = []
        total = sum(file.size for file in found) or 1
        for file in found:
            parts = max(1, min(-(-wanted * file.size // total), file.size // CUT_BYTES))
            tasks.extend([source._task([file])] if parts == 1 else source._cut(file, int(parts)))
        return tasks

    def _pruned(self) -> Parquet:
        """Without the files whose paths say that the filter is true of no row; one stays, for its columns."""
        wanted, schema = self._filter(), self.schema()
        names = set(self.where.extras(self.where.found[0].path))
        if wanted is None or not names:
            return self
        source = copy.copy(self)
        full = self._own_schema
        kept = [file for file in self.where.found if self._may_match(file, wanted, full or schema)]
        source.where = replace(self.where, found=tuple(kept) or self.where.found[:1])
        return source

    def _may_match(self, file: File, wanted: pads.Expression, schema: Any) -> bool:
        dataset = pads.FileSystemDataset([self._unopened(file.path)], schema, FORMAT, LocalFileSystem())
        return next(iter(dataset.get_fragments(wanted)), None) is not None

    def _cut(self, file: File, parts: int) -> Iterator[ReadTask]:
        footer = self._footer(file.path)
        parts = max(1, min(parts, footer.num_row_groups))
        cuts = [footer.num_row_groups * part // parts for part in range(parts + 1)]
        rows_known = self._filter() is None
        source = self.for_task([file.path])
        for part in range(parts):
            groups = range(cuts[part], cuts[part + 1])
            rows = sum(footer.row_group(group).num_rows for group in groups)
            size = sum(self._bytes(footer.row_group(group)) for group in groups)
            known = BlockMeta(rows if rows_known else -1, size, self.schema() or NO_SCHEMA, (file.path,))
            yield ReadTask(partial(source._read_groups, file.path, groups), known)

    def _bytes(self, group: Any) -> int:
        if self.columns is None:
            return int(group.total_byte_size)
        chunks = [group.column(at) for at in range(group.num_columns)]
        wanted = set(self.columns)
        return sum(each.total_uncompressed_size for each in chunks if each.path_in_schema.split(".")[0] in wanted)

    # ------------------------------------------------------------ reading

    def _read_groups(self, path: str, groups: range) -> Iterator[Block]:
        from ..functions import HERE

        HERE.files = (path,)
        fragment = self._fragment(path)
        yield from self._scan(fragment.subset(row_group_ids=list(groups)), fragment.physical_schema, path)

    def _read(self, paths: Sequence[str]) -> Iterator[Block]:
        from ..functions import HERE

        for path in paths:
            HERE.files = (path,)
            fragment = self._fragment(path)
            yield from self._scan(fragment, fragment.physical_schema, path)

    def _scan(self, fragment: Any, own: pa.Schema, path: str) -> Iterator[Block]:
        schema = self._common(own, path)
        columns = schema.names if self.columns is None else self.columns
        if not self.allow_pickle:
            refuse_objects(schema, path, TRUSTED, columns)
        scanner = fragment.scanner(
            schema=schema,
            columns=columns,
            filter=self._filter(),
            batch_size=BATCH_ROWS,
            batch_readahead=1,  # more would be in fresh memory: twice the time
            use_threads=False,
        )
        empty = True
        try:
            for batch in scanner.to_batches():
                if batch.num_rows:
                    empty = False
                    yield pa.Table.from_batches([batch]).replace_schema_metadata(None)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{path}: {error}") from error
        if empty:
            yield pa.schema([schema.field(name) for name in columns]).empty_table()

    def _common(self, own: pa.Schema, path: str) -> pa.Schema:
        """The columns of a file together with those of the first."""
        check_names(own.names, f"{path}: ", RENAMED)
        self.schema()
        assert self._own_schema is not None
        try:
            return blocks.unify([self._own_schema, own])
        except TypeError as error:
            first = self.where.found[0].path
            raise TypeError(f"{first} and {path} do not go together: {error}") from None
