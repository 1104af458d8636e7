"""The functions that read: arguments as in Ray, checked here, and a source of `sources/`.

What all of them take is in `TaskOptions`, and what all that read files take in `FileOptions`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from typing import Any, Literal, TypedDict, Unpack

from ..exceptions import UnsupportedError
from .base import tasks_at_once, wanted_blocks
from .dataset import Dataset
from .errors import check_arguments, no_column
from .plan import Read
from .sources.files import Files, FileShuffleConfig, find
from .sources.partitioning import HIVE, Partitioning, PathPartitionFilter
from .sources.source import Source

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class TaskOptions(TypedDict, total=False):
    """How the tasks run that read.

    `override_num_blocks` (or the older `parallelism`): into about how many blocks the source is cut. `concurrency`: how many
    tasks run at once, at the most. `ray_remote_args`: more options of the tasks; those before it are options, too.
    """

    parallelism: int
    override_num_blocks: int | None
    concurrency: int | None
    num_cpus: float | None
    num_gpus: float | None
    memory: float | None
    resources: Mapping[str, float] | None
    label_selector: Mapping[str, str] | None
    fallback_strategy: Any
    max_calls: int | None
    accelerator_type: str | None
    runtime_env: Any
    ray_remote_args: Mapping[str, Any] | None


class FileOptions(TaskOptions, total=False):
    """Which files are read.

    `filesystem`: of pyarrow.fs or fsspec; None: by the URL. `partitioning`: how columns are read from the names of folders.
    `partition_filter`: chooses files by these. `include_paths`: a column "path". `ignore_missing_paths`: leave out paths that
    are not there. `shuffle`: "files" or a `FileShuffleConfig`: in random order. `file_extensions`: the endings of the files of
    folders. `arrow_open_stream_args`: `{"compression": ...}`, instead of what the name says.
    """

    filesystem: Any
    partitioning: Partitioning | None
    partition_filter: PathPartitionFilter | None
    include_paths: bool
    ignore_missing_paths: bool
    shuffle: Literal["files"] | FileShuffleConfig | None
    file_extensions: Sequence[str] | None
    arrow_open_stream_args: Mapping[str, Any] | None


TASK_NAMES = frozenset(TaskOptions.__annotations__)
FILE_NAMES = frozenset(FileOptions.__annotations__)
TASK_OPTIONS = TASK_NAMES - {"parallelism", "override_num_blocks", "concurrency", "ray_remote_args"}


def read_parquet(
    paths: Paths,
    *,
    columns: Sequence[str] | None = None,
    tensor_column_schema: Any = None,
    include_row_hash: bool = False,
    skip_paths: Sequence[str] | None = None,
    filter: Any = None,
    allow_pickle: bool = False,
    **options: Unpack[FileOptions],
) -> Dataset:
    """Parquet files. Only the columns and row groups that are needed are read; a large file is read by several tasks.

    Args:
        paths: a path, folder, pattern or URL, or a list of them.
        columns: only these.
        include_row_hash: a column "row_hash": it follows from the file's path and the row's number in the file. All rows
            are read for it: filters come after.
        skip_paths: files that are left out.
        filter: only rows for which it is true: an expression of `skate.data` or of pyarrow. `Dataset.filter(expr=...)` does
            the same.
        allow_pickle: read columns of Python objects, as `Dataset.write_parquet` has written them. Opening a pickle runs code
            of whoever made the file.
        options: see `FileOptions`; folders named `name=value` are columns, unless `partitioning` says something else.

    Raises:
        FileNotFoundError: there is no such file.
        ColumnNotFoundError: a column is not there.
        ValueError: a column has pickled objects; said when it is read.
    """
    from .expressions import Expr
    from .sources.parquet import Parquet
    from .sources.row_hashes import ROW_HASH, HashedParquet

    _refuse("read_parquet", tensor_column_schema=tensor_column_schema)
    kind = HashedParquet if include_row_hash else Parquet
    files = _files("read_parquet", paths, options, ["parquet"], HIVE, compression=None)
    if skip_paths is not None:
        skipped = {os.fspath(path) for path in ([skip_paths] if isinstance(skip_paths, str) else skip_paths)}
        files = replace(files, found=tuple(file for file in files.found if file.path not in skipped))
        if not files.found:
            raise FileNotFoundError("skip_paths leaves no file to read")
    source = kind(files, allow_pickle=allow_pickle)
    known = source.schema() if columns is not None else None
    for name in columns or ():
        if known is not None and name not in known.names:
            raise no_column(name, known.names)
    added = [*files.extras(files.found[0].path), *([ROW_HASH] if include_row_hash else [])]
    wanted = None if columns is None else [*dict.fromkeys([*columns, *added])]
    if not isinstance(filter, Expr):
        return _dataset(kind(files, wanted, filter, allow_pickle), options)
    rows = _dataset(source, options).filter(expr=filter)  # the optimizer hands it to the source, if Arrow can do it
    return rows if wanted is None else rows.select_columns(wanted)


def read_csv(
    paths: Paths,
    *,
    read_options: Any = None,
    parse_options: Any = None,
    convert_options: Any = None,
    encoding: str = "utf-8",
    **options: Unpack[FileOptions],
) -> Dataset:
    """CSV files.

    Args:
        paths: a path, folder, pattern or URL, or a list of them.
        read_options, parse_options, convert_options: of `pyarrow.csv`.
        encoding: of the text, such as "latin-1" or "cp1252". A file in another than UTF-8 is not cut into parts. Not together
            with `read_options`, which have one.
        options: see `FileOptions`; folders named `name=value` are columns, unless `partitioning` says something else.

    Raises:
        FileNotFoundError: there is no such file.
        LookupError: there is no such encoding.
        ValueError: the file is in another encoding; or `encoding` and `read_options` are given.
    """
    from .sources.csv import CSV

    if read_options is not None and encoding != "utf-8":
        raise ValueError("give encoding=, or read_options=pyarrow.csv.ReadOptions(encoding=...), not both")
    files = _files("read_csv", paths, options, None, HIVE)
    return _dataset(CSV(files, read_options, parse_options, convert_options, encoding), options)


JSON_ENDINGS = ("json", "jsonl", "ndjson")


def read_json(
    paths: Paths,
    *,
    lines: bool = False,
    read_options: Any = None,
    parse_options: Any = None,
    **options: Unpack[FileOptions],
) -> Dataset:
    """JSON files: an object on each line, one array of objects, or one object.

    Args:
        paths: a path, folder, pattern or URL, or a list of them.
        lines: there is an object on each line; False: look at the file.
        read_options, parse_options: of `pyarrow.json`.
        options: see `FileOptions`; folders named `name=value` are columns, unless `partitioning` says something else.

    Raises:
        FileNotFoundError: there is no such file.
    """
    from .sources.json import JSON

    files = _files("read_json", paths, options, JSON_ENDINGS, HIVE)
    return _dataset(JSON(files, lines, read_options, parse_options), options)


def read_text(
    paths: Paths, *, encoding: str = "utf-8", drop_empty_lines: bool = True, **options: Unpack[FileOptions]
) -> Dataset:
    """The lines of text files, as column "text".

    Args:
        paths: a path, folder, pattern or URL, or a list of them.
        encoding: of the text.
        drop_empty_lines: leave out lines without any character.
        options: see `FileOptions`.
    """
    from .sources.text import Text

    return _dataset(Text(_files("read_text", paths, options), encoding, drop_empty_lines), options)


def read_binary_files(paths: Paths, **options: Unpack[FileOptions]) -> Dataset:
    """Files as they are, as column "bytes": a row for each.

    Args:
        paths: a path, folder, pattern or URL, or a list of them.
        options: see `FileOptions`. What the name of a file says of its compression is left alone.
    """
    from .sources.text import Binary

    return _dataset(Binary(_files("read_binary_files", paths, options, compression=None)), options)


PICTURE_ENDINGS = ("png", "jpg", "jpeg", "tif", "tiff", "bmp", "gif")


def read_images(
    paths: Paths,
    *,
    size: tuple[int, int] | None = None,
    mode: str | None = None,
    **options: Unpack[FileOptions],
) -> Dataset:
    """Pictures, as column "image": a row for each, an array of height, width and channels.

    Args:
        paths: a path, folder, pattern or URL, or a list of them.
        size: (height, width) that each is made to have.
        mode: what each is converted to, in Pillow's words: "RGB", "L".
        options: see `FileOptions`.
    """
    from .sources.images import Images

    return _dataset(Images(_files("read_images", paths, options, PICTURE_ENDINGS), size, mode), options)


def read_numpy(
    paths: Paths,
    *,
    allow_pickle: bool = False,
    numpy_load_args: Mapping[str, Any] | None = None,
    **options: Unpack[FileOptions],
) -> Dataset:
    """Arrays of .npy files, as column "data": a row for each entry of the first dimension.

    Args:
        paths: a path, folder, pattern or URL, or a list of them.
        allow_pickle: read arrays of Python objects. Opening a pickle runs code of whoever made the file.
        numpy_load_args: of `numpy.load`.
        options: see `FileOptions`.
    """
    from .sources.numpy import Numpy

    files = _files("read_numpy", paths, options, ["npy"])
    return _dataset(Numpy(files, allow_pickle, **(numpy_load_args or {})), options)


def read_avro(paths: Paths, **options: Unpack[FileOptions]) -> Dataset:
    """Avro files. Needs fastavro.

    Args:
        paths: a path, folder, pattern or URL, or a list of them.
        options: see `FileOptions`.
    """
    from .sources.avro import Avro

    return _dataset(Avro(_files("read_avro", paths, options)), options)


def read_orc(paths: Paths, **options: Unpack[FileOptions]) -> Dataset:
    """ORC files. Only the columns that are needed are read.

    Args:
        paths: a path, folder, pattern or URL, or a list of them.
        options: see `FileOptions`.

    Raises:
        FileNotFoundError: there is no such file.
    """
    from .sources.orc import ORC

    return _dataset(ORC(_files("read_orc", paths, options, ["orc"], compression=None)), options)


def read_tfrecords(paths: Paths, *, tf_schema: Any = None, **options: Unpack[FileOptions]) -> Dataset:
    """TFRecord files with `tf.train.Example` messages. Needs google-crc32c, not TensorFlow.

    A feature that never has more than one value in a file is a column of values, else one of lists.

    Args:
        paths: a path, folder, pattern or URL, or a list of them.
        options: see `FileOptions`.
    """
    from .sources.tfrecords import TFRecords

    _refuse("read_tfrecords", tf_schema=tf_schema)
    return _dataset(TFRecords(_files("read_tfrecords", paths, options)), options)


def read_webdataset(
    paths: Paths,
    *,
    decoder: Any = True,
    fileselect: Any = None,
    filerename: Any = None,
    suffixes: Any = None,
    expand_json: bool = False,
    verbose_open: bool = False,
    **options: Unpack[FileOptions],
) -> Dataset:
    """Tar files in which files that share a name up to the first dot are one row: column "__key__", and one for each ending.

    Args:
        paths: a path, folder, pattern or URL, or a list of them.
        decoder: True: values by their endings; a function of a row, or a list of them; None: all values are bytes.
        fileselect: patterns, or a function, that choose files of the tar.
        filerename: pairs (from, to), or a function, that change their names.
        suffixes: patterns, or a function, that choose columns.
        expand_json: the keys of JSON objects become columns.
        options: see `FileOptions`.
    """
    from .sources.webdataset import WebDataset

    _refuse("read_webdataset", verbose_open=verbose_open or None)
    files = _files("read_webdataset", paths, options)
    return _dataset(WebDataset(files, decoder, fileselect, filerename, suffixes, expand_json), options)


def read_sql(
    sql: str,
    connection_factory: Callable[[], Any],
    *,
    sql_params: Any = None,
    shard_keys: Sequence[str] | None = None,
    shard_hash_fn: str = "MD5",
    **options: Unpack[TaskOptions],
) -> Dataset:
    """The rows of a query, through any library that follows DB-API 2.0.

    Args:
        sql: the query.
        connection_factory: makes a connection; it runs in tasks, so it must not use one that exists.
        sql_params: of the query, in the way of the library.
        shard_keys: columns by which rows are divided among tasks; None: one task reads all.
        shard_hash_fn: the database's function from text to an integer. "MD5" does for SQLite and PostgreSQL.
        options: see `TaskOptions`.
    """
    from .sources.sql import SQL

    return _tabled("read_sql", SQL(sql, connection_factory, sql_params, shard_keys, shard_hash_fn), options)


def read_delta(
    path: str | os.PathLike[str],
    version: Any = None,
    *,
    storage_options: Mapping[str, str] | None = None,
    columns: Sequence[str] | None = None,
    include_paths: bool = False,
    filesystem: Any = None,
    **options: Unpack[TaskOptions],
) -> Dataset:
    """A Delta Lake table, read as Parquet files. Needs deltalake.

    Args:
        path: of the table.
        version: a number or a time; None: the newest.
        storage_options: for deltalake, such as credentials.
        columns: only these.
        include_paths: a column "path".
        filesystem: that reads the files; None: by the URL.
        options: see `TaskOptions`.
    """
    from .sources.lake import Delta

    source = Delta(os.fspath(path), version, storage_options, columns, include_paths, filesystem)
    return _tabled("read_delta", source, options)


def read_iceberg(
    *,
    table_identifier: str,
    row_filter: Any = None,
    selected_fields: tuple[str, ...] = ("*",),
    snapshot_id: int | None = None,
    scan_kwargs: Mapping[str, Any] | None = None,
    catalog_kwargs: Mapping[str, Any] | None = None,
    **options: Unpack[TaskOptions],
) -> Dataset:
    """An Apache Iceberg table. Needs pyiceberg.

    Args:
        table_identifier: its name in the catalog.
        row_filter: an expression of pyiceberg's, or its text.
        selected_fields: the columns.
        snapshot_id: None: the newest.
        scan_kwargs: more arguments of `Table.scan`.
        catalog_kwargs: of `pyiceberg.catalog.load_catalog`; the catalog's name is "name".
        options: see `TaskOptions`.
    """
    from .sources.lake import Iceberg

    source = Iceberg(table_identifier, catalog_kwargs or {}, row_filter, selected_fields, snapshot_id, scan_kwargs)
    return _tabled("read_iceberg", source, options)


def read_lance(
    uri: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    version: int | str | None = None,
    columns: Sequence[str] | None = None,
    filter: str | None = None,
    storage_options: Mapping[str, str] | None = None,
    scanner_options: Mapping[str, Any] | None = None,
    **options: Unpack[TaskOptions],
) -> Dataset:
    """A Lance dataset, or the rows of several. Needs pylance.

    Args:
        uri: of the dataset, or a list of them.
        version: a number or a tag; None: the newest.
        columns: only these.
        filter: SQL; only rows for which it is true.
        storage_options: for the library, such as credentials.
        scanner_options: of `LanceDataset.scanner`, such as `batch_size`.
        options: see `TaskOptions`.
    """
    from .sources.lance import Lance

    uris = [uri] if isinstance(uri, (str, os.PathLike)) else list(uri)
    if not uris:
        raise ValueError("read_lance: no dataset was given")
    parts = [
        _tabled(
            "read_lance", Lance(os.fspath(each), version, columns, filter, storage_options, scanner_options), options
        )
        for each in uris
    ]
    return parts[0].union(*parts[1:]) if len(parts) > 1 else parts[0]


def read_datasource(datasource: Any, **options: Unpack[TaskOptions]) -> Dataset:
    """The rows of a source that a user has written.

    Args:
        datasource: a `Datasource`.
        options: see `TaskOptions`.
    """
    from .sources.datasource import UserSource

    return _tabled("read_datasource", UserSource(datasource), options)


# ---------------------------------------------------------------- arguments


def _refuse(function: str, **given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise UnsupportedError(f"{function}({name}=...): skate does not have it")


def _files(
    function: str,
    paths: Paths,
    options: Any,
    extensions: Sequence[str] | None = None,
    partitioning: Partitioning | None = None,
    compression: str | None = "infer",
) -> Files:
    """The files that the arguments name."""
    if not options.keys() <= FILE_NAMES:
        check_arguments(
            function, options, [*FILE_NAMES, *(signature(globals()[function]).parameters.keys() - {"options"})]
        )
    filesystem = options.get("filesystem")
    endings = options.get("file_extensions", extensions)
    found = find(paths, endings, filesystem, options.get("ignore_missing_paths", False))
    chosen = options.get("partition_filter")
    if chosen is not None:
        kept = set(chosen([file.path for file in found]))
        found = tuple(file for file in found if file.path in kept)
        if not found:
            raise FileNotFoundError(f"{function}: partition_filter leaves no file to read")
    shuffle = options.get("shuffle")
    if shuffle == "files":
        shuffle = FileShuffleConfig()
    if shuffle is not None and not isinstance(shuffle, FileShuffleConfig):
        raise ValueError(f'{function}(shuffle={shuffle!r}): it must be "files", a FileShuffleConfig or None')
    stream = dict(options.get("arrow_open_stream_args") or {})
    compression = stream.pop("compression", compression)
    if stream:
        raise UnsupportedError(f"{function}(arrow_open_stream_args={stream}): only compression can be chosen")
    partitioning = options.get("partitioning", partitioning)
    return Files(found, filesystem, options.get("include_paths", False), partitioning, shuffle, compression)


def _tabled(function: str, source: Source, options: Any) -> Dataset:
    """A dataset that reads what are no files: with options of tasks only."""
    check_arguments(function, options, TASK_NAMES)
    return _dataset(source, options)


def _dataset(source: Source, options: Any) -> Dataset:
    """A dataset that reads a source with tasks of these options."""
    blocks = wanted_blocks(options.get("parallelism", -1), options.get("override_num_blocks"))
    task = {name: options[name] for name in TASK_OPTIONS if options.get(name) is not None}
    task.update(options.get("ray_remote_args") or {})
    return Dataset(Read(source, blocks, task, tasks_at_once(options.get("concurrency"))))
