"""Sinks that are no folders of files: databases and Delta tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import pyarrow as pa

from ...exceptions import UnsupportedError
from .. import block as blocks
from ..block import ALONE, Block
from ..optional import need
from ..storage import Storage
from .formats import ParquetSink
from .sink import SaveMode, check_columns

ROWS_AT_ONCE = 1024


class SQLSink:
    """The rows of each task as one transaction: all of them are there, or none.

    A task whose worker dies after the database has agreed, and before that is known, runs again and writes its rows again: a
    statement that tolerates rows that are there (`INSERT OR IGNORE`, `ON CONFLICT DO NOTHING`) makes that harmless.

    Args:
        sql: a statement with a placeholder for each column, in the way of the library.
        connect: makes a connection; it runs in tasks.
    """

    name = "SQL"
    least = ALONE

    def __init__(self, sql: str, connect: Callable[[], Any]) -> None:
        if not callable(connect):
            raise TypeError("connection_factory must be a function that makes a connection")
        self.sql = sql
        self.connect = connect

    def start(self, schema: pa.Schema | None) -> bool:
        """Nothing to prepare: the table is there."""
        return True

    def write(self, source: Iterator[Block], task: int) -> Iterator[Block]:
        """Execute the statement for each row."""
        count = 0
        with closing(self.connect()) as connection:
            cursor = connection.cursor()
            try:
                for block in source:
                    for at in range(0, block.num_rows, ROWS_AT_ONCE):
                        piece = block.slice(at, ROWS_AT_ONCE)
                        columns = [blocks.to_values(values) for values in piece.columns]
                        cursor.executemany(self.sql, list(zip(*columns, strict=True)))
                        count += piece.num_rows
            except Exception as error:
                error.add_note(f"raised for the statement: {self.sql}")
                try:
                    connection.rollback()
                except Exception as other:  # a connection that is lost is as good
                    error.add_note(f"the transaction could not be rolled back: {other}")
                raise
            connection.commit()
        yield pa.table({"rows": pa.array([count], pa.int64())})

    def commit(self, written: Block) -> None:
        """Each task has committed."""

    def abort(self, error: BaseException) -> None:
        """The database has rolled back what was not complete."""


class DeltaSink(ParquetSink):
    """A Delta table. Tasks write Parquet files where the table is; one entry in its log, at the end, makes them part of it.

    Args:
        path: of the table.
        mode: APPEND, OVERWRITE, IGNORE or ERROR.
        partition_by: columns whose values are the names of folders.
        storage_options: for deltalake, such as credentials.
        schema_mode: "merge": new columns are added to the table; "overwrite": with mode OVERWRITE, the table gets these columns.
        table_name, description: of a table that is made.
    """

    name = "Delta"

    def __init__(
        self,
        path: Any,
        mode: SaveMode | str = SaveMode.APPEND,
        partition_by: Sequence[str] = (),
        storage_options: Mapping[str, str] | None = None,
        schema_mode: str = "merge",
        filesystem: Any = None,
        table_name: str | None = None,
        description: str | None = None,
    ) -> None:
        super().__init__(path, partition_by, filesystem=filesystem, mode=mode)
        need("deltalake", "deltalake", "write_delta")
        if schema_mode not in ("merge", "overwrite"):
            raise ValueError(f'schema_mode={schema_mode!r}: it must be "merge" or "overwrite"')
        self.storage_options = dict(storage_options or {}) or None
        self.schema_mode = schema_mode
        self.table_name, self.description = table_name, description

    def start(self, schema: pa.Schema | None) -> bool:
        """Look whether the table is there."""
        import deltalake

        check_columns(self.partition_cols, schema)
        if self.mode is SaveMode.UPSERT:
            raise UnsupportedError("write_delta(mode=UPSERT): use deltalake's own merge")
        if not deltalake.DeltaTable.is_deltatable(self.path, self.storage_options):
            return True
        if self.mode in (SaveMode.ERROR, SaveMode.CREATE):
            raise FileExistsError(f"{self.path!r} is a Delta table already, and mode={self.mode.name}")
        return self.mode is not SaveMode.IGNORE

    def _workplace(self, storage: Storage, root: str) -> str:
        return root  # no reader looks at a file that the log does not name

    def write(self, source: Iterator[Block], task: int) -> Iterator[Block]:
        """Write Parquet files, and say which columns they have."""
        seen: list[pa.Schema] = []

        def looked_at() -> Iterator[Block]:
            for block in source:
                seen.append(block.schema)
                yield block

        for block in super().write(looked_at(), task):
            schema = blocks.unify(seen).serialize().to_pybytes() if block.num_rows else b""
            yield block.append_column("schema", pa.array([schema] * block.num_rows, pa.binary()))

    def commit(self, written: Block) -> None:
        """Add the files to the table's log, in one entry."""
        import time

        from deltalake import DeltaTable
        from deltalake.transaction import AddAction

        exists = DeltaTable.is_deltatable(self.path, self.storage_options)
        if not written.num_rows and not (exists and self.mode is SaveMode.OVERWRITE):
            return
        storage, root = self._target()
        serialized = dict.fromkeys(written.column("schema").to_pylist() if written.num_rows else ())
        schema: Any = (
            blocks.unify([pa.ipc.read_schema(pa.py_buffer(each)) for each in serialized]) if serialized else None
        )
        actions: list[Any] = [
            AddAction(
                path,
                storage.size(f"{root}/{path}") or 0,
                _partition_values(path),
                int(time.time() * 1000),
                True,
                f'{{"numRecords": {rows}}}',
            )
            for path, rows in zip(*(written.column(name).to_pylist() for name in ("path", "rows")), strict=True)
        ]
        if exists:
            table = DeltaTable(self.path, storage_options=self.storage_options)
            schema = table.schema() if schema is None else self._merged(table, schema)
        else:
            table = DeltaTable.create(
                self.path,
                schema,
                partition_by=self.partition_cols or None,
                storage_options=self.storage_options,
                name=self.table_name,
                description=self.description,
            )
        mode = "overwrite" if self.mode is SaveMode.OVERWRITE else "append"
        table.create_write_transaction(actions, mode, schema, self.partition_cols or None)

    def _merged(self, table: Any, schema: pa.Schema) -> Any:
        """The columns that the table is to have. Those that it does not have yet are added to it."""
        from deltalake import Schema

        if self.mode is SaveMode.OVERWRITE and self.schema_mode == "overwrite":
            return Schema.from_arrow(schema)
        known = {field.name: field.type for field in table.schema().fields}
        given = Schema.from_arrow(schema).fields
        for field in given:
            if field.name in known and field.type != known[field.name]:
                raise TypeError(
                    f"column {field.name!r} is {known[field.name]} in the table and {field.type} in what is written"
                )
        new = [field for field in given if field.name not in known]
        if new:
            table.alter.add_columns(new)
        return table.schema()

    def abort(self, error: BaseException) -> None:
        """Delete the files of this write: the log does not name them."""
        self._sweep(*self._target(), ())


def _partition_values(path: str) -> dict[str, str | None]:
    from urllib.parse import unquote

    from .formats import NULL_FOLDER

    pairs = (folder.split("=", 1) for folder in path.split("/")[:-1])
    return {name: None if value == NULL_FOLDER else unquote(value) for name, value in pairs}
