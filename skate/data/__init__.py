"""skate.data: datasets that stream through the cluster."""

from __future__ import annotations

from .context import DataContext
from .dataset import Dataset
from .plan import Read
from .sources.generated import Items, Range


def range(n: int, *, override_num_blocks: int | None = None) -> Dataset:
    """The integers from 0 to n - 1, as column "id"."""
    return Dataset(Read(Range(n), override_num_blocks))


def from_items(items: list[object], *, override_num_blocks: int | None = None) -> Dataset:
    """Rows from Python values."""
    return Dataset(Read(Items(items), override_num_blocks))


def read_csv(paths, **options):
    """CSV files."""
    from .sources.csv import CSV
    from .sources.files import find

    return Dataset(Read(CSV(find(paths, ["csv"]), **options)))


def read_parquet(paths, **options):
    """Parquet files."""
    import os

    from .sources.files import find
    from .sources.parquet import Parquet

    root = paths if isinstance(paths, str) and os.path.isdir(paths) else None
    return Dataset(Read(Parquet(find(paths, ["parquet"]), root=root, **options)))


__all__ = ["DataContext", "Dataset", "from_items", "range"]
