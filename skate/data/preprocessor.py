"""`Preprocessor`: learns something from a dataset, and then changes datasets and single batches in the same way.

Those of `preprocessors` say what they do as expressions: so a dataset that one is applied to is still seen through by the
optimizer, and runs no function of a user. One of a user's own has `_fit`, and `_transform_pandas` or `_transform_numpy`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

import cloudpickle
import pyarrow as pa

from . import block as blocks, plan
from .batches import from_batch, to_batch
from .block import Block
from .expr import Expr, as_column
from .projection import NOTHING, project_block

if TYPE_CHECKING:
    from .dataset import Dataset


class PreprocessorNotFittedException(RuntimeError):
    """`transform` was called before `fit`."""


class Apply(Expr):
    """A function of the package on whole columns. It gives the same wherever it runs."""

    def __init__(self, function: Callable[..., Any], *args: Expr) -> None:
        self.function = function
        self.args = args

    def children(self) -> Sequence[Expr]:
        return self.args

    def with_children(self, children: Sequence[Expr]) -> Expr:
        return Apply(self.function, *children)

    def evaluate(self, block: Block) -> Any:
        values = [blocks.column(as_column(arg.evaluate(block), block.num_rows)) for arg in self.args]
        return pa.chunked_array([blocks.column(self.function(*values))])

    def __str__(self) -> str:
        function = self.function.func if isinstance(self.function, partial) else self.function
        return f"{function.__name__.lstrip('_')}({', '.join(map(str, self.args))})"


class Preprocessor:
    """Learns from a dataset (`fit`), and changes datasets (`transform`) and batches (`transform_batch`)."""

    _is_fittable = True
    """Whether there is something to learn."""
    _looks_at_names = False
    """Whether what it makes depends on which columns there are. To know that, a part of a dataset may have to be computed."""

    class FitStatus(StrEnum):
        """Whether it has learnt what it needs."""

        NOT_FITTABLE = "NOT_FITTABLE"
        NOT_FITTED = "NOT_FITTED"
        PARTIALLY_FITTED = "PARTIALLY_FITTED"
        FITTED = "FITTED"

    # ------------------------------------------------------------ for subclasses

    def _fit(self, dataset: Dataset) -> Any:
        """Learn, and keep it in `stats_`."""
        raise NotImplementedError(f"{type(self).__name__} needs a method _fit(dataset), or _is_fittable = False")

    def _made(self, names: Sequence[str]) -> tuple[Mapping[str, Expr], Sequence[str]] | None:
        """The columns that are made of those of these names, and those that are left out; None: there are `_transform_...`."""
        return None

    def get_input_columns(self) -> list[str]:
        """The columns that it reads."""
        return list(getattr(self, "columns", ()))

    def get_output_columns(self) -> list[str]:
        """The columns that it makes."""
        return list(getattr(self, "output_columns", None) or self.get_input_columns())

    # ------------------------------------------------------------ for users

    def fit(self, ds: Dataset) -> Preprocessor:
        """Learn from a dataset; what was learnt before is forgotten."""
        if self._is_fittable:
            self._fit(ds)
            self._fitted = True
        return self

    def fit_status(self) -> FitStatus:
        """Whether it has learnt what it needs."""
        if not self._is_fittable:
            return self.FitStatus.NOT_FITTABLE
        return self.FitStatus.FITTED if self.has_stats() else self.FitStatus.NOT_FITTED

    def has_stats(self) -> bool:
        """Whether it has learnt something."""
        return bool(getattr(self, "_fitted", False) or getattr(self, "stats_", None))

    def transform(
        self,
        ds: Dataset,
        *,
        batch_size: int | None = None,
        num_cpus: float | None = None,
        memory: float | None = None,
        concurrency: int | None = None,
    ) -> Dataset:
        """A dataset that is changed when it is carried out.

        Args:
            batch_size, num_cpus, memory, concurrency: of `map_batches`. If none is given, and it is none of a user's own, it is
                computed together with what is around it.

        Raises:
            PreprocessorNotFittedException: `fit` has to come first.
        """
        self._check_fitted()
        options = {"num_cpus": num_cpus, "memory": memory, "concurrency": concurrency, "batch_size": batch_size}
        given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        names = ds.columns() or () if self._looks_at_names else ()
        made = self._made(names)
        if made is None or given:
            batch_format = "pyarrow" if made is not None else self.preferred_batch_format()
            return ds.map_batches(self._transform, batch_format=batch_format, **given)
        columns, dropped = made
        found = ds.with_columns(columns) if columns else ds
        return found.drop_columns(list(dropped)) if dropped else found

    def fit_transform(
        self,
        ds: Dataset,
        *,
        transform_num_cpus: float | None = None,
        transform_memory: float | None = None,
        transform_batch_size: int | None = None,
        transform_concurrency: int | None = None,
    ) -> Dataset:
        """Learn from a dataset, and change it."""
        return self.fit(ds).transform(
            ds,
            batch_size=transform_batch_size,
            num_cpus=transform_num_cpus,
            memory=transform_memory,
            concurrency=transform_concurrency,
        )

    def transform_batch(self, data: Any) -> Any:
        """Change one batch: a pandas or Polars frame, a dict of arrays, or an Arrow table, which is what comes of it, too."""
        self._check_fitted()
        return self._transform(data)

    def _transform(self, batch: Any) -> Any:
        kind = _format_of(batch)
        block = from_batch(batch)
        made = self._made(block.column_names) if self._is_expressions() else None
        if made is not None:
            columns, dropped = made
            block = project_block(plan.Project(NOTHING, tuple(columns.items()), keep=True), block)
            return to_batch(block.drop_columns(list(dropped)), kind)
        mine = self.preferred_batch_format()
        given = batch if kind == mine else to_batch(block, mine)
        found = self._transform_pandas(given) if mine == "pandas" else self._transform_numpy(given)  # type: ignore[attr-defined]
        return found if kind == mine else to_batch(from_batch(found), kind)

    def _is_expressions(self) -> bool:
        return type(self)._made is not Preprocessor._made

    def _check_fitted(self) -> None:
        if self.fit_status() in (self.FitStatus.NOT_FITTED, self.FitStatus.PARTIALLY_FITTED):
            raise PreprocessorNotFittedException(f"{type(self).__name__}: call fit() before transform()")

    @classmethod
    def preferred_batch_format(cls) -> str:
        """What a subclass's own method is given: "pandas" or "numpy"."""
        if hasattr(cls, "_transform_pandas"):
            return "pandas"
        if hasattr(cls, "_transform_numpy"):
            return "numpy"
        raise NotImplementedError(f"{cls.__name__} needs a method _transform_pandas(frame) or _transform_numpy(batch)")

    def serialize(self) -> str:
        """As text, with what it has learnt."""
        return base64.b64encode(cloudpickle.dumps(self)).decode()

    @staticmethod
    def deserialize(serialized: str) -> Preprocessor:
        """From that text, which is a pickle: opening it runs code of whoever made it."""
        found = cloudpickle.loads(base64.b64decode(serialized))
        if not isinstance(found, Preprocessor):
            raise TypeError(f"this is a {type(found).__name__}, not a Preprocessor")
        return found

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.get_input_columns())})"


