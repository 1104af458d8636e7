"""Iceberg tables, written through pyiceberg.

Tasks write data files where the table is; no reader looks at a file that no snapshot names. The end of the write adds all of
them to the table, with the columns that are new and without the rows that they replace, in one commit to the catalog: all of it
is seen, or nothing.

New columns need numbers, which are in the files. Each task finds them by itself, from the table as it was at the start and the
columns that its rows have; the end of the write looks whether all have found the same.

INV-1: files are deleted only if the catalog cannot know of them.
"""

from __future__ import annotations

import itertools
import os
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

import cloudpickle
import pyarrow as pa

from .. import block as blocks
from ..block import ALONE, Block
from ..compute import pc
from ..errors import no_column
from ..optional import need
from ..storage import storage_of
from .pyiceberg_filters import to_iceberg
from .sink import SaveMode

FILES_OF_TASK = 1 << 20
"""More than a task ever writes: the numbers of its files begin at that of the task times this."""
OPTIONS = {"branch", "case_sensitive"}


def _made_for(transaction: Any, io: Any) -> list[str]:
    """The files that pyiceberg has written for a transaction that is to be committed; those of tasks are not among them."""
    from pyiceberg.manifest import ManifestEntryStatus
    from pyiceberg.table.update import AddSnapshotUpdate

    found = []
    for update in transaction._updates:
        if isinstance(update, AddSnapshotUpdate):
            snapshot = update.snapshot
            for manifest in snapshot.manifests(io):
                if manifest.added_snapshot_id == snapshot.snapshot_id:
                    entries = manifest.fetch_manifest_entry(io)
                    found += [each.data_file.file_path for each in entries if each.status == ManifestEntryStatus.ADDED]
                    found.append(manifest.manifest_path)
            found.append(snapshot.manifest_list)
    return found


