"""skate.data: datasets that stream through the cluster.

    >>> import skate.data
    >>> skate.data.range(1000).filter(expr="id > 996").take_all()
    [{'id': 997}, {'id': 998}, {'id': 999}]

Layers, from what users call to what runs (an import goes downwards only):
    creation, dataset, splits, totals, consumption   what users hold
    iterator, streaming, grouped                     what it gives them
    plan, optimize, lower, run                       from a plan to operators
    execution                                        operators, the executor, and what runs tasks
    exchange, aggregate, join, expressions           what tasks do with blocks
    functions, batches, block                        users' functions, and tables
    sources, sinks                                   from and to the outside
"""

from __future__ import annotations

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
from .dataset import Dataset, MaterializedDataset
from .errors import ColumnNotFoundError
from .expressions import col, lit, udf
from .grouped import GroupedData
from .iterator import DataIterator
from .schema import Schema
from .strategies import ActorPoolStrategy, TaskPoolStrategy
from .totals import DatasetSummary


def read_csv(paths, **options):
    """CSV files."""
    from .plan import Read
    from .sources.csv import CSV
    from .sources.files import find

    return Dataset(Read(CSV(find(paths, ["csv"]), **options)))


def read_parquet(paths, **options):
    """Parquet files."""
    import os

    from .plan import Read
    from .sources.files import find
    from .sources.parquet import Parquet

    root = paths if isinstance(paths, str) and os.path.isdir(paths) else None
    return Dataset(Read(Parquet(find(paths, ["parquet"]), root=root, **options)))


__all__ = [
    "ActorPoolStrategy",
    "ColumnNotFoundError",
    "DataContext",
    "DataIterator",
    "Dataset",
    "DatasetSummary",
    "ExecutionOptions",
    "ExecutionResources",
    "GroupedData",
    "MaterializedDataset",
    "Schema",
    "TaskPoolStrategy",
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
    "udf",
]
