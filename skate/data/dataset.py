"""`Dataset`: what users hold. The methods here add to a plan; those of its bases carry it out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from . import plan
from .adding import Adds
from .base import names_of, whole
from .batches import check_format
from .expressions import Column, Expr, check_expr
from .functions import UserFunction
from .grouped_data import GroupedData
from .join import HOW
from .parse import parse
from .splits import Splitting
from .strategies import spread
from .totals import Totals
from .writing import Writing


class MixStoppingCondition(StrEnum):
    """When `Dataset.mix` ends."""

    STOP_ON_SHORTEST = "stop_on_shortest"
    """As soon as one dataset has no more rows."""
    STOP_ON_LONGEST_DROP = "stop_on_longest_drop"
    """When all have been given; those that have no more rows are left out."""


class Dataset(Writing, Splitting, Totals):
    """Rows in blocks, read and computed when they are needed.

    Made by the functions of `skate.data`, such as `range` and `read_csv`, and by the methods of other datasets. It is never
    changed: every method returns a new one.

    Example:
        >>> import skate.data
        >>> skate.data.range(1000).filter(lambda row: row["id"] % 2 == 0).take(2)
        [{'id': 0}, {'id': 2}]
    """

    # ------------------------------------------------------------ users' functions

    def map_batches(
        self,
        fn: Callable[..., Any],
        *,
        batch_size: int | str | None = None,
        compute: Any = None,
        batch_format: str | None = "default",
        zero_copy_batch: bool = True,
        fn_args: Iterable[Any] | None = None,
        fn_kwargs: Mapping[str, Any] | None = None,
        fn_constructor_args: Iterable[Any] | None = None,
        fn_constructor_kwargs: Mapping[str, Any] | None = None,
        concurrency: int | tuple[int, ...] | None = None,
        udf_modifying_row_count: bool = True,
        ray_remote_args_fn: Any = None,
        **ray_remote_args: Any,
    ) -> Dataset:
        """Apply a function to batches of rows.

        Args:
            fn: given a batch, returns one, or yields several. It may be an `async def` one, or a class: that is constructed once
                for each actor of a pool, or, if nothing is said about a pool, once for each process that runs tasks.
            batch_size: rows in each, but for the last; None or "auto": a block is a batch.
            compute: `ActorPoolStrategy` or `TaskPoolStrategy`.
            batch_format: "numpy" or "default" (a dict of arrays), "pandas", "pyarrow" (or None) or "polars".
            zero_copy_batch: batches may be read-only views of blocks; False: they can be changed in place.
            fn_args, fn_kwargs: further arguments of `fn`, after the batch.
            fn_constructor_args, fn_constructor_kwargs: arguments for the class.
            concurrency: for a class the number of actors, or (min, max) or (min, max, initial) of them; for a function, how many
                tasks run at a time.
            udf_modifying_row_count: False: `fn` makes one row of each, and looks at no other. Then a limit that follows is
                applied before it.
            ray_remote_args: options of the tasks or actors: num_cpus, num_gpus, memory, resources, label_selector and so on.

        Raises:
            ValueError, TypeError: an argument is wrong.
            UnsupportedError: skate does not do what an argument asks for.

        Example:
            >>> import skate.data
            >>> skate.data.range(4).map_batches(lambda batch: {"twice": batch["id"] * 2}).take_all()
            [{'twice': 0}, {'twice': 2}, {'twice': 4}, {'twice': 6}]
        """
        size = None if batch_size in (None, "auto", "default") else whole("batch_size", batch_size, 1)
        function = UserFunction(
            fn, fn_args or (), fn_kwargs, fn_constructor_args or (), fn_constructor_kwargs, copies=not zero_copy_batch
        )
        found = spread(function.is_class, compute, concurrency, ray_remote_args_fn, ray_remote_args)
        node = plan.MapFunction(
            self._node,
            "map_batches",
            function,
            size,
            check_format(batch_format),
            found.pool,
            found.concurrency,
            found.options,
            row_by_row=not udf_modifying_row_count,
        )
        return self._on_top(node)

    def map(self, fn: Callable[..., Mapping[str, Any]], **options: Any) -> Dataset:
        """Apply a function to each row.

        Args:
            fn: given a row, a dict, returns another.
            options: `compute`, `concurrency`, `fn_args`, `fn_kwargs`, `fn_constructor_args`, `fn_constructor_kwargs` and the
                options of tasks, as in `map_batches`.
        """
        return self._each("map", fn, **options)

    def flat_map(self, fn: Callable[..., Iterable[Mapping[str, Any]]], **options: Any) -> Dataset:
        """Apply a function that makes any number of rows of each. `options` are those of `map`.

        Example:
            >>> import skate.data
            >>> skate.data.range(2).flat_map(lambda row: [row, {"id": -row["id"]}]).take_all()
            [{'id': 0}, {'id': 0}, {'id': 1}, {'id': -1}]
        """
        return self._each("flat_map", fn, **options)

    def filter(
        self, fn: Callable[..., bool] | Expr | None = None, expr: Expr | str | None = None, **options: Any
    ) -> Dataset:
        """Keep some rows.

        Args:
            fn: given a row, returns whether it stays.
            expr: an expression, or the text of one, in place of `fn`. It is much faster, and may be applied where rows are read.
            options: those of `map`, for `fn`.

        Example:
            >>> import skate.data
            >>> skate.data.range(10).filter(expr="id > 2 and id < 5").take_all()
            [{'id': 3}, {'id': 4}]
        """
        if isinstance(fn, Expr) and expr is None:
            fn, expr = None, fn
        if (fn is None) == (expr is None):
            raise ValueError("filter: give fn or expr")
        if fn is not None:
            assert not isinstance(fn, Expr)
            return self._each("filter", fn, **options)
        if any(value is not None for value in options.values()):
            raise ValueError(f"filter: {', '.join(options)} is for fn, not for expr")
        predicate = parse(expr) if isinstance(expr, str) else check_expr("expr", expr)
        self._check_columns(sorted(predicate.columns()))
        return self._on_top(plan.FilterExpr(self._node, predicate))

    def _each(
        self,
        kind: str,
        fn: Callable[..., Any],
        *,
        compute: Any = None,
        fn_args: Iterable[Any] | None = None,
        fn_kwargs: Mapping[str, Any] | None = None,
        fn_constructor_args: Iterable[Any] | None = None,
        fn_constructor_kwargs: Mapping[str, Any] | None = None,
        concurrency: int | tuple[int, ...] | None = None,
        ray_remote_args_fn: Any = None,
        **ray_remote_args: Any,
    ) -> Dataset:
        function = UserFunction(fn, fn_args or (), fn_kwargs, fn_constructor_args or (), fn_constructor_kwargs)
        found = spread(function.is_class, compute, concurrency, ray_remote_args_fn, ray_remote_args)
        return self._on_top(
            plan.MapFunction(
                self._node,
                kind,
                function,
                pool=found.pool,
                concurrency=found.concurrency,
                options=found.options,
                row_by_row=kind == "map",
            )
        )

    # ------------------------------------------------------------ columns

    def add_column(
        self, col: str, fn: Callable[..., Any], *, batch_format: str | None = "pandas", **options: Any
    ) -> Dataset:
        """Add a column, or replace one, with what a function makes of each batch.

        Args:
            col: the name of the column.
            fn: given a batch, returns an array, a series, or one value for all rows.
            batch_format: as in `map_batches`, from where `options` are, too.
        """
        names_of("add_column", col)
        if not callable(fn):
            raise TypeError(f"add_column: fn must be a function, not {type(fn).__name__}")
        return self.map_batches(Adds(col, fn), batch_format=batch_format, udf_modifying_row_count=True, **options)

    def with_column(self, column_name: str, expr: Expr, **ray_remote_args: Any) -> Dataset:
        """Add a column, or replace one, with the values of an expression.

        Example:
            >>> import skate.data
            >>> from skate.data.expressions import col
            >>> skate.data.range(2).with_column("next", col("id") + 1).take_all()
            [{'id': 0, 'next': 1}, {'id': 1, 'next': 2}]
        """
        return self.with_columns({column_name: expr}, **ray_remote_args)

    def with_columns(self, exprs: Mapping[str, Expr], **ray_remote_args: Any) -> Dataset:
        """Add or replace several columns. Each expression sees the columns as they were before."""
        self._plain("with_columns", ray_remote_args)
        made = tuple((name, check_expr(name, expr)) for name, expr in exprs.items())
        names_of("with_columns", [name for name, _ in made])
        self._check_columns(sorted({name for _, expr in made for name in expr.columns()}))
        return self._on_top(plan.Project(self._node, made, keep=True))

    def select_columns(self, cols: str | Sequence[str], **ray_remote_args: Any) -> Dataset:
        """Only some columns, in the order in which they are named."""
        self._plain("select_columns", ray_remote_args)
        names = names_of("select_columns", cols)
        self._check_columns(names)
        return self._on_top(plan.Project(self._node, tuple((name, Column(name)) for name in names)))

    def drop_columns(self, cols: str | Sequence[str], **ray_remote_args: Any) -> Dataset:
        """All columns but some."""
        self._plain("drop_columns", ray_remote_args)
        names = names_of("drop_columns", cols)
        self._check_columns(names)
        return self._on_top(plan.Project(self._node, (), keep=True, drop=names))

    def rename_columns(self, names: Sequence[str] | Mapping[str, str], **ray_remote_args: Any) -> Dataset:
        """Give columns other names.

        Args:
            names: from old names to new ones; or the new names of all columns, in order.
        """
        self._plain("rename_columns", ray_remote_args)
        if not isinstance(names, Mapping):
            old = self.columns() or []
            if len(old) != len(names):
                raise ValueError(f"rename_columns: {len(names)} names for {len(old)} columns: {', '.join(old)}")
            names = dict(zip(old, names, strict=True))
        self._check_columns(names_of("rename_columns", list(names)))
        known = self.columns(fetch_if_missing=False) or list(names)
        names_of("rename_columns", [names.get(name, name) for name in known])
        return self._on_top(plan.Project(self._node, (), keep=True, rename=tuple(names.items())))

    def _plain(self, what: str, options: Mapping[str, Any]) -> None:
        """Check that nothing is said about tasks: operations on columns are part of those around them."""
        found = spread(False, options.get("compute"), options.get("concurrency"), None, _rest(options))
        if found != (None, None, {}):
            raise ValueError(f"{what} runs no tasks of its own, so it takes no {', '.join(options)}")

    # ------------------------------------------------------------ rows and blocks

    def limit(self, limit: int) -> Dataset:
        """The first rows. Nothing is read beyond what they need."""
        return self._on_top(plan.Limit(self._node, whole("limit", limit)))

    def repartition(
        self,
        num_blocks: int | None = None,
        target_num_rows_per_block: int | None = None,
        *,
        strict: bool = False,
        shuffle: bool = False,
        keys: str | Sequence[str] | None = None,
        sort: bool = False,
    ) -> Dataset:
        """The same rows in other blocks, all of about the same size.

        Args:
            num_blocks: so many blocks.
            target_num_rows_per_block: or, so many rows in each block but for the last.
            strict: blocks have exactly so many rows; they always have here.
            shuffle: rows may go anywhere; here, they keep their order whatever is said.
            keys: rows with the same values in these columns go to the same block.
            sort: with `keys`, the rows of a block are in their order.

        Raises:
            ValueError: not exactly one of the first two is given, or others do not go together.
        """
        if (num_blocks is None) == (target_num_rows_per_block is None):
            raise ValueError("repartition: give num_blocks or target_num_rows_per_block")
        by = names_of("keys", keys)
        if target_num_rows_per_block is not None:
            if by or shuffle or sort:
                raise ValueError("repartition: target_num_rows_per_block goes with no other argument but strict")
            rows = whole("target_num_rows_per_block", target_num_rows_per_block, 1)
            return self._on_top(plan.Repartition(self._node, None, rows))
        if sort and not by:
            raise ValueError("repartition: sort=True needs keys")
        self._check_columns(by)
        return self._on_top(plan.Repartition(self._node, whole("num_blocks", num_blocks, 1), None, by, sort))

    def random_shuffle(
        self, *, seed: int | None = None, num_blocks: int | None = None, **ray_remote_args: Any
    ) -> Dataset:
        """The rows in random order; the same for the same seed and the same blocks."""
        self._plain("random_shuffle", ray_remote_args)
        if num_blocks is not None:
            whole("num_blocks", num_blocks, 1)
        return self._on_top(plan.Shuffle(self._node, _seed(seed), num_blocks))

    def randomize_block_order(self, *, seed: int | None = None) -> Dataset:
        """The blocks in random order: cheap, and enough for many purposes."""
        return self._on_top(plan.ShuffleBlocks(self._node, _seed(seed)))

    def random_sample(self, fraction: float, *, seed: int | None = None) -> Dataset:
        """Each row with a probability, so that about this part of all is left.

        Args:
            fraction: from 0 to 1.
            seed: the same rows for the same seed and blocks; None: others each time.
        """
        if not 0 <= fraction <= 1:
            raise ValueError(f"fraction={fraction!r}: it must lie between 0 and 1")
        return self._on_top(plan.Sample(self._node, fraction, _seed(seed)))

    def sort(
        self,
        key: str | Sequence[str],
        descending: bool | Sequence[bool] = False,
        boundaries: Sequence[Any] | None = None,
    ) -> Dataset:
        """The rows in the order of one or more columns; nulls come last, equal rows stay as they were.

        Args:
            key: one column, or several: rows that are equal in the first are in the order of the second, and so on.
            descending: for all, or for each.
            boundaries: values of the first column, in order, with which the blocks but for the first one begin; None: they follow
                from a sample of the data.

        Raises:
            UnsupportedError: `boundaries` with a first column that is descending.

        Example:
            >>> import skate.data
            >>> blocks = skate.data.range(10).sort("id", boundaries=[3, 8]).materialize().to_arrow_refs()
            >>> [skate.get(block).num_rows for block in blocks]
            [3, 5, 2]
        """
        keys = names_of("sort", key)
        if not keys:
            raise ValueError("sort: name at least one column")
        self._check_columns(keys)
        down = (descending,) * len(keys) if isinstance(descending, bool) else tuple(descending)
        if len(down) != len(keys):
            raise ValueError(f"sort: {len(down)} values of descending for {len(keys)} columns")
        limits = () if boundaries is None else tuple(boundaries)
        if list(limits) != sorted(limits):
            raise ValueError(f"sort: boundaries={list(limits)!r} must be in order")
        if limits and down[0]:
            _unsupported(
                "sort(boundaries=..., descending=True): sort ascending, and read the blocks from the last to the first"
            )
        return self._on_top(plan.Sort(self._node, keys, down, limits))

    def groupby(self, key: str | Sequence[str] | None, num_partitions: int | None = None) -> GroupedData:
        """Take rows with the same values in some columns together.

        Args:
            key: one column or several; None: all rows are one group.
            num_partitions: into so many parts the keys are divided, each of which is one task.
        """
        keys = names_of("groupby", key)
        self._check_columns(keys)
        if num_partitions is not None:
            whole("num_partitions", num_partitions, 1)
        return GroupedData(self, keys, num_partitions)

    # ------------------------------------------------------------ several datasets

    def join(
        self,
        ds: Dataset,
        join_type: str,
        num_partitions: int | None = None,
        on: str | Sequence[str] = ("id",),
        right_on: str | Sequence[str] | None = None,
        left_suffix: str | None = None,
        right_suffix: str | None = None,
        *,
        partition_size_hint: int | None = None,
        aggregator_ray_remote_args: Mapping[str, Any] | None = None,
        validate_schemas: bool = False,
    ) -> Dataset:
        """Rows of this and another dataset that have the same keys, side by side.

        Args:
            join_type: inner, left_outer, right_outer, full_outer, left_semi, right_semi, left_anti or right_anti.
            num_partitions: into so many parts the keys are divided; None: it follows from the sizes.
            on: the keys; `right_on` if they are called otherwise on the right.
            left_suffix, right_suffix: added to other columns that both have.
            validate_schemas: check the types of the keys before anything runs, even if rows must be read for that.

        Raises:
            ColumnNotFoundError: a key is not there.
            TypeError: keys have types that cannot be compared.
            ValueError: an argument is wrong, or both sides have other columns of the same name.
            UnsupportedError: one of the other arguments is given.
        """
        if join_type not in HOW:
            raise ValueError(f"join_type={join_type!r}: it must be one of {', '.join(HOW)}")
        if partition_size_hint is not None or aggregator_ray_remote_args:
            _unsupported("join(partition_size_hint=..., aggregator_ray_remote_args=...): a join has no actors")
        left = names_of("on", on)
        right = names_of("right_on", right_on) or left
        if not left or len(left) != len(right):
            raise ValueError(f"join: {len(left)} keys on the left, {len(right)} on the right")
        self._check_columns(left)
        _dataset("join", ds)._check_columns(right)
        if validate_schemas:
            self._check_types(ds, left, right)
        if num_partitions is not None:
            whole("num_partitions", num_partitions, 1)
        suffixes = left_suffix or "", right_suffix or ""
        made = self._on_top(plan.Join(self._node, ds._node, join_type, left, right, *suffixes, num_partitions))
        made._known_columns()  # raises if keys have other types, or columns the same name, and that is known by now
        return made

    def _check_types(self, other: Dataset, left: Sequence[str], right: Sequence[str]) -> None:
        mine, theirs = self.schema(), other.schema()
        for one, two in zip(left, right, strict=True) if mine is not None and theirs is not None else ():
            assert mine is not None and theirs is not None
            kinds = mine.base_schema.field(one).type, theirs.base_schema.field(two).type
            if not kinds[0].equals(kinds[1]):
                raise ValueError(f"join: {one!r} is {kinds[0]} on the left, {two!r} is {kinds[1]} on the right")

    def union(self, *other: Dataset) -> Dataset:
        """The rows of this and then of the others."""
        return self._on_top(plan.Union((self._node, *(_dataset("union", each)._node for each in other))))

    def mix(
        self,
        *other: Dataset,
        weights: Sequence[float] | None = None,
        stopping_condition: MixStoppingCondition = MixStoppingCondition.STOP_ON_LONGEST_DROP,
    ) -> Dataset:
        """The rows of this and of the others in turns, each row in its place, however they lie in blocks.

        Args:
            weights: how many rows of each go on, in proportion; None: as many of each.
            stopping_condition: when it ends.

        Raises:
            ValueError: there are not as many weights as datasets, or one is not above 0.

        Example:
            >>> import skate.data
            >>> tens = skate.data.from_items([{"id": 10}, {"id": 20}])
            >>> [row["id"] for row in skate.data.range(5).mix(tens, weights=[2, 1]).take_all()]
            [0, 1, 10, 2, 3, 20, 4]
        """
        parts = (self._node, *(_dataset("mix", each)._node for each in other))
        shares = (1.0,) * len(parts) if weights is None else tuple(float(each) for each in weights)
        if len(shares) != len(parts):
            raise ValueError(f"mix: {len(shares)} weights for {len(parts)} datasets")
        if not all(0 < each < float("inf") for each in shares):
            raise ValueError(f"mix: weights={list(shares)}: each must be above 0")
        shortest = MixStoppingCondition(stopping_condition) is MixStoppingCondition.STOP_ON_SHORTEST
        return self._on_top(plan.Mix(parts, shares, shortest))

    def zip(self, *other: Dataset) -> Dataset:
        """The columns of this and of the others side by side. All must have the same number of rows.

        A column whose name is taken gets a number: "id_1".
        """
        node = self._node
        for each in other:
            node = plan.Zip(node, _dataset("zip", each)._node)
        return self._on_top(node)


class MaterializedDataset(Dataset):
    """A dataset whose blocks are there: nothing has to be computed for them again."""


def _rest(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in ("compute", "concurrency")}


def _seed(seed: Any) -> int | None:
    return None if seed is None else whole("seed", seed)


def _dataset(what: str, value: Any) -> Dataset:
    if not isinstance(value, Dataset):
        raise TypeError(f"{what}: {type(value).__name__} is no Dataset")
    return value


def _unsupported(text: str) -> None:
    from ..exceptions import UnsupportedError

    raise UnsupportedError(text)
