"""Sources and sinks that users write, and what goes with files: under the names of Ray's module."""

from __future__ import annotations

from .sinks.datasink import Datasink, WriteResult
from .sinks.file_datasink import BlockBasedFileDatasink, RowBasedFileDatasink
from .sinks.sink import FilenameProvider, SaveMode
from .sources.datasource import BlockMetadata, Datasource, ReadTask
from .sources.files import FileShuffleConfig
from .sources.partitioning import Partitioning, PartitionStyle, PathPartitionFilter, PathPartitionParser

__all__ = [
    "BlockBasedFileDatasink",
    "BlockMetadata",
    "Datasink",
    "Datasource",
    "FileShuffleConfig",
    "FilenameProvider",
    "PartitionStyle",
    "Partitioning",
    "PathPartitionFilter",
    "PathPartitionParser",
    "ReadTask",
    "RowBasedFileDatasink",
    "SaveMode",
    "WriteResult",
]
