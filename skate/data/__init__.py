"""skate.data: datasets that stream through the cluster."""

from __future__ import annotations

from .context import DataContext
from .dataset import Dataset
from .plan import Read
from .reading import (
    read_avro,
    read_binary_files,
    read_csv,
    read_datasource,
    read_delta,
    read_iceberg,
    read_images,
    read_json,
    read_numpy,
    read_parquet,
    read_sql,
    read_text,
    read_tfrecords,
    read_webdataset,
)
from .sinks.datasink import Datasink, WriteResult
from .sinks.sink import FilenameProvider, SaveMode
from .sources.datasource import BlockMetadata, Datasource, ReadTask
from .sources.files import FileShuffleConfig
from .sources.generated import Items, Range
from .sources.partitioning import Partitioning, PartitionStyle, PathPartitionFilter, PathPartitionParser


def range(n: int, *, override_num_blocks: int | None = None) -> Dataset:
    """The integers from 0 to n - 1, as column "id"."""
    return Dataset(Read(Range(n), override_num_blocks))


def from_items(items: list[object], *, override_num_blocks: int | None = None) -> Dataset:
    """Rows from Python values."""
    return Dataset(Read(Items(items), override_num_blocks))


__all__ = [
    "BlockMetadata",
    "DataContext",
    "Dataset",
    "Datasink",
    "Datasource",
    "FileShuffleConfig",
    "FilenameProvider",
    "PartitionStyle",
    "Partitioning",
    "PathPartitionFilter",
    "PathPartitionParser",
    "ReadTask",
    "SaveMode",
    "WriteResult",
    "from_items",
    "range",
    "read_avro",
    "read_binary_files",
    "read_csv",
    "read_datasource",
    "read_delta",
    "read_iceberg",
    "read_images",
    "read_json",
    "read_numpy",
    "read_parquet",
    "read_sql",
    "read_text",
    "read_tfrecords",
    "read_webdataset",
]
