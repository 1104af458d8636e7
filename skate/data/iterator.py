"""Iterators over rows and batches: of a dataset, or of a consumer's share of one (`streaming.py`).

Each `iter()` of what these methods return begins anew: the plan is carried out once for each epoch. Batches are made ahead on a
thread; see `prefetch.py` for how it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..exceptions import UnsupportedError
from . import block as blocks
from .base import whole
from .batches import check_format, rebatch, to_batch
from .block import Block
from .functions import ROWS_AT_ONCE
from .of_ray import METHODS, instead
from .prefetch import ahead

if TYPE_CHECKING:
    from .consumption import Consumption
    from .context import DataContext
    from .dataset import MaterializedDataset
    from .schema import Schema


class Stream(NamedTuple):
    """Blocks that come one after the other, and what ends them, from any thread."""

    blocks: Iterator[Block]
    stop: Callable[[], None]


class Batches:
    """What `iter_batches` returns: every `iter()` of it goes over the data once."""

    def __init__(self, begin: Callable[[], Iterator[Any]]) -> None:
        self._begin = begin

    def __iter__(self) -> Iterator[Any]:
        return self._begin()


class DataIterator:
    """Iterates over rows, as often as one likes. It can be sent to tasks and actors."""

    def _open(self) -> Stream:
        """Begin to go over the blocks."""
        raise NotImplementedError

    def schema(self) -> Schema | None:
        """The columns and their types."""
        raise NotImplementedError

    def stats(self) -> str:
        """What the latest execution has done."""
        raise NotImplementedError

    def materialize(self) -> MaterializedDataset:
        """The rows as a dataset whose blocks are there."""
        raise NotImplementedError

    def get_context(self) -> DataContext:
        """The settings of the dataset."""
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        """Raise an error for what is not there; for Ray's methods, it says what to do instead."""
        raise instead(type(self).__name__, name, METHODS)

    # ------------------------------------------------------------ rows and batches

    def iter_rows(self) -> Iterable[dict[str, Any]]:
        """The rows, one after the other, as dicts."""
        return Batches(self._rows)

    def _rows(self) -> Iterator[dict[str, Any]]:
        stream = self._open()
        for block in ahead(stream.blocks, 1, stream.stop):
            for at in range(0, block.num_rows, ROWS_AT_ONCE):
                yield from blocks.to_rows(block.slice(at, ROWS_AT_ONCE))

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
        """The rows in batches.

        Args:
            prefetch_batches: so many are made ahead on a thread; 0: none, and no thread.
            batch_size: rows in each, but for the last; None: a block is a batch.
            batch_format: "numpy" or "default" (a dict of arrays), "pandas", "pyarrow" (or None) or "polars".
            drop_last: leave out the last if it is smaller.
            local_shuffle_buffer_size: mix the rows among at least so many that are held in memory; None: keep their order.
            local_shuffle_seed: of that mixing.

        Raises:
            ValueError: an argument is out of range.
        """
        name = check_format(batch_format)
        return self._batches(
            lambda block: to_batch(block, name),
            prefetch_batches,
            batch_size,
            drop_last,
            local_shuffle_buffer_size,
            local_shuffle_seed,
        )

    def iter_torch_batches(
        self,
        *,
        prefetch_batches: int = 1,
        batch_size: int | None = 256,
        dtypes: Any = None,
        device: Any = "auto",
        collate_fn: Callable[[Any], Any] | None = None,
        drop_last: bool = False,
        local_shuffle_buffer_size: int | None = None,
        local_shuffle_seed: int | None = None,
        pin_memory: bool = False,
    ) -> Iterable[Any]:
        """The rows in batches of tensors: a dict from column to tensor.

        Args:
            dtypes: torch's type for all columns, or a dict from column to type; None: as the columns have it.
            device: where the tensors go; "auto": the GPU that was assigned to this task or actor, or else the CPU.
            collate_fn: makes a batch of a dict of numpy arrays, in place of what is done otherwise; one of the classes of
                `skate.data.collate_fn` may be given a table or a frame.
            pin_memory: put them into page-locked memory first.

        The other arguments are those of `iter_batches`.

        Raises:
            ValueError: an argument is out of range, or `dtypes` is given together with `collate_fn`.
        """
        from .tensors import Collate

        return self._batches(
            Collate(dtypes, device, collate_fn, pin_memory),
            prefetch_batches,
            batch_size,
            drop_last,
            local_shuffle_buffer_size,
            local_shuffle_seed,
        )

    def iter_jax_batches(
        self,
        *,
        prefetch_batches: int = 1,
        batch_size: int | None = 256,
        dtypes: Any = None,
        collate_fn: Callable[[Any], Any] | None = None,
        drop_last: bool = False,
        local_shuffle_buffer_size: int | None = None,
        local_shuffle_seed: int | None = None,
        synchronize_batches: bool = False,
        paddings: Any = None,
    ) -> Iterable[Any]:
        """The rows in batches of arrays of JAX: a dict from column to array. Of several devices, each gets a part of the rows.

        Args:
            dtypes: JAX's type for all columns, or a dict from column to type; None: as the columns have it.
            collate_fn: makes an array of numpy, or a dict of these, of a dict of numpy arrays; one of the classes of
                `skate.data.collate_fn` may be given a table or a frame.
            paddings: fill the last batch up to `batch_size` with this value, or with one for each column; None: it is smaller.

        The other arguments are those of `iter_batches`.

        Raises:
            ImportError: JAX is not installed.
            UnsupportedError: `synchronize_batches` is set: processes do not compare the shapes of their batches.
            ValueError: an argument is out of range, or the devices cannot get as many rows each.
        """
        from .frameworks import JaxCollate

        if synchronize_batches:
            raise UnsupportedError(
                "iter_jax_batches(synchronize_batches=True): use streaming_split(equal=True) and drop_last=True"
            )
        return self._batches(
            JaxCollate(dtypes, collate_fn, paddings, batch_size),
            prefetch_batches,
            batch_size,
            drop_last,
            local_shuffle_buffer_size,
            local_shuffle_seed,
        )

    def iter_tf_batches(
        self,
        *,
        prefetch_batches: int = 1,
        batch_size: int | None = 256,
        dtypes: Any = None,
        drop_last: bool = False,
        local_shuffle_buffer_size: int | None = None,
        local_shuffle_seed: int | None = None,
    ) -> Iterable[Any]:
        """The rows in batches of tensors of TensorFlow: a dict from column to tensor. Arrays of different shapes are ragged ones.

        Args:
            dtypes: TensorFlow's type for all columns, or a dict from column to type; None: as the columns have it.

        The other arguments are those of `iter_batches`.

        Raises:
            ImportError: TensorFlow is not installed.
        """
        from .frameworks import TfCollate

        return self._batches(
            TfCollate(dtypes), prefetch_batches, batch_size, drop_last, local_shuffle_buffer_size, local_shuffle_seed
        )

    def to_tf(
        self,
        feature_columns: str | Sequence[str],
        label_columns: str | Sequence[str],
        *,
        additional_columns: str | Sequence[str] | None = None,
        feature_type_spec: Any = None,
        label_type_spec: Any = None,
        additional_type_spec: Any = None,
        batch_size: int | None = 1,
        **options: Any,
    ) -> Any:
        """A `tf.data.Dataset` of pairs of features and labels, for `model.fit`.

        Args:
            feature_columns, label_columns: of one column, a tensor; of a list of them, a dict of tensors.
            additional_columns: a third element, such as the weights of the rows.
            feature_type_spec, label_type_spec, additional_type_spec: a `tf.TypeSpec`, or a dict of these; None: as the first
                batch has it, for which the plan is begun once.
            options: those of `iter_tf_batches`.

        Raises:
            ImportError: TensorFlow is not installed.
            ValueError: there are no rows that could tell the types.
        """
        from .frameworks import tf_dataset

        columns = [feature_columns, label_columns, additional_columns]
        specs = [feature_type_spec, label_type_spec, additional_type_spec]
        batches = self.iter_tf_batches(batch_size=batch_size, **options)
        return tf_dataset(lambda: batches, columns, specs)

    def _batches(
        self,
        make: Callable[[Block], Any],
        prefetch: int,
        size: int | None,
        drop_last: bool,
        buffer: int | None,
        seed: int | None,
    ) -> Batches:
        whole("prefetch_batches", prefetch)
        if size is not None:
            whole("batch_size", size, 1)
        if buffer is not None:
            whole("local_shuffle_buffer_size", buffer, 1)

        def begin() -> Iterator[Any]:
            stream = self._open()
            source = stream.blocks if buffer is None else mixed(stream.blocks, buffer, seed)
            made = (make(block) for block in rebatch(source, size, drop_last))
            return ahead(_closing(made, stream.blocks), prefetch, stream.stop)

        return Batches(begin)


