"""Several preprocessors, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..preprocessor import Preprocessor

if TYPE_CHECKING:
    from ..dataset import Dataset


class Chain(Preprocessor):
    """Each learns from what those before it have made.

    Example:
        >>> import skate.data
        >>> from skate.data.preprocessors import Chain, Concatenator, MinMaxScaler
        >>> chain = Chain(MinMaxScaler(["id"]), Concatenator(["id"], output_column_name="x"))
        >>> chain.fit_transform(skate.data.range(3)).take_batch()["x"].tolist()
        [[0.0], [0.5], [1.0]]
    """

    def __init__(self, *preprocessors: Preprocessor) -> None:
        self.preprocessors = preprocessors

    @property
    def _is_fittable(self) -> bool:  # type: ignore[override]
        return any(each._is_fittable for each in self.preprocessors)

    def fit_status(self) -> Preprocessor.FitStatus:
        status = self.FitStatus
        found = {each.fit_status() for each in self.preprocessors} - {status.NOT_FITTABLE}
        if not found:
            return status.NOT_FITTABLE
        return found.pop() if len(found) == 1 else status.PARTIALLY_FITTED

    def fit(self, ds: Dataset) -> Preprocessor:
        """Learn from a dataset, one after the other."""
        last = max((at for at, each in enumerate(self.preprocessors) if each._is_fittable), default=-1)
        for at, each in enumerate(self.preprocessors[: last + 1]):
            each.fit(ds)
            if at < last:
                ds = each.transform(ds)
        return self

    def transform(self, ds: Dataset, **options: Any) -> Dataset:
        """See `Preprocessor.transform`."""
        self._check_fitted()
        for each in self.preprocessors:
            ds = each.transform(ds, **options)
        return ds

    def _transform(self, batch: Any) -> Any:
        for each in self.preprocessors:
            batch = each._transform(batch)
        return batch

    def get_input_columns(self) -> list[str]:
        """Those that the chain does not make itself."""
        made: set[str] = set()
        needed: dict[str, None] = {}
        for each in self.preprocessors:
            needed.update(dict.fromkeys(name for name in each.get_input_columns() if name not in made))
            made.update(each.get_output_columns())
        return list(needed)

    def get_output_columns(self) -> list[str]:
        """Those of all in the chain."""
        return list(dict.fromkeys(name for each in self.preprocessors for name in each.get_output_columns()))

    def __repr__(self) -> str:
        return f"Chain({', '.join(map(repr, self.preprocessors))})"
