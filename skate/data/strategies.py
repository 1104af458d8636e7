"""How the calls of a user's function are spread: over tasks, or over a pool of actors that keep what a class has constructed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..api.options import check_options
from ..exceptions import UnsupportedError

UNLIMITED = 1 << 16
"""The size of a pool that has no limit but the cluster's CPUs."""


class TaskPoolStrategy:
    """Tasks.

    Args:
        size: how many run at a time; None: as many as there is room for.
    """

    def __init__(self, size: int | None = None) -> None:
        if size is not None:
            _check_count("size", size)
        self.size = size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskPoolStrategy) and self.size == other.size

    def __hash__(self) -> int:
        return hash(self.size)

    def __repr__(self) -> str:
        return f"TaskPoolStrategy(size={self.size})"


class ActorPoolStrategy:
    """A pool of actors. It grows while all are busy, up to `max_size`.

    Args:
        size: so many, no more and no less; in place of the others.
        min_size: so many are started at first, and stay.
        max_size: no more than these; None: as many as there are CPUs for.
        initial_size: how many are started at first, from `min_size` to `max_size`.

    Raises:
        ValueError: the numbers contradict each other.
        UnsupportedError: another of Ray's arguments is given.
    """

    def __init__(
        self,
        *,
        size: int | None = None,
        min_size: int | None = None,
        max_size: int | None = None,
        initial_size: int | None = None,
        max_tasks_in_flight_per_actor: int | None = None,
        max_concurrent_calls_per_actor: int | None = None,
        enable_true_multi_threading: bool | None = None,
    ) -> None:
        for name, value in (
            ("max_tasks_in_flight_per_actor", max_tasks_in_flight_per_actor),
            ("max_concurrent_calls_per_actor", max_concurrent_calls_per_actor),
            ("enable_true_multi_threading", enable_true_multi_threading),
        ):
            if value is not None:
                raise UnsupportedError(
                    f"ActorPoolStrategy({name}={value!r}): an actor runs one task at a time, and has the next at hand"
                )
        if size is not None and (min_size is not None or max_size is not None or initial_size is not None):
            raise ValueError("ActorPoolStrategy: give size, or min_size, max_size and initial_size, not both")
        for name, value in (("size", size), ("min_size", min_size), ("max_size", max_size)):
            if value is not None:
                _check_count(name, value)
        self.min_size = size or min_size or 1
        self.max_size = size or max_size or UNLIMITED
        if self.min_size > self.max_size:
            raise ValueError(f"ActorPoolStrategy: min_size={self.min_size} is more than max_size={self.max_size}")
        self.initial_size = self.min_size if initial_size is None else initial_size
        if not self.min_size <= self.initial_size <= self.max_size:
            raise ValueError(f"ActorPoolStrategy: initial_size={initial_size!r} must lie between the other two")
        if self.initial_size != self.min_size:
            self.min_size = self.initial_size  # a pool does not shrink below what it has started with

    @property
    def limit(self) -> int | None:
        """How many actors there may be at the most; None: nobody said."""
        return None if self.max_size == UNLIMITED else self.max_size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorPoolStrategy) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.min_size, self.max_size))

    def __repr__(self) -> str:
        return f"ActorPoolStrategy(min_size={self.min_size}, max_size={self.max_size})"


class Spread(NamedTuple):
    """What follows from `compute`, `concurrency` and the options of a call."""

    pool: ActorPoolStrategy | None
    concurrency: int | None
    options: dict[str, Any]


def spread(
    is_class: bool,
    compute: Any = None,
    concurrency: Any = None,
    ray_remote_args_fn: Any = None,
    options: Mapping[str, Any] | None = None,
) -> Spread:
    """Check them, and say what they mean.

    Args:
        is_class: the function is one that has to be constructed.

    Raises:
        ValueError, TypeError: they are wrong, or contradict each other.
        UnsupportedError: skate does not do it.
    """
    if ray_remote_args_fn is not None:
        raise UnsupportedError("ray_remote_args_fn: the options of all tasks of an operator are the same here")
    if compute is not None and concurrency is not None:
        raise ValueError("give compute or concurrency, not both: ActorPoolStrategy(size=n) is concurrency=n")
    found = _of_compute(is_class, compute) if compute is not None else _of_concurrency(is_class, concurrency)
    given = {name: value for name, value in (options or {}).items() if value is not None}
    check_options(given, "a" if isinstance(found, ActorPoolStrategy) else "t")
    if isinstance(found, ActorPoolStrategy):
        return Spread(found, None, given)
    return Spread(None, found, given)


def _of_compute(is_class: bool, compute: Any) -> ActorPoolStrategy | int | None:
    if compute in ("tasks", "actors"):
        compute = TaskPoolStrategy() if compute == "tasks" else ActorPoolStrategy()
    if isinstance(compute, ActorPoolStrategy):
        return compute
    if not isinstance(compute, TaskPoolStrategy):
        raise TypeError(f"compute={compute!r}: it must be a TaskPoolStrategy or an ActorPoolStrategy")
    if is_class:
        raise ValueError("a class is constructed once for each actor: compute must be an ActorPoolStrategy")
    return compute.size


def _of_concurrency(is_class: bool, concurrency: Any) -> ActorPoolStrategy | int | None:
    if concurrency is None:
        return None
    if isinstance(concurrency, tuple):
        if not is_class:
            raise ValueError(
                f"concurrency={concurrency!r}: a function runs in tasks, of which it can only be the limit"
            )
        if len(concurrency) not in (2, 3):
            raise ValueError(f"concurrency={concurrency!r}: it must be (min, max) or (min, max, initial)")
        low, high, *initial = concurrency
        return ActorPoolStrategy(min_size=low, max_size=high, initial_size=initial[0] if initial else None)
    _check_count("concurrency", concurrency)
    return ActorPoolStrategy(size=concurrency) if is_class else int(concurrency)


def _check_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}={value!r}: it must be a whole number from 1")