class IcebergSink:
    """A table of a catalog.

    Args:
        identifier: its name there.
        catalog: the arguments of `pyiceberg.catalog.load_catalog`.
        mode: APPEND; OVERWRITE: rows are replaced; UPSERT: those with the same keys are; ERROR and IGNORE look whether the table
            has had rows.
        properties: of the snapshot.
        replaced: with OVERWRITE, only rows for which it is true: an expression of `skate.data` or of pyiceberg, or a text.
        keys: with UPSERT, the columns; None: those that identify a row of the table.
        options: `branch` and `case_sensitive`.
    """

    name = "Iceberg"
    least = ALONE

    def __init__(
        self,
        identifier: str,
        catalog: Mapping[str, Any],
        mode: SaveMode | str = SaveMode.APPEND,
        properties: Mapping[str, str] | None = None,
        replaced: Any = None,
        keys: Sequence[str] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        need("pyiceberg.catalog", "pyiceberg", "write_iceberg")
        self.identifier = identifier
        self.catalog = dict(catalog)
        self.mode = SaveMode(mode)
        self.properties = dict(properties or {})
        self.options = dict(options or {})
        self.replaced = None if replaced is None else to_iceberg(replaced)
        self.keys = list(keys or ())
        self.job = uuid.UUID(bytes=os.urandom(16), version=4)
        self.base: Any = None
        """The metadata of the table as it is to be, as far as that is known before the write, and pyiceberg's file system."""
        self._undecided = False
        """The catalog has been asked to commit, and has not refused."""
        if replaced is not None and self.mode is not SaveMode.OVERWRITE:
            raise ValueError(f"write_iceberg: overwrite_filter goes with mode=OVERWRITE, not with {self.mode.name}")
        if keys is not None and self.mode is not SaveMode.UPSERT:
            raise ValueError(f"write_iceberg: join_cols go with mode=UPSERT, not with {self.mode.name}")
        wrong = sorted(set(self.options) - OPTIONS)
        if wrong:
            raise ValueError(f"write_iceberg: there is no option {', '.join(wrong)}; there are {', '.join(OPTIONS)}")

    def _load(self) -> Any:
        from pyiceberg.catalog import load_catalog

        arguments = dict(self.catalog)
        return load_catalog(arguments.pop("name", "default"), **arguments).load_table(self.identifier)

    # ------------------------------------------------------------ at the start

    def start(self, schema: pa.Schema | None) -> bool:
        """Look at the table, and which columns are new, if those of the rows are known."""
        table = self._load()
        if table.current_snapshot() is not None:
            if self.mode in (SaveMode.ERROR, SaveMode.CREATE):
                raise FileExistsError(f"table {self.identifier!r} has rows already, and mode={self.mode.name}")
            if self.mode is SaveMode.IGNORE:
                return False
        if self.mode is SaveMode.UPSERT:
            self._find_keys(table, schema)
        metadata = table.metadata
        if schema is not None and len(schema):
            metadata = _evolved(metadata, table.io, _fitted(schema.empty_table(), metadata).schema)
        self.base = metadata, table.io
        return True

    def _find_keys(self, table: Any, schema: pa.Schema | None) -> None:
        self.keys = self.keys or sorted(table.schema().identifier_field_names())
        if not self.keys:
            raise ValueError(
                f"write_iceberg(mode=UPSERT): table {self.identifier!r} has no columns that identify a row: name them with "
                'upsert_kwargs={"join_cols": [...]}'
            )
        for name in self.keys:
            for names in (table.schema().column_names, schema.names if schema is not None and len(schema) else ()):
                if names and name not in names:
                    raise no_column(name, names)

    # ------------------------------------------------------------ in tasks

    def write(self, source: Iterator[Block], task: int) -> Iterator[Block]:
        """Write the data files of a task."""
        from pyiceberg.io.pyarrow import _dataframe_to_data_files  # what its own append() writes with

        found = [block for block in source if block.num_rows]
        written: list[Any] = []
        columns, keys = "", b""
        if found:
            metadata, io = self.base
            block = _fitted(blocks.concat(found), metadata)
            metadata = _evolved(metadata, io, block.schema)
            columns = metadata.schema().model_dump_json()
            keys = _packed(_keys(block, self.keys)) if self.mode is SaveMode.UPSERT else b""
            counter = itertools.count(task * FILES_OF_TASK)
            written = list(_dataframe_to_data_files(metadata, df=block, io=io, write_uuid=self.job, counter=counter))
        yield pa.table(
            {
                "files": pa.array([cloudpickle.dumps(written)], pa.large_binary()),
                "columns": [columns],
                "keys": pa.array([keys], pa.large_binary()),
            }
        )

    # ------------------------------------------------------------ at the end

    def commit(self, written: Block) -> None:
        """Add the files to the table, in one commit."""
        from pyiceberg.exceptions import CommitFailedException
        from pyiceberg.expressions import AlwaysTrue
        from pyiceberg.table.update.snapshot import UpdateSnapshot

        files = [file for each in written.column("files").to_pylist() for file in cloudpickle.loads(each)]
        replaced = self.replaced if self.replaced is not None else AlwaysTrue()
        if self.mode is SaveMode.UPSERT:
            replaced = _with_keys(self.keys, [_unpacked(each) for each in written.column("keys").to_pylist() if each])
        transaction = self._load().transaction()
        self._add_columns(transaction, [each for each in written.column("columns").to_pylist() if each])
        if self.mode in (SaveMode.OVERWRITE, SaveMode.UPSERT) and replaced is not None:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Delete operation did not match any records")
                transaction.delete(replaced, snapshot_properties=self.properties, **self.options)
        if files:
            branch = {name: value for name, value in self.options.items() if name == "branch"}
            update: UpdateSnapshot = transaction.update_snapshot(snapshot_properties=self.properties, **branch)
            with update.fast_append() as append:
                for file in files:
                    append.append_data_file(file)
        made = _made_for(transaction, self.base[1])
        self._undecided = True
        try:
            transaction.commit_transaction()
        except CommitFailedException as error:
            self._undecided = False
            for path in made:
                try:
                    self.base[1].delete(path)
                except FileNotFoundError:
                    continue  # pyiceberg takes back a part itself
                except Exception as other:  # why it has failed matters more
                    error.add_note(f"{path} could not be taken away: {other}")
            raise

    def _add_columns(self, transaction: Any, found: Sequence[str]) -> None:
        """Give the table the columns of all tasks.

        Raises:
            ValueError: tasks have given different numbers to new columns, or the table got other columns meanwhile.
        """
        from pyiceberg.schema import Schema, index_by_name

        schemas = [Schema.model_validate_json(each) for each in dict.fromkeys(found)]
        for schema in schemas:
            with transaction.update_schema() as update:
                update.union_by_name(schema)
        known = index_by_name(transaction.table_metadata.schema())
        for schema in schemas:
            for name, number in index_by_name(schema).items():
                if known.get(name) != number:
                    raise ValueError(
                        f"write_iceberg: column {name!r} is new, and not all blocks have the same new columns, or somebody else "
                        "has changed the table: nothing was written. Add the columns to the table before, or to all rows."
                    )

    def abort(self, error: BaseException) -> None:
        """Delete the files of this write, unless the catalog may have them."""
        if self.base is None or self._undecided:
            return
        metadata, io = self.base
        where = metadata.properties.get("write.data.path", f"{metadata.location.rstrip('/')}/data")
        storage, root = storage_of(where, _filesystem(io, where))
        for file in storage.find(root) if storage.is_folder(root) else ():
            if str(self.job) in file.path:
                storage.remove(file.path)


def _filesystem(io: Any, location: str) -> Any:
    """The file system that pyiceberg reaches a place with; None: this machine's."""
    scheme, mark, rest = location.partition("://")
    if not mark or scheme == "file":
        return None
    return io.fs_by_scheme(scheme, rest.partition("/")[0]) if hasattr(io, "fs_by_scheme") else io.get_fs(scheme)


def _evolved(metadata: Any, io: Any, schema: pa.Schema) -> Any:
    """The metadata of a table that has these columns, too. Nobody is told of them.

    Raises:
        TypeError: a column has another type in the table.
    """
    from pyiceberg.catalog.noop import NoopCatalog
    from pyiceberg.table import Table

    transaction = Table(("table",), metadata, metadata.location, io, NoopCatalog("none")).transaction()
    try:
        with transaction.update_schema() as update:
            update.union_by_name(schema)
    except Exception as error:
        raise TypeError(f"write_iceberg: the columns do not fit those of the table: {error}") from error
    return transaction.table_metadata


def _fitted(block: Block, metadata: Any) -> Block:
    """The columns with types that the table can have: one of only nulls has that of the table, or is left out; times are in
    microseconds before version 3 of the format.

    Raises:
        ValueError: a column that the table requires is not there, or has a null.
    """
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    schema = metadata.schema()
    kinds = {field.name: field.type for field in schema_to_pyarrow(schema, include_field_ids=False)}
    needed = {field.name for field in schema.fields if field.required}
    columns, found = [], []
    for field, values in zip(block.schema, block.columns, strict=True):
        kind = field.type
        if pa.types.is_null(kind):
            if field.name not in kinds:
                continue
            kind = kinds[field.name]
        if pa.types.is_timestamp(kind) and kind.unit == "ns" and metadata.format_version < 3:
            kind = pa.timestamp("us", kind.tz)
        if field.name in needed and values.null_count:
            raise ValueError(
                f"write_iceberg: column {field.name!r} is required in the table, and has nulls in the rows"
            )
        columns.append(pa.field(field.name, kind, field.name not in needed))
        found.append(values if kind.equals(field.type) else pc.cast(values, kind))
    missing = sorted(needed.difference(block.column_names))
    if missing:
        raise ValueError(f"write_iceberg: columns {', '.join(missing)} are required in the table")
    return pa.Table.from_arrays(found, schema=pa.schema(columns))


# ---------------------------------------------------------------- keys


def _keys(block: Block, names: Sequence[str]) -> Block:
    for name in names:
        if name not in block.column_names:
            raise no_column(name, block.column_names)
    return block.select(list(names))


def _packed(block: Block) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, block.schema) as writer:
        writer.write_table(block)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def _unpacked(data: bytes) -> Block:
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()


def _with_keys(names: Sequence[str], found: Sequence[Block]) -> Any:
    """What is true for rows of the table that have these keys; None: there are none.

    Raises:
        ValueError: two rows have the same keys, so that nobody knows which of them is to be there.
    """
    theirs: Any = need("pyiceberg.expressions", "pyiceberg", "write_iceberg")
    rows = blocks.concat(found).drop_null() if found else None
    if rows is None or not rows.num_rows:
        return None
    if rows.group_by(list(names)).aggregate([]).num_rows < rows.num_rows:
        raise ValueError(f"write_iceberg(mode=UPSERT): several rows have the same values of {', '.join(names)}")
    if len(names) == 1:
        return theirs.In(names[0], rows.column(0).to_pylist())
    each = [
        reduce(theirs.And, [theirs.EqualTo(name, value) for name, value in row.items()]) for row in rows.to_pylist()
    ]
    return each[0] if len(each) == 1 else theirs.Or(*each)
