"""Classes for `collate_fn` of `iter_torch_batches` that say which kind of batch they are given."""

from __future__ import annotations

from typing import Any


class CollateFn:
    """Makes a batch for a model of a batch of rows. Subclass one of those below, and write `__call__`."""

    batch_format = "numpy"
    """What it is given."""

    def __call__(self, batch: Any) -> Any:
        """The batch for the model: tensors, or lists, tuples and dicts of these."""
        raise NotImplementedError(f"{type(self).__name__} needs a method __call__(batch)")


class NumpyBatchCollateFn(CollateFn):
    """It is given a dict of numpy arrays."""


class ArrowBatchCollateFn(CollateFn):
    """It is given an Arrow table."""

    batch_format = "pyarrow"


class PandasBatchCollateFn(CollateFn):
    """It is given a pandas frame."""

    batch_format = "pandas"


__all__ = ["ArrowBatchCollateFn", "CollateFn", "NumpyBatchCollateFn", "PandasBatchCollateFn"]
