"""Categories as numbers, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ...exceptions import UnsupportedError
from .. import block as blocks
from ..aggregate import ValueCounter
from ..compute import pc
from ..expressions import Column, Expr
from ..preprocessor import Apply, Columns

if TYPE_CHECKING:
    from ..dataset import Dataset

Categories = dict[Any, int]
"""The number of each."""


def find_categories(
    dataset: Dataset, columns: Sequence[str], most: Mapping[str, int], who: str
) -> dict[str, Categories]:
    """The categories of columns, in their order, by "unique_values(column)"; if only the most frequent ones of lists are wanted,
    those, beginning with the most frequent.

    Raises:
        ValueError: a column has nulls.
    """
    each = dataset.with_columns({name: Column(name) for name in columns})
    counters = [ValueCounter(name, alias_name=name) for name in columns]
    schema = each.schema()
    lists = [name for name in columns if schema is not None and _is_list(schema.base_schema.field(name).type)]
    plain = [counter for counter in counters if counter.name not in lists]
    found = each.aggregate(*plain) if plain else {}
    for counter in counters:
        if counter.name in lists:
            items = dataset.select_columns([counter.name]).map_batches(_items, batch_format="pyarrow")
            found[counter.name] = items.aggregate(counter)[counter.name]
    made = {}
    for name in columns:
        values, counts = (list((found[name] or {}).get(part) or ()) for part in ("values", "counts"))
        if any(value is None or value != value for value in values):
            raise ValueError(f"{who}: column {name!r} has nulls: fill them before, with SimpleImputer say")
        if name in most:
            order = sorted(range(len(values)), key=lambda at: -counts[at])[: most[name]]
            values = [values[at] for at in order]
        if name not in most or name not in lists:
            values = sorted(values)
        made[f"unique_values({name})"] = {value: number for number, value in enumerate(values)}
    return made


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _items(block: pa.Table) -> pa.Table:
    """The values of lists, each as a row."""
    return pa.table(
        {name: pc.list_flatten(values) for name, values in zip(block.column_names, block.columns, strict=True)}
    )


def _numbers(categories: Categories, values: pa.Array) -> pa.Array:
    """The number of each value; null where it is none of the categories."""
    if not categories:
        return pa.nulls(len(values), pa.int64())
    known = pa.array(list(categories))
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_date(known.type) and pa.types.is_timestamp(
        values.type
    ):  # a time is none of the days, but at midnight
        kind = values.type
    else:
        kind = blocks.unify([pa.schema([("", values.type)]), pa.schema([("", known.type)])]).field(0).type
    return pc.index_in(values.cast(kind), value_set=known.cast(kind)).cast(pa.int64())


class OrdinalEncoder(Columns):
    """The number of each value among the values that there were, in their order; of the values of lists, too. Null for others.

    Example:
        >>> import skate.data
        >>> from skate.data.preprocessors import OrdinalEncoder
        >>> ds = skate.data.from_items([{"x": "b"}, {"x": "a"}, {"x": "b"}])
        >>> [row["x"] for row in OrdinalEncoder(["x"]).fit_transform(ds).take_all()]
        [1, 0, 1]
    """

    def __init__(
        self, columns: Sequence[str], *, encode_lists: bool = True, output_columns: Sequence[str] | None = None
    ) -> None:
        super().__init__(columns, output_columns)
        if not encode_lists:
            raise UnsupportedError(
                "OrdinalEncoder(encode_lists=False): make text of the lists before, with list.join()"
            )

    def _fit(self, dataset: Dataset) -> None:
        self.stats_ = find_categories(dataset, self.columns, {}, type(self).__name__)

    def _column(self, name: str) -> Expr:
        return Apply(partial(_ordinal, self.stats_[f"unique_values({name})"]), Column(name))


def _ordinal(categories: Categories, values: pa.Array) -> pa.Array:
    if not _is_list(values.type):
        return _numbers(categories, values)
    return _lists_like(values, _numbers(categories, pc.list_flatten(values)))


def _lists_like(lists: pa.Array, items: pa.Array) -> pa.Array:
    """Lists of the same lengths of other values."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    offsets = np.concatenate([[0], np.cumsum(np.asarray(lengths))])
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), items, mask=pc.is_null(lists))


