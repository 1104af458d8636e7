"""Iterate over results as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from ..api import objects
from ..api.functions import RemoteFunction
from ..client.refs import ObjectRef

T = TypeVar("T")


def as_completed(
    refs: Sequence[ObjectRef[T]], chunk_size: int = 10, yield_result_in_order: bool = False
) -> Iterator[T]:
    """The values of the references, as they get done.

    `skate.as_completed` yields the references instead.

    Args:
        refs: references.
        chunk_size: accepted for Ray's sake; values are fetched as soon as they are there.
        yield_result_in_order: keep the order of `refs`.

    Raises:
        Exception: what a task raised, when its turn comes.
    """
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be 1 or more, not {chunk_size!r}.")
    for ref in refs if yield_result_in_order else objects.as_completed(refs):
        yield objects.get(ref)


def map_unordered(
    fn: RemoteFunction[..., T],
    items: Iterable[Any],
    *,
    backpressure_size: int | None = 100,
    chunk_size: int = 10,
) -> Iterator[T]:
    """Apply a remote function to each item; yields the results as they get done.

    `fn.map(items, ordered=False)` does the same with several items per task.

    Args:
        fn: a remote function, or a method of an actor.
        items: its arguments.
        backpressure_size: calls started and not yet read; None is without limit.
        chunk_size: accepted for Ray's sake.

    Raises:
        Exception: what a task raised, when its turn comes.
    """
    call: Callable[[Any], ObjectRef[T]] = getattr(fn, "remote", None)  # type: ignore[assignment]
    if call is None:
        raise TypeError(f"map_unordered() needs a remote function, not {type(fn).__name__}.")
    if chunk_size < 1 or (backpressure_size is not None and backpressure_size < 1):
        raise ValueError("chunk_size and backpressure_size must be 1 or more.")
    arguments = iter(items)
    pending = [call(item) for item in islice(arguments, backpressure_size)]
    while pending:
        done, pending = objects.wait(pending, num_returns=1)
        pending.extend(call(item) for item in islice(arguments, len(done)))
        for ref in done:
            yield objects.get(ref)
