"""Datasets from what is in memory: Python values, frames, arrays, tables, and references to them."""

from __future__ import annotations

import builtins
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ..exceptions import UnsupportedError
from . import block as blocks, plan
from .base import tasks_at_once, wanted_blocks, whole
from .batches import from_batch
from .block import Block, BlockMeta, meta_of
from .dataset import Dataset, MaterializedDataset
from .execution.loaded import loaded
from .sources.generated import Items, Range
from .trust import refuse_objects

TABLES = frozenset({"DataFrame", "Table", "RecordBatch"})
TURNED = {"Series": ": use its to_frame()", "LazyFrame": ": use its collect()"}
"""What makes a frame of what is none."""
TRUSTED = "use from_arrow(..., allow_pickle=True)"
PIECE_ROWS = 1 << 16
"""A dataset of Hugging Face is read in pieces of so many rows."""


def range(
    n: int, *, parallelism: int = -1, concurrency: int | None = None, override_num_blocks: int | None = None
) -> Dataset:
    """The integers from 0 to n - 1, as column "id".

    Args:
        concurrency: so many tasks make them at a time; None: as many as there is room for.
        override_num_blocks: into so many blocks, at the least. `parallelism` is an older name of it; -1 is None.

    Example:
        >>> import skate.data
        >>> skate.data.range(3).take_all()
        [{'id': 0}, {'id': 1}, {'id': 2}]
    """
    return Dataset(
        plan.Read(
            Range(whole("n", n)),
            wanted_blocks(parallelism, override_num_blocks),
            concurrency=tasks_at_once(concurrency),
        )
    )


def range_tensor(
    n: int,
    *,
    shape: tuple[int, ...] = (1,),
    parallelism: int = -1,
    concurrency: int | None = None,
    override_num_blocks: int | None = None,
) -> Dataset:
    """Arrays of a shape, as column "data": the first is full of 0, the next of 1, and so on to n - 1."""
    source = Range(whole("n", n), tuple(whole("shape", each, 1) for each in shape))
    return Dataset(
        plan.Read(source, wanted_blocks(parallelism, override_num_blocks), concurrency=tasks_at_once(concurrency))
    )


def from_items(items: Sequence[Any], *, parallelism: int = -1, override_num_blocks: int | None = None) -> Dataset:
    """Rows from Python values: dicts are rows, anything else is the value of column "item".

    Example:
        >>> import skate.data
        >>> skate.data.from_items(["a", "b"]).take_all()
        [{'item': 'a'}, {'item': 'b'}]
    """
    if isinstance(items, Mapping):
        raise TypeError(
            "from_items: a dict is one row: give a list of them; of columns, use from_arrow(pyarrow.table(columns))"
        )
    return Dataset(plan.Read(Items.of(list(items)), wanted_blocks(parallelism, override_num_blocks)))


def from_pandas(dfs: Any, override_num_blocks: int | None = None) -> MaterializedDataset:
    """A block for each pandas DataFrame. The index is not kept."""
    return _made("from_pandas", "pandas", dfs, override_num_blocks)


def from_polars(dfs: Any, override_num_blocks: int | None = None) -> MaterializedDataset:
    """A block for each Polars DataFrame."""
    return _made("from_polars", "polars", dfs, override_num_blocks)


def from_arrow(
    tables: Any, *, override_num_blocks: int | None = None, allow_pickle: bool = False
) -> MaterializedDataset:
    """A block for each Arrow table, or bytes of one in Arrow's streaming format.

    Args:
        tables: one, or a list of them.
        override_num_blocks: so many blocks instead.
        allow_pickle: there may be columns of Python objects of `skate.data`. Opening a pickle runs code of whoever made it.

    Raises:
        ValueError: there is such a column, and `allow_pickle` is False.
    """
    found = [_opened(each) for each in _listed(tables)]
    return _made("from_arrow", "pyarrow", found, override_num_blocks, allow_pickle)


def from_numpy(ndarrays: Any) -> MaterializedDataset:
    """A block for each array, as column "data": a row for each entry along its first dimension."""
    return _of_tables([_array(each) for each in _listed(ndarrays)], None)


def from_blocks(blocks: Sequence[Any]) -> MaterializedDataset:
    """A block for each Arrow table or pandas DataFrame."""
    return _of_tables([_from_outside("from_blocks", each) for each in blocks], None)


def from_pandas_refs(dfs: Any) -> MaterializedDataset:
    """As `from_pandas`, of references."""
    return _of_refs(dfs, lambda frame: _from_outside("from_pandas_refs", frame))


def from_arrow_refs(tables: Any, *, allow_pickle: bool = False) -> MaterializedDataset:
    """As `from_arrow`, of references; a column of Python objects is said when the dataset is used."""
    return _of_refs(tables, lambda table: _from_outside("from_arrow_refs", _opened(table), allow_pickle))


