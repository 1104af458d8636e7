"""What goes wrong with datasets, beside what users' functions raise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from ..api.arity import closest

_DELIMITER = " Say parse_options=pyarrow.csv.ParseOptions(delimiter=...)."
INSTEAD = {
    ("read_csv", "sep"): _DELIMITER,
    ("read_csv", "delimiter"): _DELIMITER,
    ("read_csv", "dtype"): " Say convert_options=pyarrow.csv.ConvertOptions(column_types={...}).",
    ("read_csv", "usecols"): " Follow it with select_columns(...): what is not needed is not read.",
    ("read_csv", "columns"): " Follow it with select_columns(...): what is not needed is not read.",
}
"""What functions of pandas and Arrow call it, and what to say here."""


class ColumnNotFoundError(KeyError):
    """A column was named that is not there; the message has those that are."""

    def __str__(self) -> str:
        return str(self.args[0])


def no_column(name: str, existing: Iterable[str]) -> ColumnNotFoundError:
    """The error for a column that is not there."""
    names = list(existing)
    close = closest(name, names)
    hint = f" Did you mean {close!r}?" if close else ""
    return ColumnNotFoundError(
        f"there is no column {name!r}.{hint} The columns are {', '.join(map(repr, names)) or 'none'}."
    )


def check_names(names: Sequence[str], where: str = "", hint: str = "give them different names") -> None:
    """Whether columns have different names: a row has one value for each.

    Raises:
        ValueError: some have the same.
    """
    if len(set(names)) < len(names):
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        raise ValueError(f"{where}several columns are called {', '.join(map(repr, twice))}: {hint}")


def check_arguments(function: str, given: Iterable[str], known: Collection[str]) -> None:
    """Whether a function has all of these arguments.

    Raises:
        TypeError: it does not have one; the message has the name that is most like it.
    """
    for name in given:
        if name not in known:
            close = closest(name, sorted(known))
            hint = f" Did you mean {close!r}?" if close else ""
            hint = hint or INSTEAD.get((function, name), "")
            raise TypeError(f"{function}() has no argument {name!r}.{hint}")