class OneHotEncoder(Columns):
    """An array with a place for each category: 1 at that of the value, and 0 elsewhere; zeros for what is no category.

    Args:
        max_categories: by column, how many there are: the most frequent ones.

    Example:
        >>> import skate.data
        >>> from skate.data.preprocessors import OneHotEncoder
        >>> ds = skate.data.from_items([{"x": "b"}, {"x": "a"}, {"x": "c"}])
        >>> OneHotEncoder(["x"]).fit_transform(ds).take_batch()["x"].tolist()
        [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    """

    def __init__(
        self,
        columns: Sequence[str],
        *,
        max_categories: Mapping[str, int] | None = None,
        output_columns: Sequence[str] | None = None,
    ) -> None:
        super().__init__(columns, output_columns)
        self.max_categories = self._by_column("max_categories", max_categories)

    def _fit(self, dataset: Dataset) -> None:
        self.stats_ = find_categories(dataset, self.columns, self.max_categories, type(self).__name__)

    def _column(self, name: str) -> Expr:
        return Apply(partial(_hot, self.stats_[f"unique_values({name})"]), Column(name))


class MultiHotEncoder(OneHotEncoder):
    """An array with a place for each category: 1 at those of the values of a list, and 0 elsewhere."""


def _hot(categories: Categories, values: pa.Array) -> Any:
    rows = np.arange(len(values))
    items = values
    if _is_list(values.type):
        items = pc.list_flatten(values)
        rows = np.repeat(rows, np.asarray(pc.fill_null(pc.list_value_length(values), 0)))
    numbers = _numbers(categories, items)
    known = np.asarray(numbers.is_valid())
    found = np.zeros((len(values), max(1, len(categories))), np.uint8)
    found[rows[known], np.asarray(numbers.drop_null())] = 1
    return found


class LabelEncoder(OrdinalEncoder):
    """The number of each label among the labels that there were, in their order. Null for others.

    Args:
        label_column: the column.
        output_column: the name of the new one; None: it replaces the old one.
    """

    def __init__(self, label_column: str, *, output_column: str | None = None) -> None:
        super().__init__([label_column], output_columns=[output_column or label_column])
        self.label_column = label_column
        self.output_column = output_column or label_column

    def inverse_transform(self, ds: Dataset) -> Dataset:
        """The labels of their numbers, which are in the column that `transform` makes, as the label column."""
        self._check_fitted()
        labels = list(self.stats_[f"unique_values({self.label_column})"])
        return ds.with_column(self.label_column, Apply(partial(_labels, labels), Column(self.output_column)))


def _labels(labels: Sequence[Any], numbers: pa.Array) -> pa.Array:
    return pa.array(labels).take(numbers.cast(pa.int64()))


class Categorizer(Columns):
    """Columns of categories: pandas frames have them as `CategoricalDtype`, tables as dictionaries.

    Args:
        dtypes: by column, the `CategoricalDtype`; for others, the categories are those that there are, in their order.
    """

    def __init__(
        self,
        columns: Sequence[str],
        dtypes: Mapping[str, Any] | None = None,
        output_columns: Sequence[str] | None = None,
    ) -> None:
        super().__init__(columns, output_columns)
        self.dtypes = self._by_column("dtypes", dtypes)

    def _fit(self, dataset: Dataset) -> None:
        import pandas

        unknown = [name for name in self.columns if name not in self.dtypes]
        found = find_categories(dataset, unknown, {}, type(self).__name__) if unknown else {}
        made = {name: pandas.CategoricalDtype(list(found[f"unique_values({name})"])) for name in unknown}
        self.stats_ = {**self.dtypes, **made}

    def _column(self, name: str) -> Expr:
        dtype = self.stats_[name]
        return Apply(partial(_categories, list(dtype.categories), bool(dtype.ordered)), Column(name))


def _categories(categories: Sequence[Any], ordered: bool, values: pa.Array) -> pa.Array:
    numbers = _numbers({value: number for number, value in enumerate(categories)}, values)
    return pa.DictionaryArray.from_arrays(numbers.cast(pa.int32()), blocks.column(list(categories)), ordered=ordered)
