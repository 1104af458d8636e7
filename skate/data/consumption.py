"""What shows rows, or says something about them: these methods carry a plan out."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from . import block as blocks, plan
from .aggregate import Count
from .base import Base, whole
from .batches import check_format, to_batch
from .block import Block
from .context import DataContext
from .execution.loaded import loaded
from .iterator import DatasetIterator
from .knowledge import columns_like, files_of, known_count
from .pruning import for_count
from .run import planned, table
from .schema import Schema, short
from .schemas import schema as known_columns

if TYPE_CHECKING:
    from ..client.refs import ObjectRef
    from .dataset import Dataset, MaterializedDataset
    from .random_access_dataset import RandomAccessDataset


class Consumption(Base):
    """The methods of `Dataset` that end a chain of transformations."""

    # ------------------------------------------------------------ rows

    def take(self, limit: int = 20) -> list[dict[str, Any]]:
        """The first rows, as dicts. Nothing is read beyond what they need."""
        return [row for block in self._first(whole("limit", limit)) for row in blocks.to_rows(block)]

    def take_all(self, limit: int | None = None) -> list[dict[str, Any]]:
        """All rows, as dicts.

        Raises:
            ValueError: there are more than `limit`.
        """
        return [row for block in self._at_most(limit) for row in blocks.to_rows(block)]

    def take_batch(self, batch_size: int = 20, *, batch_format: str | None = "default") -> Any:
        """The first rows, as a batch; as many as there are, if there are fewer.

        Raises:
            ValueError: there are no rows.
        """
        name = check_format(batch_format)
        found = blocks.concat(list(self._first(whole("batch_size", batch_size, 1))))
        if not found.num_rows:
            raise ValueError("take_batch: the dataset has no rows")
        return to_batch(found, name)

    def show(self, limit: int = 20) -> None:
        """Print the first rows."""
        for row in self.take(limit):
            print(row)

    def _first(self, rows: int) -> Iterable[Block]:
        return self._tables(plan.Limit(self._node, rows))

    def _as_one(self, limit: int | None) -> Block:
        """All rows as one block; not more than `limit`."""
        if limit is not None:
            return blocks.concat(self._at_most(limit))
        found = list(self._bundles(self._node))
        try:
            return blocks.concat([table(bundle) for bundle in found])
        except TypeError:
            blocks.unify_blocks([bundle.meta for bundle in found])  # whose error names the files
            raise

    def _at_most(self, limit: int | None) -> list[Block]:
        """All blocks; not more than so many rows."""
        if limit is None:
            return list(self._tables(self._node))
        found = list(self._first(whole("limit", limit) + 1))
        if sum(block.num_rows for block in found) > limit:
            raise ValueError(f"the dataset has more than {limit} rows, the limit of this call")
        return found

    # ------------------------------------------------------------ what is known of them

    def count(self) -> int:
        """The number of rows. Read from metadata where that is possible: then nothing runs."""
        if self._count is None:
            self._count = known_count(self._node)
        if self._count is None:
            counted = plan.Aggregate(for_count(self._node), (), (Count(alias_name="rows"),))
            self._count = sum(row["rows"] for block in self._tables(counted) for row in blocks.to_rows(block))
        return self._count

    def schema(self, fetch_if_missing: bool = True) -> Schema | None:
        """The columns and their types.

        Args:
            fetch_if_missing: read rows if there is no other way to know; otherwise, the answer is None then.
        """
        if self._schema is None:
            self._schema = known_columns(self._node)
        if self._schema is None and fetch_if_missing:
            for bundle in self._bundles(plan.Limit(columns_like(self._node), 1)):
                self._schema = bundle.meta.schema
        return None if self._schema is None or not len(self._schema) else Schema(self._schema)

    def columns(self, fetch_if_missing: bool = True) -> list[str] | None:
        """The names of the columns; None if they are not known."""
        schema = self.schema(fetch_if_missing)
        return None if schema is None else schema.names

    def size_bytes(self) -> int:
        """How many bytes the rows take in memory. A plan that only reads says how much it expects."""
        if isinstance(self._node, plan.Blocks):
            return sum(meta.size_bytes for _, meta in self._node.blocks)
        if isinstance(self._node, plan.Read) and (size := self._node.source.size_bytes()) is not None:
            return size
        return sum(bundle.meta.size_bytes for bundle in self._bundles(self._node))

    def num_blocks(self) -> int:
        """How many blocks there are. Unless they are there already, they are computed for this."""
        if isinstance(self._node, plan.Blocks):
            return len(self._node.blocks)
        return sum(1 for _ in self._bundles(self._node))

    def input_files(self) -> list[str]:
        """The files that are read."""
        return files_of(self._node)

    # ------------------------------------------------------------ iterators

    def iterator(self) -> DatasetIterator:
        """Something to iterate over the rows with, again and again; it can be sent to tasks and actors."""
        return DatasetIterator(self)

    def iter_rows(self) -> Iterable[dict[str, Any]]:
        """The rows, one after the other, as dicts."""
        return self.iterator().iter_rows()

    def iter_batches(
        self,
        *,
        prefetch_batches: int = 1,
        batch_size: int | None = 256,
        batch_format: str | None = "default",
        drop_last: bool = False,
        local_shuffle_buffer_size: int | None = None,
        local_shuffle_seed: int | None = None,
    ) -> Iterable[Any]:
        """The rows in batches. See `DataIterator.iter_batches`."""
        return self.iterator().iter_batches(
            prefetch_batches=prefetch_batches,
            batch_size=batch_size,
            batch_format=batch_format,
            drop_last=drop_last,
            local_shuffle_buffer_size=local_shuffle_buffer_size,
            local_shuffle_seed=local_shuffle_seed,
        )

    def to_random_access_dataset(self, key: str, num_workers: int | None = None) -> RandomAccessDataset:
        """Put the rows in order, and give them to actors that find them by the value of a column.

        Args:
            key: the column. If several rows have the same value, one of them is found.
            num_workers: so many actors; None: 4.
        """
        from .random_access_dataset import RandomAccessDataset

        if num_workers is not None:
            whole("num_workers", num_workers, 1)
        return RandomAccessDataset(self._on_top(self._node), key, num_workers)

    def iter_torch_batches(self, **options: Any) -> Iterable[Any]:
        """The rows in batches of tensors of torch. See `DataIterator.iter_torch_batches` for the arguments."""
        return self.iterator().iter_torch_batches(**options)

    def iter_jax_batches(self, **options: Any) -> Iterable[Any]:
        """The rows in batches of arrays of JAX. See `DataIterator.iter_jax_batches` for the arguments."""
        return self.iterator().iter_jax_batches(**options)

    def iter_tf_batches(self, **options: Any) -> Iterable[Any]:
        """The rows in batches of tensors of TensorFlow. See `DataIterator.iter_tf_batches` for the arguments."""
        return self.iterator().iter_tf_batches(**options)

    def to_tf(self, feature_columns: str | Sequence[str], label_columns: str | Sequence[str], **options: Any) -> Any:
        """A `tf.data.Dataset`. See `DataIterator.to_tf` for the arguments."""
        return self.iterator().to_tf(feature_columns, label_columns, **options)

    # ------------------------------------------------------------ as a whole

    def to_pandas(self, limit: int | None = None) -> Any:
        """All rows as one pandas DataFrame.

        Raises:
            ValueError: there are more than `limit`.
        """
        return to_batch(self._as_one(limit), "pandas")

    def to_arrow(self) -> pa.Table:
        """All rows as one Arrow table."""
        return self._as_one(None)

    def to_polars(self) -> Any:
        """All rows as one Polars DataFrame."""
        return to_batch(self.to_arrow(), "polars")

    def to_arrow_refs(self) -> list[ObjectRef[Any]]:
        """References to Arrow tables, one for each block."""
        from ..api.objects import put
        from ..client.refs import ObjectRef

        found = [bundle.block for bundle in self._bundles(self._node)]
        return [each if isinstance(each, ObjectRef) else put(each) for each in found]

    def to_pandas_refs(self) -> list[ObjectRef[Any]]:
        """References to pandas DataFrames, one for each block."""
        return self._converted("pandas", None)

    def to_numpy_refs(self, *, column: str | None = None) -> list[ObjectRef[Any]]:
        """References to dicts of arrays, one for each block; or to the arrays of one column."""
        if column is not None:
            self._check_columns([column])
        return self._converted("numpy", column)

    def _converted(self, batch_format: str, column: str | None) -> list[ObjectRef[Any]]:
        from ..api.decorator import remote

        def convert(block: Block) -> Any:
            batch = to_batch(block, batch_format)
            return batch if column is None else batch[column]

        task = remote(**loaded())(convert)
        return [task.remote(ref) for ref in self.to_arrow_refs()]

    def materialize(self) -> MaterializedDataset:
        """Carry the plan out, and keep the blocks: what follows starts from them."""
        from .dataset import MaterializedDataset

        found = [(bundle.block, bundle.meta) for bundle in self._bundles(self._node)]
        made = MaterializedDataset(plan.Blocks(found), self._context)
        made._name, made._last = self._name, self._last
        return made

    # ------------------------------------------------------------ about itself

    @property
    def name(self) -> str | None:
        """What the dataset is called in progress bars."""
        return self._name

    def set_name(self, name: str | None) -> None:
        """Give it a name, which datasets that are made of it keep."""
        self._name = name

    @property
    def context(self) -> DataContext:
        """Its settings."""
        return self._context

    @staticmethod
    def copy(ds: Dataset) -> Dataset:
        """A dataset with the same plan, and settings of its own."""
        from .dataset import Dataset

        made = Dataset(ds._node, ds._context.copy())
        made._name = ds._name
        return made

    def stats(self) -> str:
        """What the latest execution has done: for each operator tasks, blocks, rows and bytes. Empty before the first."""
        return "" if self._last is None else str(self._last.stats())

    def explain(self) -> None:
        """Print the plan as it was written, and as it will be carried out, and by what."""
        node, how = planned(self._node, self._context)
        print(f"Logical plan:\n{plan.render(self._node)}\n")
        print(f"Optimized plan:\n{plan.render(node)}\n\nCarried out by {how}.")

    def _known(self) -> str:
        """What can be said without reading anything."""
        schema = self._schema
        with suppress(KeyError, TypeError, ValueError):  # a plan that cannot be carried out can be shown
            schema = schema if schema is not None else known_columns(self._node, ask_sources=False)
        count = self._count
        if count is None and not any(
            isinstance(node, plan.Read) and node.source.files() for node in plan.walk(self._node)
        ):
            count = known_count(self._node)  # files may be asked for it, which is more than to show a dataset
        return f"num_rows={'?' if count is None else count}, schema={'?' if schema is None else short(schema)}"

    def __repr__(self) -> str:
        name = f"name={self._name}, " if self._name else ""
        return f"{type(self).__name__}({name}{self._known()})\n{plan.render(self._node)}"

    def _repr_html_(self) -> str:
        title, _, tree = repr(self).partition("\n")
        return f"<b>{html.escape(title)}</b><pre>{html.escape(tree)}</pre>"

    def __iter__(self) -> Any:
        raise TypeError("a dataset has no single way to iterate: use iter_rows() or iter_batches()")

    def __len__(self) -> int:
        raise TypeError("a dataset has no len(): use count(), which may have to carry the plan out")

    def __getitem__(self, key: Any) -> Any:
        raise TypeError("a dataset is no frame: use select_columns(names), filter(expr=...) or take(n)")

    def __bool__(self) -> bool:
        return True