def from_numpy_refs(ndarrays: Any) -> MaterializedDataset:
    """As `from_numpy`, of references."""
    return _of_refs(ndarrays, _array)


def from_torch(dataset: Any, local_read: bool = False) -> Dataset:
    """The items of a dataset of torch, one with an index or one to iterate over, as column "item".

    Raises:
        UnsupportedError: `local_read` is set: tasks read it, wherever they run.
    """
    from .sources.items import Indexed, Iterated

    if local_read:
        raise UnsupportedError("from_torch(local_read=True): tasks read the dataset, wherever they run")
    indexed = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    return Dataset(plan.Read(Indexed(dataset) if indexed else Iterated(dataset)))


def from_huggingface(
    dataset: Any, parallelism: int = -1, concurrency: int | None = None, override_num_blocks: int | None = None
) -> Dataset:
    """A `Dataset` or `IterableDataset` of Hugging Face.

    Raises:
        TypeError: it is a dict of several: choose one, such as `dataset["train"]`.
    """
    from .sources.items import Tables

    if isinstance(dataset, dict):
        raise TypeError(f"from_huggingface: this is a dict of datasets: choose one of {', '.join(dataset)}")
    if not hasattr(dataset, "with_format"):
        raise TypeError(f"from_huggingface: {type(dataset).__name__} is no dataset of Hugging Face")
    wanted = wanted_blocks(parallelism, override_num_blocks)
    formatted = dataset.with_format("arrow")
    if not hasattr(dataset, "__len__"):
        return Dataset(plan.Read(Tables(formatted, PIECE_ROWS), wanted, concurrency=tasks_at_once(concurrency)))
    rows = len(dataset)
    pieces = [
        _from_outside("from_huggingface", formatted[at : at + PIECE_ROWS]) for at in builtins.range(0, rows, PIECE_ROWS)
    ]
    return _of_tables(pieces, wanted)


# ---------------------------------------------------------------- how


def _listed(values: Any) -> list[Any]:
    return list(values) if isinstance(values, (list, tuple)) else [values]


def _opened(table: Any) -> Any:
    if not isinstance(table, (bytes, bytearray, memoryview)):
        return table
    with pa.ipc.open_stream(table) as reader:
        return reader.read_all()


def _array(values: Any) -> Block:
    if not isinstance(values, np.ndarray):
        raise TypeError(f"from_numpy: {type(values).__name__} is no array of numpy")
    return blocks.from_columns({"data": values})


def _from_outside(what: str, values: Any, allow_pickle: bool = False) -> Block:
    """A block. Objects become pickles here; what has pickles already needs the user's word."""
    if not allow_pickle:
        refuse_objects(_arrow_schema(values), what, TRUSTED)
    return from_batch(values)


def _arrow_schema(values: Any) -> pa.Schema:
    """The columns that are Arrow's, also in a frame of pandas."""
    if isinstance(values, (pa.Table, pa.RecordBatch)):
        return values.schema
    kinds: Any = getattr(values, "dtypes", None)
    if not hasattr(kinds, "items"):
        return pa.schema([])
    return pa.schema(
        [(str(name), kind.pyarrow_dtype) for name, kind in kinds.items() if hasattr(kind, "pyarrow_dtype")]
    )


def _made(what: str, kind: str, values: Any, wanted: int | None, allow_pickle: bool = False) -> MaterializedDataset:
    found = []
    for each in _listed(values):
        name = type(each).__name__
        if not type(each).__module__.startswith((kind, "pyarrow")) or name not in TABLES:
            raise TypeError(f"{what}: {name} is not what this function takes{TURNED.get(name, '')}")
        found.append(_from_outside(what, each, allow_pickle))
    return _of_tables(found, None if wanted is None else whole("override_num_blocks", wanted, 1))


def _of_tables(tables: list[Block], wanted: int | None) -> MaterializedDataset:
    tables = blocks.going_together(tables)
    if wanted is not None and tables:
        together = blocks.concat(tables)
        cuts = [together.num_rows * at // wanted for at in builtins.range(wanted + 1)]
        tables = [together.slice(first, last - first) for first, last in itertools.pairwise(cuts)]
    return MaterializedDataset(plan.Blocks([(table, meta_of(table)) for table in tables]))


def _of_refs(refs: Any, convert: Callable[[Any], Block]) -> MaterializedDataset:
    """Blocks of what references lead to, made where it is."""
    from ..api.decorator import remote
    from ..api.objects import get

    def make(value: Any) -> tuple[Block, BlockMeta]:
        table = convert(value)
        return table, meta_of(table)

    task = remote(**loaded(num_returns=2))(make)
    made = [task.remote(ref) for ref in _listed(refs)]
    metas = get([meta for _, meta in made])
    return MaterializedDataset(plan.Blocks([(block, meta) for (block, _), meta in zip(made, metas, strict=True)]))
