"""Batches of tensors for torch, which is imported when the first batch is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .batches import to_batch
from .block import Block
from .collate_fn import CollateFn
from .keys import check_columns
from .optional import need


class Collate:
    """Makes a batch of a block. See `DataIterator.iter_torch_batches`."""

    def __init__(self, dtypes: Any, device: Any, collate_fn: Callable[[Any], Any] | None, pin_memory: bool) -> None:
        if collate_fn is not None and dtypes is not None:
            raise ValueError("dtypes has no effect with collate_fn: give one of them")
        self.dtypes = dtypes
        self.device = device
        self.collate_fn = collate_fn
        self.pin_memory = pin_memory

    def __call__(self, block: Block) -> Any:
        torch = need("torch", "torch", "iter_torch_batches")
        if isinstance(self.dtypes, dict):
            check_columns(block, self.dtypes)
        batch = to_batch(block, self.collate_fn.batch_format if isinstance(self.collate_fn, CollateFn) else "numpy")
        made = self.collate_fn(batch) if self.collate_fn is not None else self._tensors(batch, torch)
        device = _device(torch) if self.device == "auto" else self.device
        return _each(made, torch, lambda tensor: self._placed(tensor, device))

    def _tensors(self, batch: dict[str, Any], torch: Any) -> dict[str, Any]:
        return {name: self._tensor(name, values, torch) for name, values in batch.items()}

    def _tensor(self, name: str, values: np.ndarray[Any, Any], torch: Any) -> Any:
        dtype = self.dtypes.get(name) if isinstance(self.dtypes, dict) else self.dtypes
        if values.dtype == object or values.dtype.kind not in "biufc":
            raise TypeError(
                f"column {name!r} cannot be a tensor: its values are {values.dtype}. "
                "Select other columns, or give collate_fn."
            )
        own = values if values.flags.writeable else values.copy()  # tensors can be written to, blocks cannot
        return torch.as_tensor(own, dtype=dtype)

    def _placed(self, tensor: Any, device: Any) -> Any:
        if self.pin_memory:
            tensor = tensor.pin_memory()
        return tensor.to(device, non_blocking=self.pin_memory)


def _device(torch: Any) -> Any:
    from ..api.cluster import get_gpu_ids
    from ..api.lifecycle import is_initialized

    return "cuda" if is_initialized() and get_gpu_ids() and torch.cuda.is_available() else "cpu"


def _each(value: Any, torch: Any, do: Callable[[Any], Any]) -> Any:
    """The same value with `do` applied to each tensor in it."""
    if isinstance(value, torch.Tensor):
        return do(value)
    if isinstance(value, dict):
        return {name: _each(each, torch, do) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        made = [_each(each, torch, do) for each in value]
        return made if isinstance(value, list) else tuple(made)
    return value
