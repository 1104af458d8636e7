"""Tables of Delta Lake and Apache Iceberg. Their own libraries say which files belong to a version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.dataset as pads

from ..block import Block, BlockMeta
from ..errors import no_column
from ..optional import need
from ..storage import File
from ..trust import refuse_objects
from .files import Files
from .parquet import Parquet
from .source import NO_SCHEMA, ReadTask, Source


class Delta(Parquet):
    """The Parquet files of one version of a Delta table.

    Args:
        path: of the table.
        version: a number or a time; None: the newest.
        storage_options: for deltalake, such as credentials.
    """

    name = "Delta"

    def __init__(
        self,
        path: str,
        version: Any = None,
        storage_options: Mapping[str, str] | None = None,
        columns: Sequence[str] | None = None,
        include_paths: bool = False,
        filesystem: Any = None,
    ) -> None:
        table = need("deltalake", "deltalake", "read_delta").DeltaTable(
            path, version=version, storage_options=dict(storage_options or {}) or None
        )
        dataset = (
            table.to_pyarrow_dataset()
        )  # raises for what Parquet files alone do not tell, such as deletion vectors
        root = table.table_uri.rstrip("/").removeprefix("file://")
        sizes = dict(zip(*_columns(table.get_add_actions(), ("path", "size_bytes")), strict=True))
        sizes = {unquote(name): size for name, size in sizes.items()}  # the log has addresses
        found: list[File] = []
        values: dict[str, dict[str, pa.Scalar]] = {}
        for fragment in dataset.get_fragments():
            where = f"{root}/{fragment.path}"
            found.append(File(where, int(sizes.get(fragment.path, 0))))
            keys = pads.get_partition_keys(fragment.partition_expression)
            values[where] = {
                name: pa.scalar(keys.get(name), dataset.schema.field(name).type)
                for name in table.metadata().partition_columns
            }
        known = dataset.schema.remove_metadata()
        for name in columns or ():
            if name not in known.names:
                raise no_column(name, known.names)
        wanted = [*columns, "path"] if columns is not None and include_paths else columns
        super().__init__(Files(tuple(found), filesystem, include_paths, known=values), wanted)
        self._own_schema = known.append(pa.field("path", pa.string())) if include_paths else known

    def tasks(self, wanted: int) -> list[ReadTask]:
        if not self.where.found:
            empty = (self.schema() or NO_SCHEMA).empty_table()
            return [ReadTask(partial(iter, (empty,)), BlockMeta(0, 0, empty.schema))]
        return super().tasks(wanted)


def _columns(batch: Any, names: Sequence[str]) -> list[list[Any]]:
    table = pa.table(batch)
    return [table.column(name).to_pylist() for name in names]


class Iceberg(Source):
    """The rows of one snapshot of an Iceberg table.

    Args:
        identifier: the table's name in the catalog.
        catalog: the arguments of `pyiceberg.catalog.load_catalog`.
        row_filter: an expression of pyiceberg's, or its text.
        fields: the columns.
        snapshot_id: None: the newest.
        scan: more arguments of `Table.scan`.
    """

    name = "Iceberg"

    def __init__(
        self,
        identifier: str,
        catalog: Mapping[str, Any],
        row_filter: Any = None,
        fields: tuple[str, ...] = ("*",),
        snapshot_id: int | None = None,
        scan: Mapping[str, Any] | None = None,
    ) -> None:
        catalogs = need("pyiceberg.catalog", "pyiceberg", "read_iceberg")
        arguments = dict(catalog)
        table = catalogs.load_catalog(arguments.pop("name", "default"), **arguments).load_table(identifier)
        more = {**(scan or {}), **({} if row_filter is None else {"row_filter": row_filter})}
        found = table.scan(selected_fields=fields, snapshot_id=snapshot_id, **more)
        self.found = list(found.plan_files())
        self.scan = found.table_metadata, found.io, found.projection(), found.row_filter, found.case_sensitive
        """What reads the files; the scan itself has the catalog's connection, which stays here."""

    def schema(self) -> pa.Schema:
        from pyiceberg.io.pyarrow import schema_to_pyarrow

        return schema_to_pyarrow(self.scan[2], include_field_ids=False)

    def tasks(self, wanted: int) -> list[ReadTask]:
        schema = self.schema()
        found = [
            ReadTask(
                partial(_read_iceberg, self.scan, [task]),
                BlockMeta(-1, 3 * task.file.file_size_in_bytes, schema, (task.file.file_path,)),
            )
            for task in self.found
        ]
        return found or [ReadTask(partial(_read_iceberg, self.scan, []), BlockMeta(0, 0, schema))]


def _read_iceberg(scan: Any, tasks: list[Any]) -> Iterator[Block]:
    from pyiceberg.io.pyarrow import ArrowScan

    table = ArrowScan(*scan).to_table(tasks)
    refuse_objects(table.schema, "read_iceberg", "read its files with read_parquet(..., allow_pickle=True)")
    yield table
