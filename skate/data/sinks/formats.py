"""Sinks of files, one for each format."""

from __future__ import annotations

import datetime as dt
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from .. import block as blocks
from ..block import Block
from ..optional import need
from ..tfrecord import block_to_records
from .sink import FileSink, Written, check_columns, column_of

NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"


class LibrarySink(FileSink):
    """Files that a library writes, by options of its own.

    Args:
        options: the options.
        options_fn: gives more of these, in each task.
    """

    keeps_columns = True

    def __init__(
        self,
        path: Any,
        options: Mapping[str, Any] | None = None,
        options_fn: Callable[[], Mapping[str, Any]] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(path, **more)
        self.options = dict(options or {})
        self.options_fn = options_fn

    def all_options(self) -> dict[str, Any]:
        """The options, for a file that is to be written now."""
        return {**self.options, **(self.options_fn() if self.options_fn else {})}


class ParquetSink(LibrarySink):
    """Parquet files.

    Args:
        partition_cols: columns whose values are the names of folders, and are not in the files.
        options: of `pyarrow.parquet.write_table`.
        options_fn: gives more of these.
    """

    name = "Parquet"
    ending = "parquet"

    def __init__(
        self,
        path: Any,
        partition_cols: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
        options_fn: Callable[[], Mapping[str, Any]] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(path, options, options_fn, **more)
        self.partition_cols = [partition_cols] if isinstance(partition_cols, str) else list(partition_cols)

    def start(self, schema: pa.Schema | None) -> bool:
        check_columns(self.partition_cols, schema)
        return super().start(schema)

    def split(self, block: Block) -> Iterator[tuple[str, Block]]:
        if not self.partition_cols:
            yield "", block
            return
        keys = [column_of(block, name) for name in self.partition_cols]
        if len(keys) == block.num_columns:
            raise ValueError("partition_cols are all columns: nothing is left for the files")
        table = pa.table(dict(zip(self.partition_cols, keys, strict=True)))
        row = "__row__"
        groups = table.append_column(row, pa.array(np.arange(block.num_rows)))
        found = groups.group_by(self.partition_cols, use_threads=False).aggregate([(row, "list")])
        rest = block.drop_columns(self.partition_cols)
        for entry in found.to_pylist():
            folders = [f"{name}={_folder(entry[name])}" for name in self.partition_cols]
            yield "/".join(folders), rest.take(pa.array(sorted(entry[f"{row}_list"])))

    def write_file(self, file: Any, block: Block) -> None:
        try:
            pq.write_table(block, file, **self.all_options())
        except TypeError as error:
            raise TypeError(f"write_parquet: {str(error).removeprefix('__cinit__() ')}") from None


def _folder(value: Any) -> str:
    return NULL_FOLDER if value is None else quote(str(value), safe=" :,+-.@()")


class CSVSink(LibrarySink):
    """CSV files.

    Args:
        options: `include_header`, and what `pyarrow.csv.WriteOptions` takes; or `write_options`.
        options_fn: gives more of these.
    """

    name = "CSV"
    ending = "csv"

    def __init__(self, path: Any, *options: Any, **more: Any) -> None:
        super().__init__(path, *options, **more)
        if self.options_fn is None:
            self._write_options()  # raises for what does not exist

    def _write_options(self) -> Any:
        options = self.all_options()
        try:
            return options.pop("write_options", None) or arrow_csv.WriteOptions(**options)
        except TypeError as error:
            raise TypeError(
                f"write_csv: {str(error).removeprefix('__init__() ')}; see pyarrow.csv.WriteOptions"
            ) from None

    def write_file(self, file: Any, block: Block) -> None:
        try:
            arrow_csv.write_csv(block, file, self._write_options())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError) as error:
            wrong = [each.name for each in block.schema if pa.types.is_nested(each.type) or _is_special(each.type)]
            raise TypeError(f"CSV cannot hold the columns {wrong}: {error}" if wrong else str(error)) from None


def _is_special(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.BaseExtensionType)


class ORCSink(LibrarySink):
    """ORC files.

    Args:
        options: of `pyarrow.orc.write_table`.
        options_fn: gives more of these.
    """

    name = "ORC"
    ending = "orc"
    keeps_columns = False

    def write_file(self, file: Any, block: Block) -> None:
        import pyarrow.orc as orc

        try:
            orc.write_table(block, file, **self.all_options())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            wrong = [f"{each.name} ({each.type})" for each in block.schema if not _fits_orc(each)]
            raise TypeError(
                f"ORC cannot hold the columns {', '.join(wrong)}: {error}" if wrong else str(error)
            ) from None


def _fits_orc(field: pa.Field) -> bool:
    """Whether ORC has a type for a column."""
    import pyarrow.orc as orc

    try:
        orc.write_table(pa.schema([field]).empty_table(), io.BytesIO())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return True


class JSONSink(LibrarySink):
    """JSON files with an object on each line.

    Args:
        options: of `pandas.DataFrame.to_json`, but for `path_or_buf`. Without any, pandas is not needed.
        options_fn: gives more of these.
    """

    name = "JSON"
    ending = "json"

    def write_file(self, file: Any, block: Block) -> None:
        options = self.all_options()
        if options:
            options = {"orient": "records", "lines": options.get("orient", "records") == "records", **options}
            file.write(block.to_pandas().to_json(**options).encode())
            return
        for row in blocks.to_rows(block):
            try:
                file.write(json.dumps(row, default=_plain, ensure_ascii=False).encode() + b"\n")
            except TypeError as error:
                raise TypeError(f"write_json: {error}, as in the row {row!r:.200}") from None


def _plain(value: Any) -> Any:
    """What JSON has no type for: arrays become lists, dates and durations their ISO form."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if type(value).__name__ == "Decimal":
        return str(value)
    if isinstance(value, dt.timedelta):
        return f"PT{value.total_seconds():.15g}S"
    raise TypeError(f"JSON cannot hold {type(value).__name__}")


class NumpySink(FileSink):
    """One column as arrays in .npy files."""

    name = "Numpy"
    ending = "npy"

    def __init__(self, path: Any, column: str, **more: Any) -> None:
        super().__init__(path, **more)
        self.column = column

    def start(self, schema: pa.Schema | None) -> bool:
        check_columns([self.column], schema)
        return super().start(schema)

    def write_file(self, file: Any, block: Block) -> None:
        array = blocks.to_numpy(column_of(block, self.column))
        if array.dtype == object:
            array = np.array(array.tolist())
            if array.dtype == object:
                raise TypeError(f"column {self.column!r} has values that make no array, such as nulls or objects")
        np.save(file, array, allow_pickle=False)


class ImageSink(FileSink):
    """One column of arrays as pictures, a file for each row.

    Args:
        column: of arrays of height, width and, perhaps, channels.
        file_format: as Pillow names it: "png", "jpeg".
    """

    name = "Images"

    def __init__(self, path: Any, column: str, file_format: str = "png", **more: Any) -> None:
        self.ending = file_format
        super().__init__(path, **more)
        need("PIL", "pillow", "write_images")
        self.column = column
        self.file_format = file_format

    def start(self, schema: pa.Schema | None) -> bool:
        check_columns([self.column], schema)
        return super().start(schema)

    def write_piece(self, folder: str, block: Block, task: int, number: int) -> Iterator[Written]:
        from PIL import Image

        values = blocks.to_values(column_of(block, self.column))
        for at, value in enumerate(values):
            row = {self.column: value}
            path = self.names.get_filename_for_row(row, self.job, task, number, at)
            data = io.BytesIO()
            kind = "jpeg" if self.file_format.lower() == "jpg" else self.file_format
            Image.fromarray(np.asarray(value)).save(data, format=kind)
            with self.create(path) as file:
                file.write(data.getvalue())
            yield Written(path, 1)


class TFRecordSink(FileSink):
    """TFRecord files with `Example` messages."""

    name = "TFRecords"
    ending = "tfrecords"

    def __init__(self, path: Any, **more: Any) -> None:
        super().__init__(path, **more)
        need("google_crc32c", "google-crc32c", "write_tfrecords")

    def write_file(self, file: Any, block: Block) -> None:
        for record in block_to_records(block):
            file.write(record)


class WebDatasetSink(FileSink):
    """Tar files, in which each row is a few files that share a name: that of column "__key__", or a number.

    Args:
        encoder: True: values by the endings of their columns; a function of a row, or a list of them; None: all must be bytes
            or text.
    """

    name = "WebDataset"
    ending = "tar"

    def __init__(self, path: Any, encoder: Any = True, **more: Any) -> None:
        super().__init__(path, **more)
        steps = encoder if isinstance(encoder, (list, tuple)) else [encoder]
        self.encoders = [_encode if step is True else step for step in steps if step]
        wrong = next((step for step in self.encoders if not callable(step)), None)
        if wrong is not None:
            raise TypeError(f"encoder must be True, None or a function, not {wrong!r}")

    def write_piece(self, folder: str, block: Block, task: int, number: int) -> Iterator[Written]:
        name = self.names.get_filename_for_block(block, self.job, task, number)
        with self.create(name) as file, tarfile.open(fileobj=file, mode="w|") as tar:
            for at, row in enumerate(blocks.to_rows(block)):
                for step in self.encoders:
                    row = step(row)
                key = row.get("__key__") or f"{task:06}{number:06}{at:08}"
                for suffix, data in row.items():
                    if suffix.startswith("__") or data is None:
                        continue
                    packed = data.encode() if isinstance(data, str) else data
                    if not isinstance(packed, bytes):
                        raise TypeError(
                            f"column {suffix!r}: a file of a tar must be bytes, not {type(packed).__name__}"
                        )
                    member = tarfile.TarInfo(f"{key}.{suffix}")
                    member.size = len(packed)
                    tar.addfile(member, io.BytesIO(packed))
        yield Written(name, block.num_rows)


PICTURES = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png", "bmp": "bmp", "gif": "gif", "webp": "webp"}


def _encode(row: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a row as bytes, by the endings of their columns."""
    return {name: _packed(name.rpartition(".")[2].lower(), value) for name, value in row.items()}


def _packed(ending: str, value: Any) -> Any:
    if value is None or isinstance(value, (bytes, str)):
        return value
    if ending in ("json", "jsn"):
        return json.dumps(value, default=_plain)
    if ending in PICTURES:
        need("PIL", "pillow", f"encoding .{ending}")
        from PIL import Image

        data = io.BytesIO()
        Image.fromarray(np.asarray(value)).save(data, format=PICTURES[ending])
        return data.getvalue()
    if ending == "npy" or isinstance(value, np.ndarray):
        data = io.BytesIO()
        np.save(data, value, allow_pickle=False)
        return data.getvalue()
    return str(value)