def _closing(values: Iterator[Any], source: Any) -> Iterator[Any]:
    """The values; with them, what they are made of is closed."""
    try:
        yield from values
    finally:
        source.close()


def mixed(source: Iterator[Block], buffer: int, seed: int | None) -> Iterator[Block]:
    """The rows in an order that is random among at least `buffer` of them: of twice as many, one half is given on."""
    random = np.random.default_rng(seed)
    have: list[Block] = []
    rows = 0
    for block in source:
        have.append(block)
        rows += block.num_rows
        while rows >= 2 * buffer:
            together = blocks.concat(have)
            together = together.take(random.permutation(rows))
            yield together.slice(buffer)
            have, rows = [together.slice(0, buffer)], buffer
    if rows:
        together = blocks.concat(have)
        yield together.take(random.permutation(rows))


class DatasetIterator(DataIterator):
    """Of a dataset as a whole."""

    def __init__(self, dataset: Consumption) -> None:
        self._dataset = dataset

    def _open(self) -> Stream:
        return self._dataset._stream()

    def schema(self) -> Schema | None:
        return self._dataset.schema()

    def stats(self) -> str:
        return self._dataset.stats()

    def materialize(self) -> MaterializedDataset:
        return self._dataset.materialize()

    def get_context(self) -> DataContext:
        return self._dataset.context

    def __repr__(self) -> str:
        return f"DataIterator({self._dataset!r})"
