"""skate.data: datasets that stream through the cluster.

    >>> import skate.data
    >>> skate.data.range(1000).filter(expr="id > 996").take_all()
    [{'id': 997}, {'id': 998}, {'id': 999}]

Layers, from what users call to what runs (an import goes downwards only):
    preprocessors                                    what learns from datasets, on top of all that follows
    creation, dataset, splits, totals, consumption   what users hold
    iterator, streaming, grouped_data                what it gives them
    plan, optimize, lower, run                       from a plan to operators
    execution                                        operators, the executor, and what runs tasks
    exchange, aggregate, join, expressions           what tasks do with blocks
    functions, batches, block                        users' functions, and tables
    sources, sinks                                   from and to the outside
"""

from __future__ import annotations

from importlib.util import find_spec as _find_spec
from typing import Any

if _missing := [name for name in ("numpy", "pandas", "polars", "pyarrow") if _find_spec(name) is None]:
    raise ImportError(f"skate.data needs {', '.join(_missing)}: pip install 'skate[data]'", name=_missing[0])

from .context import DataContext, ExecutionOptions, ExecutionResources
from .creation import (
    from_arrow,
    from_arrow_refs,
    from_blocks,
    from_huggingface,
    from_items,
    from_numpy,
    from_numpy_refs,
    from_pandas,
    from_pandas_refs,
    from_polars,
    from_torch,
    range,
    range_tensor,
)
from .dataset import Dataset, MaterializedDataset, MixStoppingCondition
from .errors import ColumnNotFoundError
from .expressions import col, lit, udf
from .grouped_data import GroupedData
from .iterator import DataIterator
from .of_ray import FUNCTIONS, NotInSkateError, instead
from .preprocessor import Preprocessor
from .reading import (
    read_avro,
    read_binary_files,
    read_csv,
    read_datasource,
    read_delta,
    read_iceberg,
    read_images,
    read_json,
    read_lance,
    read_numpy,
    read_orc,
    read_parquet,
    read_sql,
    read_text,
    read_tfrecords,
    read_webdataset,
)
from .schema import Schema
from .sinks.datasink import Datasink, WriteResult
from .sinks.file_datasink import BlockBasedFileDatasink, RowBasedFileDatasink
from .sinks.sink import FilenameProvider, SaveMode
from .sources.datasource import BlockMetadata, Datasource, ReadTask
from .sources.files import FileShuffleConfig
from .sources.partitioning import Partitioning, PartitionStyle, PathPartitionFilter, PathPartitionParser
from .strategies import ActorPoolStrategy, TaskPoolStrategy
from .summary import DatasetSummary

DatasetContext = DataContext
"""Its older name."""
DatasetIterator = DataIterator
"""Its older name."""

__all__ = [
    "ActorPoolStrategy",
    "BlockBasedFileDatasink",
    "BlockMetadata",
    "ColumnNotFoundError",
    "DataContext",
    "DataIterator",
    "Dataset",
    "DatasetContext",
    "DatasetIterator",
    "DatasetSummary",
    "Datasink",
    "Datasource",
    "ExecutionOptions",
    "ExecutionResources",
    "FileShuffleConfig",
    "FilenameProvider",
    "GroupedData",
    "MaterializedDataset",
    "MixStoppingCondition",
    "NotInSkateError",
    "PartitionStyle",
    "Partitioning",
    "PathPartitionFilter",
    "PathPartitionParser",
    "Preprocessor",
    "ReadTask",
    "RowBasedFileDatasink",
    "SaveMode",
    "Schema",
    "TaskPoolStrategy",
    "WriteResult",
    "col",
    "from_arrow",
    "from_arrow_refs",
    "from_blocks",
    "from_huggingface",
    "from_items",
    "from_numpy",
    "from_numpy_refs",
    "from_pandas",
    "from_pandas_refs",
    "from_polars",
    "from_torch",
    "lit",
    "range",
    "range_tensor",
    "read_avro",
    "read_binary_files",
    "read_csv",
    "read_datasource",
    "read_delta",
    "read_iceberg",
    "read_images",
    "read_json",
    "read_lance",
    "read_numpy",
    "read_orc",
    "read_parquet",
    "read_sql",
    "read_text",
    "read_tfrecords",
    "read_webdataset",
    "udf",
]


MODULES = ("collate_fn", "datasource", "datatype", "preprocessors")
"""Modules that are loaded when somebody asks for them."""


def __getattr__(name: str) -> Any:
    """Load a module, or raise an error for what is not there; for Ray's functions, it says what to do instead."""
    if name in MODULES:
        import importlib

        return importlib.import_module(f".{name}", __name__)
    raise instead(f"module {__name__!r}", name, FUNCTIONS)
