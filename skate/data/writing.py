"""What a dataset can be written to: the methods `write_*` of `Dataset`, as a class that it has as a base."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict, Unpack

from ..exceptions import UnsupportedError
from . import block as blocks, plan
from .base import Base, tasks_at_once, whole
from .block import Least
from .errors import check_arguments
from .sinks.sink import FilenameProvider, SaveMode, Sink

Path = str | os.PathLike[str]


class WriteOptions(TypedDict, total=False):
    """What all methods that write files take.

    `filesystem`: of pyarrow.fs or fsspec; None: by the URL. `try_create_dir`: make the folder. `filename_provider`: chooses
    the names of files. `mode`: what happens to what is there. `min_rows_per_file` (or the older `num_rows_per_file`) and
    `min_bytes_per_file`: blocks go into a file together until they have as many rows, and as many bytes in memory; what a file
    has of these depends on its format. `ray_remote_args`: options of the tasks. `concurrency`: how many run at once, at the
    most. `arrow_open_stream_args`: `{"compression": ...}` of whole files.
    """

    filesystem: Any
    try_create_dir: bool
    filename_provider: FilenameProvider | None
    mode: SaveMode | str
    min_rows_per_file: int | None
    num_rows_per_file: int | None
    min_bytes_per_file: int | None
    ray_remote_args: Mapping[str, Any] | None
    concurrency: int | None
    arrow_open_stream_args: Mapping[str, Any] | None


WRITE_NAMES = frozenset(WriteOptions.__annotations__)


class Writing(Base):
    """The methods that write. They carry the plan out.

    Files appear under their names when all of them are complete, and none does if the write fails; see docs/data-sources.md.
    """

    def write_parquet(
        self,
        path: Path,
        *,
        partition_cols: Sequence[str] | None = None,
        max_rows_per_file: int | None = None,
        arrow_parquet_args_fn: Callable[[], Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> None:
        """Write Parquet files.

        Args:
            path: a folder.
            partition_cols: columns whose values become folders `name=value`.
            max_rows_per_file: rows in a file, at the most.
            arrow_parquet_args_fn: gives options of `pyarrow.parquet.write_table`, in each task.
            options: see `WriteOptions`; others go to `pyarrow.parquet.write_table`, such as `compression`.
        """
        from .sinks.formats import ParquetSink

        common, rest = _parted(options)
        sink = ParquetSink(
            path, partition_cols or (), rest, arrow_parquet_args_fn, max_rows=max_rows_per_file, **_of_files(common)
        )
        self._write(sink, common)

    def write_csv(
        self,
        path: Path,
        *,
        arrow_csv_args_fn: Callable[[], Mapping[str, Any]] | None = None,
        max_rows_per_file: int | None = None,
        **options: Any,
    ) -> None:
        """Write CSV files.

        Args:
            path: a folder.
            arrow_csv_args_fn: gives options of `pyarrow.csv.WriteOptions`, in each task.
            max_rows_per_file: rows in a file, at the most.
            options: see `WriteOptions`; others go to `pyarrow.csv.WriteOptions`, such as `include_header`.
        """
        from .sinks.formats import CSVSink

        common, rest = _parted(options)
        self._write(CSVSink(path, rest, arrow_csv_args_fn, max_rows=max_rows_per_file, **_of_files(common)), common)

    def write_json(
        self,
        path: Path,
        *,
        pandas_json_args_fn: Callable[[], Mapping[str, Any]] | None = None,
        max_rows_per_file: int | None = None,
        **options: Any,
    ) -> None:
        """Write JSON files with an object on each line.

        Args:
            path: a folder.
            pandas_json_args_fn: gives options of `pandas.DataFrame.to_json`, in each task.
            max_rows_per_file: rows in a file, at the most.
            options: see `WriteOptions`; others go to `pandas.DataFrame.to_json`.
        """
        from .sinks.formats import JSONSink

        common, rest = _parted(options)
        self._write(JSONSink(path, rest, pandas_json_args_fn, max_rows=max_rows_per_file, **_of_files(common)), common)

    def write_orc(
        self,
        path: Path,
        *,
        arrow_orc_args_fn: Callable[[], Mapping[str, Any]] | None = None,
        max_rows_per_file: int | None = None,
        **options: Any,
    ) -> None:
        """Write ORC files.

        Args:
            path: a folder.
            arrow_orc_args_fn: gives options of `pyarrow.orc.write_table`, in each task.
            max_rows_per_file: rows in a file, at the most.
            options: see `WriteOptions`; others go to `pyarrow.orc.write_table`, such as `compression`.
        """
        from .sinks.formats import ORCSink

        common, rest = _parted(options)
        self._write(ORCSink(path, rest, arrow_orc_args_fn, max_rows=max_rows_per_file, **_of_files(common)), common)

    def write_numpy(self, path: Path, *, column: str, **options: Unpack[WriteOptions]) -> None:
        """Write one column as arrays in .npy files.

        Args:
            path: a folder.
            column: which.
            options: see `WriteOptions`.
        """
        from .sinks.formats import NumpySink

        self._write(NumpySink(path, column, **_of_files(_checked("write_numpy", options))), options)

    def write_images(self, path: Path, column: str, file_format: str = "png", **options: Unpack[WriteOptions]) -> None:
        """Write one column of arrays as pictures, a file for each row.

        Args:
            path: a folder.
            column: which.
            file_format: as Pillow names it: "png", "jpeg".
            options: see `WriteOptions`.
        """
        from .sinks.formats import ImageSink

        self._write(ImageSink(path, column, file_format, **_of_files(_checked("write_images", options))), options)

    def write_tfrecords(self, path: Path, *, tf_schema: Any = None, **options: Unpack[WriteOptions]) -> None:
        """Write TFRecord files with `tf.train.Example` messages. Needs google-crc32c, not TensorFlow.

        Args:
            path: a folder.
            options: see `WriteOptions`.
        """
        from .sinks.formats import TFRecordSink

        if tf_schema is not None:
            raise UnsupportedError("write_tfrecords(tf_schema=...): skate does not have it")
        self._write(TFRecordSink(path, **_of_files(_checked("write_tfrecords", options))), options)

    def write_webdataset(self, path: Path, *, encoder: Any = True, **options: Unpack[WriteOptions]) -> None:
        """Write tar files, in which each row is a few files that share a name.

        Args:
            path: a folder.
            encoder: True: values by the endings of their columns; a function of a row, or a list of them; None: all are bytes
                or text.
            options: see `WriteOptions`.
        """
        from .sinks.formats import WebDatasetSink

        self._write(WebDatasetSink(path, encoder, **_of_files(_checked("write_webdataset", options))), options)

    def write_sql(
        self,
        sql: str,
        connection_factory: Callable[[], Any],
        ray_remote_args: Mapping[str, Any] | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Execute a statement for each row, in a transaction for each task.

        Args:
            sql: a statement with a placeholder for each column, in the way of the library.
            connection_factory: makes a connection; it runs in tasks, so it must not use one that exists.
            ray_remote_args: options of the tasks.
            concurrency: how many run at once, at the most. SQLite lets one write at a time: 1 saves the others the wait.
        """
        from .sinks.tables import SQLSink

        self._write(SQLSink(sql, connection_factory), {"ray_remote_args": ray_remote_args, "concurrency": concurrency})

    def write_delta(
        self,
        path: Path,
        *,
        mode: SaveMode | str = SaveMode.APPEND,
        partition_by: Sequence[str] | None = None,
        storage_options: Mapping[str, str] | None = None,
        schema_mode: str = "merge",
        filesystem: Any = None,
        name: str | None = None,
        description: str | None = None,
        ray_remote_args: Mapping[str, Any] | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Write to a Delta Lake table, in one transaction. Needs deltalake.

        Args:
            path: of the table.
            mode: APPEND, OVERWRITE, IGNORE or ERROR.
            partition_by: columns whose values become folders.
            storage_options: for deltalake, such as credentials.
            schema_mode: "merge": new columns are added to the table; "overwrite": with OVERWRITE, it gets these columns.
            filesystem: that writes the files; None: by the URL.
            name, description: of a table that is made.
            ray_remote_args, concurrency: of the tasks.
        """
        from .sinks.tables import DeltaSink

        sink = DeltaSink(path, mode, partition_by or (), storage_options, schema_mode, filesystem, name, description)
        self._write(sink, {"ray_remote_args": ray_remote_args, "concurrency": concurrency})

    def write_iceberg(
        self,
        table_identifier: str,
        catalog_kwargs: Mapping[str, Any] | None = None,
        *,
        snapshot_properties: Mapping[str, str] | None = None,
        mode: SaveMode | str = SaveMode.APPEND,
        overwrite_filter: Any = None,
        upsert_kwargs: Mapping[str, Any] | None = None,
        overwrite_kwargs: Mapping[str, Any] | None = None,
        ray_remote_args: Mapping[str, Any] | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Write to an Apache Iceberg table that is there, in one commit. Columns that are new are added to it. Needs pyiceberg.

        Args:
            table_identifier: its name in the catalog.
            catalog_kwargs: of `pyiceberg.catalog.load_catalog`; the catalog's name is "name".
            snapshot_properties: what is to be said in the table's history.
            mode: APPEND; OVERWRITE: in place of what is there; UPSERT: in place of rows with the same keys, which this process
                gathers; ERROR or IGNORE, if the table has had rows.
            overwrite_filter: with OVERWRITE, only rows for which it is true are replaced: an expression.
            upsert_kwargs: with UPSERT, `join_cols`, the keys (without it, those that the table has), `branch`, `case_sensitive`.
            overwrite_kwargs: with OVERWRITE, `branch` and `case_sensitive`.
            ray_remote_args, concurrency: of the tasks.

        Raises:
            TypeError: a column does not fit that of the table.
            UnsupportedError: Iceberg has no filter for `overwrite_filter`.
        """
        from .sinks.iceberg import IcebergSink

        more = dict(upsert_kwargs or overwrite_kwargs or {})
        if upsert_kwargs and SaveMode(mode) is not SaveMode.UPSERT:
            raise ValueError(f"write_iceberg: upsert_kwargs go with mode=UPSERT, not with {mode}")
        if overwrite_kwargs and SaveMode(mode) is not SaveMode.OVERWRITE:
            raise ValueError(f"write_iceberg: overwrite_kwargs go with mode=OVERWRITE, not with {mode}")
        keys = more.pop("join_cols", None)
        sink = IcebergSink(
            table_identifier, catalog_kwargs or {}, mode, snapshot_properties, overwrite_filter, keys, more
        )
        self._write(sink, {"ray_remote_args": ray_remote_args, "concurrency": concurrency})

    def write_lance(
        self,
        path: Path,
        *,
        schema: Any = None,
        mode: SaveMode | str = SaveMode.CREATE,
        min_rows_per_file: int = 1 << 20,
        max_rows_per_file: int = 64 << 20,
        data_storage_version: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
        ray_remote_args: Mapping[str, Any] | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Write a Lance dataset, in one version. Needs pylance.

        Args:
            path: of the dataset.
            schema: its columns; None: those of the rows, which must be the same in all blocks.
            mode: CREATE (it must not be there), APPEND, OVERWRITE, IGNORE or ERROR.
            min_rows_per_file, max_rows_per_file: rows in a file, if there are as many, and at the most.
            data_storage_version: of the format; None: the library's own.
            storage_options: for the library, such as credentials.
            ray_remote_args, concurrency: of the tasks.
        """
        from .sinks.lance import LanceSink

        least = Least(whole("min_rows_per_file", min_rows_per_file, 1))
        whole("max_rows_per_file", max_rows_per_file, 1)
        files = {"max_rows_per_file": max_rows_per_file, "data_storage_version": data_storage_version}
        sink = LanceSink(path, schema, mode, least, files, storage_options)
        self._write(sink, {"ray_remote_args": ray_remote_args, "concurrency": concurrency})

    def write_datasink(
        self, datasink: Any, *, ray_remote_args: Mapping[str, Any] | None = None, concurrency: int | None = None
    ) -> None:
        """Write to a target that a user has written.

        Args:
            datasink: a `Datasink`; one of files is a `BlockBasedFileDatasink` or a `RowBasedFileDatasink`.
            ray_remote_args, concurrency: of the tasks.
        """
        from .sinks.datasink import UserSink
        from .sinks.file_datasink import FileDatasink

        if not getattr(datasink, "supports_distributed_writes", True):
            concurrency = 1
        sink = datasink.files() if isinstance(datasink, FileDatasink) else UserSink(datasink)
        self._write(sink, {"ray_remote_args": ray_remote_args, "concurrency": concurrency})

    def _write(self, sink: Sink, options: Mapping[str, Any]) -> None:
        """Carry the plan out, with a sink at its end."""
        remote = dict(options.get("ray_remote_args") or {})
        node = plan.Write(self._node, sink, remote, tasks_at_once(options.get("concurrency")))
        if not sink.start(self._known_columns()):
            return
        try:
            written = blocks.concat(list(self._tables(node)))
            sink.commit(written)
        except BaseException as error:
            try:
                sink.abort(error)
            except Exception as other:  # why it has failed matters more
                error.add_note(f"what the write has left could not be taken away: {other}")
            raise


def _parted(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those of all writes, and the others."""
    common = {name: value for name, value in options.items() if name in WRITE_NAMES}
    return common, {name: value for name, value in options.items() if name not in WRITE_NAMES}


def _checked(function: str, options: Any) -> Mapping[str, Any]:
    check_arguments(function, options, WRITE_NAMES)
    return options  # type: ignore[no-any-return]


def _of_files(options: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `FileSink`."""
    stream = dict(options.get("arrow_open_stream_args") or {})
    compression = stream.pop("compression", None)
    if stream:
        raise UnsupportedError(f"arrow_open_stream_args={stream}: only compression can be chosen")
    mode = SaveMode(options.get("mode", SaveMode.APPEND))
    if mode is SaveMode.UPSERT:
        raise UnsupportedError("mode=SaveMode.UPSERT: files cannot be merged by key")
    return {
        "filesystem": options.get("filesystem"),
        "mode": mode,
        "names": options.get("filename_provider"),
        "least": _least(options),
        "create_folder": options.get("try_create_dir", True),
        "compression": compression,
    }


def _least(options: Mapping[str, Any]) -> Least:
    """How much goes into a file, if there is as much."""
    found = {name: options.get(name) for name in ("min_rows_per_file", "num_rows_per_file", "min_bytes_per_file")}
    for name, value in found.items():
        if value is not None:
            whole(name, value, 1)
    rows = found["min_rows_per_file"] if found["min_rows_per_file"] is not None else found["num_rows_per_file"]
    return Least(rows or 0, found["min_bytes_per_file"] or 0)
