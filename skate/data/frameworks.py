"""Batches as arrays of JAX and tensors of TensorFlow, which are imported when they are wanted.

Both are made of numpy's arrays, by the functions that the libraries have for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .batches import to_batch
from .block import Block
from .collate_fn import CollateFn
from .keys import check_columns
from .optional import need

Arrays = dict[str, np.ndarray[Any, Any]]


class JaxCollate:
    """Makes a batch of a block. See `DataIterator.iter_jax_batches`.

    With several devices, each gets a part of the rows.
    """

    def __init__(
        self, dtypes: Any, collate_fn: Callable[[Any], Any] | None, paddings: Any, batch_size: int | None
    ) -> None:
        if collate_fn is not None and dtypes is not None:
            raise ValueError("dtypes has no effect with collate_fn: give one of them")
        self.jax = need("jax", "jax", "iter_jax_batches")
        self.dtypes = dtypes
        self.collate_fn = collate_fn
        self.paddings = paddings
        self.batch_size = batch_size
        self.devices = self.jax.local_device_count()
        if batch_size is not None and batch_size % self.devices:
            raise ValueError(f"batch_size={batch_size}: each of {self.devices} devices must get as many rows")

    def __call__(self, block: Block) -> Any:
        for said in (self.dtypes, self.paddings):
            check_columns(block, said if isinstance(said, dict) else ())
        batch = to_batch(block, self.collate_fn.batch_format if isinstance(self.collate_fn, CollateFn) else "numpy")
        made = batch if self.collate_fn is None else self.collate_fn(batch)
        if not isinstance(made, dict):
            return self._array("", made)
        return {name: self._array(name, values) for name, values in made.items()}

    def _array(self, name: str, values: Any) -> Any:
        values = self._padded(name, numbers(name, np.asarray(values)))
        dtype = of_column(self.dtypes, name)
        values = values if dtype is None else values.astype(dtype)
        if self.devices == 1:
            return self.jax.numpy.asarray(values)
        if len(values) % self.devices:
            raise ValueError(
                f"{len(values)} rows cannot be divided among {self.devices} devices: give paddings, or drop_last=True"
            )
        sharding = self.jax.sharding
        mesh = sharding.Mesh(np.array(self.jax.devices()), ("rows",))
        placed = sharding.NamedSharding(mesh, sharding.PartitionSpec("rows"))
        return self.jax.make_array_from_process_local_data(placed, values)

    def _padded(self, name: str, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        padding = of_column(self.paddings, name)
        if padding is None or self.batch_size is None or len(values) >= self.batch_size:
            return values
        more = np.full((self.batch_size - len(values), *values.shape[1:]), padding, values.dtype)
        return np.concatenate([values, more])


class TfCollate:
    """Makes a batch of a block. See `DataIterator.iter_tf_batches`."""

    def __init__(self, dtypes: Any) -> None:
        self.tf = need("tensorflow", "tensorflow", "iter_tf_batches")
        self.dtypes = dtypes

    def __call__(self, block: Block) -> dict[str, Any]:
        check_columns(block, self.dtypes if isinstance(self.dtypes, dict) else ())
        batch: Arrays = to_batch(block, "numpy")
        return {name: self.tensor(name, values) for name, values in batch.items()}

    def tensor(self, name: str, values: np.ndarray[Any, Any]) -> Any:
        """A column; arrays of different lengths are a ragged tensor."""
        dtype = of_column(self.dtypes, name)
        if _are_arrays(values) and len({each.shape for each in values}) > 1:
            kind = np.result_type(
                *([each for each in values if each.size] or [values[0]])
            )  # an empty list is one of floats to numpy
            return self.tf.ragged.stack([self.tf.convert_to_tensor(each.astype(kind), dtype) for each in values])
        if values.dtype == object and all(isinstance(each, (str, bytes)) for each in values):
            return self.tf.convert_to_tensor(values.tolist(), dtype)
        return self.tf.convert_to_tensor(numbers(name, values), dtype)


def numbers(name: str, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The values of a column as numbers: lists of one length are an array of two dimensions.

    Raises:
        TypeError: they are none.
    """
    if _are_arrays(values) and len({each.shape for each in values}) == 1:
        values = np.stack(list(values))
    if values.dtype.kind not in "biufc":
        raise TypeError(
            f"column {name!r} cannot be a tensor: its values are {values.dtype}. Select other columns, or convert it before."
        )
    return values


def _are_arrays(values: np.ndarray[Any, Any]) -> bool:
    return values.dtype == object and len(values) > 0 and all(isinstance(each, np.ndarray) for each in values)


def of_column(said: Any, name: str) -> Any:
    """What is said of a column, or of all."""
    return said.get(name) if isinstance(said, Mapping) else said


def tf_dataset(
    batches: Callable[[], Iterable[Mapping[str, Any]]],
    columns: Sequence[str | Sequence[str] | None],
    specs: Sequence[Any],
) -> Any:
    """A dataset of TensorFlow. Its elements are tuples: for each entry of `columns` the tensor of a column, or a dict of several.

    Args:
        batches: begins anew at each call.
        specs: types of TensorFlow for these; None: as the first batch has them.
    """
    tf = need("tensorflow", "tensorflow", "to_tf")
    wanted = [(each, spec) for each, spec in zip(columns, specs, strict=True) if each is not None]

    def elements() -> Iterator[tuple[Any, ...]]:
        for batch in batches():
            yield tuple(_chosen(batch, names) for names, _ in wanted)

    if any(spec is None for _, spec in wanted):
        first = next(iter(elements()), None)
        if first is None:
            raise ValueError(
                "to_tf: the dataset has no rows to tell the types by: give feature_type_spec and label_type_spec"
            )
        found = [_spec(tf, each) for each in first]
    else:
        found = [None for _ in wanted]
    signature = tuple(made if spec is None else spec for made, (_, spec) in zip(found, wanted, strict=True))
    return tf.data.Dataset.from_generator(elements, output_signature=signature)


def _chosen(batch: Mapping[str, Any], names: str | Sequence[str]) -> Any:
    return batch[names] if isinstance(names, str) else {name: batch[name] for name in names}


def _spec(tf: Any, made: Any) -> Any:
    """The type of what has been made, for any number of rows."""
    if isinstance(made, dict):
        return {name: _spec(tf, each) for name, each in made.items()}
    if isinstance(made, tf.RaggedTensor):
        return tf.RaggedTensorSpec([None, *made.shape[1:]], made.dtype, made.ragged_rank)
    return tf.TensorSpec([None, *made.shape[1:]], made.dtype)
