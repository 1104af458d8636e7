"""`GroupedData`: a dataset whose rows are taken together by keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import aggregate as functions, plan
from .batches import check_format
from .functions import UserFunction
from .strategies import spread
from .totals import check_aggregates

if TYPE_CHECKING:
    from .aggregate import AggregateFn
    from .dataset import Dataset
    from .expressions import Expr

On = str | Sequence[str] | None


class GroupedData:
    """Made by `Dataset.groupby`. The results have a row, or what a function makes, for each key, in the order of the keys.

    Example:
        >>> import skate.data
        >>> rows = [{"kind": "a", "x": 1}, {"kind": "b", "x": 2}, {"kind": "a", "x": 3}]
        >>> skate.data.from_items(rows).groupby("kind").sum("x").take_all()
        [{'kind': 'a', 'sum(x)': 4}, {'kind': 'b', 'sum(x)': 2}]
    """

    def __init__(self, dataset: Dataset, keys: tuple[str, ...], partitions: int | None) -> None:
        self._dataset = dataset
        self._keys = keys
        self._partitions = partitions

    def aggregate(self, *aggs: AggregateFn) -> Dataset:
        """Several aggregations: a column for each."""
        check_aggregates(aggs)
        self._dataset._check_columns(each.on for each in aggs if each.on is not None)
        return self._dataset._on_top(plan.Aggregate(self._dataset._node, self._keys, aggs, self._partitions))

    def count(self) -> Dataset:
        """The number of rows, as column "count()"."""
        return self.aggregate(functions.Count())

    def sum(self, on: On = None, ignore_nulls: bool = True) -> Dataset:
        """The sum of columns; None: of all that are no keys."""
        return self._on(on, lambda name: functions.Sum(name, ignore_nulls=ignore_nulls))

    def min(self, on: On = None, ignore_nulls: bool = True) -> Dataset:
        """The smallest values."""
        return self._on(on, lambda name: functions.Min(name, ignore_nulls=ignore_nulls))

    def max(self, on: On = None, ignore_nulls: bool = True) -> Dataset:
        """The largest values."""
        return self._on(on, lambda name: functions.Max(name, ignore_nulls=ignore_nulls))

    def mean(self, on: On = None, ignore_nulls: bool = True) -> Dataset:
        """The means."""
        return self._on(on, lambda name: functions.Mean(name, ignore_nulls=ignore_nulls))

    def std(self, on: On = None, ddof: int = 1, ignore_nulls: bool = True) -> Dataset:
        """The standard deviations; `ddof` is subtracted from the count."""
        return self._on(on, lambda name: functions.Std(name, ddof=ddof, ignore_nulls=ignore_nulls))

    def _on(self, on: On, make: Callable[[str], AggregateFn]) -> Dataset:
        if on is None:
            names = [name for name in self._dataset.columns() or () if name not in self._keys]
        else:
            names = [on] if isinstance(on, str) else list(on)
        return self.aggregate(*map(make, names))

    def with_column(self, column_name: str, expr: Expr, **ray_remote_args: Any) -> Dataset:
        """All rows, in the order of the keys, with a column of the values of an expression.

        Example:
            >>> import skate.data
            >>> from skate.data.expressions import col
            >>> rows = [{"kind": "b", "x": 1}, {"kind": "a", "x": 2}]
            >>> skate.data.from_items(rows).groupby("kind").with_column("twice", col("x") * 2).take_all()
            [{'kind': 'a', 'x': 2, 'twice': 4}, {'kind': 'b', 'x': 1, 'twice': 2}]
        """
        dataset = self._dataset
        if self._keys:
            dataset = dataset._on_top(plan.Repartition(dataset._node, self._partitions, None, self._keys, sort=True))
        return dataset.with_column(column_name, expr, **ray_remote_args)

    def map_groups(
        self,
        fn: Callable[..., Any],
        *,
        zero_copy_batch: bool = True,
        compute: Any = None,
        batch_format: str | None = "default",
        fn_args: Iterable[Any] | None = None,
        fn_kwargs: Mapping[str, Any] | None = None,
        fn_constructor_args: Iterable[Any] | None = None,
        fn_constructor_kwargs: Mapping[str, Any] | None = None,
        concurrency: int | tuple[int, ...] | None = None,
        ray_remote_args_fn: Any = None,
        **ray_remote_args: Any,
    ) -> Dataset:
        """Apply a function to all rows of each key, as one batch.

        Args:
            fn: given a batch, returns one of any number of rows, or yields several. A class is constructed once per process.
            zero_copy_batch: the batch may be read-only; False: it can be changed in place.
            batch_format: as in `Dataset.map_batches`.
            fn_args, fn_kwargs: further arguments of `fn`.
            fn_constructor_args, fn_constructor_kwargs: arguments for the class.
            concurrency: into so many tasks the keys are divided, at the most.
            ray_remote_args: options of the tasks, such as `num_cpus`.

        Example:
            >>> import skate.data
            >>> rows = [{"kind": "a", "x": 1}, {"kind": "b", "x": 2}, {"kind": "a", "x": 3}]
            >>> groups = skate.data.from_items(rows).groupby("kind")
            >>> groups.map_groups(lambda group: {"most": [group["x"].max()]}).take_all()
            [{'most': 3}, {'most': 2}]
        """
        function = UserFunction(
            fn, fn_args or (), fn_kwargs, fn_constructor_args or (), fn_constructor_kwargs, copies=not zero_copy_batch
        )
        found = spread(function.is_class, compute, concurrency, ray_remote_args_fn, ray_remote_args)
        limits = [self._partitions, found.concurrency if found.pool is None else found.pool.limit]
        node = plan.MapGroups(
            self._dataset._node,
            self._keys,
            function,
            check_format(batch_format),
            min((each for each in limits if each is not None), default=None),
            found.options,
        )
        return self._dataset._on_top(node)

    def __repr__(self) -> str:
        return f"GroupedData(keys={list(self._keys)})\n{plan.render(self._dataset._node)}"