class Columns(Preprocessor):
    """One that makes one column of each.

    Args:
        columns: the columns.
        output_columns: the names of the new ones; None: they replace the old ones.
    """

    def __init__(self, columns: Sequence[str], output_columns: Sequence[str] | None = None) -> None:
        if isinstance(columns, str) or not columns:
            raise ValueError(f"{type(self).__name__}: columns must be a list of names, not {columns!r}")
        self.columns = list(columns)
        self.output_columns = list(output_columns) if output_columns is not None else list(columns)
        if len(self.output_columns) != len(self.columns):
            raise ValueError(
                f"{type(self).__name__}: {len(self.output_columns)} output_columns for {len(self.columns)} columns"
            )
        self.stats_: dict[str, Any] = {}

    def _by_column(self, argument: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
        """An argument that says something of some columns."""
        wrong = sorted(set(given or ()) - set(self.columns))
        if wrong:
            raise ValueError(f"{argument}: {', '.join(wrong)} are none of the columns")
        return dict(given or {})

    def _column(self, name: str) -> Expr:
        """What becomes of a column."""
        raise NotImplementedError

    def _made(self, names: Sequence[str]) -> tuple[Mapping[str, Expr], Sequence[str]]:
        made = {new: self._column(old) for old, new in zip(self.columns, self.output_columns, strict=True)}
        return made, ()


def _format_of(batch: Any) -> str:
    if isinstance(batch, pa.Table):
        return "pyarrow"
    library = type(batch).__module__.partition(".")[0]
    return library if library in ("pandas", "polars") else "numpy"
