"""Values in the names of folders: `year=2021/month=3` (hive), or `2021/3` with names given for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pyarrow as pa


class PartitionStyle(StrEnum):
    """How folders say what they hold."""

    HIVE = "hive"
    DIRECTORY = "dir"


@dataclass(frozen=True)
class Partitioning:
    """How values are read from paths.

    Args:
        style: "hive": folders are `name=value`; "dir": folders are values of `field_names`, in this order.
        base_dir: what is above the folders with values: a path or its end; "" and None: for hive anything; needed for "dir".
        field_names: of "dir", one for each level; of hive, only these are taken.
        field_types: what values become, by name: int, float, bool or str; str is the default.
        filesystem: known from Ray; paths are not looked up.

    Raises:
        ValueError: "dir" without `field_names`.
    """

    style: PartitionStyle | str
    base_dir: str | None = None
    field_names: list[str] | None = None
    field_types: Mapping[str, type] | None = None
    filesystem: Any = None

    def __post_init__(self) -> None:
        if PartitionStyle(self.style) is PartitionStyle.DIRECTORY and not self.field_names:
            raise ValueError('Partitioning("dir") needs field_names: one for each level of folders')

    def parse(self, path: str) -> dict[str, Any]:
        """The values in a path.

        Raises:
            ValueError: there are not as many folders as names, or a value is not of its type.
        """
        folders = self._folders(path)
        if PartitionStyle(self.style) is PartitionStyle.HIVE:
            pairs = [part.split("=", 1) for part in folders if "=" in part]
            found = {name: value for name, value in pairs if self.field_names is None or name in self.field_names}
        else:
            assert self.field_names is not None
            if len(folders) != len(self.field_names):
                names = ", ".join(self.field_names)
                raise ValueError(f"{path}: {len(folders)} folders below {self.base_dir!r} for the fields {names}")
            found = dict(zip(self.field_names, folders, strict=True))
        return {name: self._typed(path, name, value) for name, value in found.items()}

    def _folders(self, path: str) -> list[str]:
        base = (self.base_dir or "").partition("://")[2] or self.base_dir or ""
        if base.strip("/"):
            before, _, below = f"/{path}".partition(f"/{base.strip('/')}/")
            path = below or before
        return [part for part in path.split("/")[:-1] if part]

    def _typed(self, path: str, name: str, text: str) -> Any:
        from urllib.parse import unquote

        text = unquote(text)
        if text == "__HIVE_DEFAULT_PARTITION__":
            return None
        kind = (self.field_types or {}).get(name, str)
        try:
            return text.lower() in ("true", "1") if kind is bool else kind(text)
        except ValueError:
            raise ValueError(f"{path}: partition {name}={text!r} is no {kind.__name__}") from None

    def type_of(self, name: str) -> pa.DataType:
        """The type of the column."""
        kinds = {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
        return kinds.get((self.field_types or {}).get(name, str), pa.string())


HIVE = Partitioning(PartitionStyle.HIVE)


class PathPartitionParser:
    """Reads the values of one partitioning from paths."""

    def __init__(self, partitioning: Partitioning) -> None:
        self.scheme = partitioning

    @staticmethod
    def of(
        style: PartitionStyle | str = PartitionStyle.HIVE,
        base_dir: str | None = None,
        field_names: list[str] | None = None,
        field_types: Mapping[str, type] | None = None,
        filesystem: Any = None,
    ) -> PathPartitionParser:
        """A parser, from the arguments of `Partitioning`."""
        return PathPartitionParser(Partitioning(style, base_dir, field_names, field_types, filesystem))

    def __call__(self, path: str) -> dict[str, Any]:
        """The values in a path."""
        return self.scheme.parse(path)


class PathPartitionFilter:
    """Chooses files by the values in their paths.

    Example:
        >>> from skate.data import PathPartitionFilter
        >>> recent = PathPartitionFilter.of(lambda values: int(values["year"]) > 2020)
        >>> recent(["data/year=2019/a.csv", "data/year=2021/a.csv"])
        ['data/year=2021/a.csv']
    """

    def __init__(self, path_partition_parser: PathPartitionParser, filter_fn: Callable[[dict[str, Any]], bool]) -> None:
        self.parser = path_partition_parser
        self.filter_fn = filter_fn

    @staticmethod
    def of(
        filter_fn: Callable[[dict[str, Any]], bool],
        style: PartitionStyle | str = PartitionStyle.HIVE,
        base_dir: str | None = None,
        field_names: list[str] | None = None,
        field_types: Mapping[str, type] | None = None,
        filesystem: Any = None,
    ) -> PathPartitionFilter:
        """A filter from a function of a dict of values, and the arguments of `Partitioning`."""
        parser = PathPartitionParser.of(style, base_dir, field_names, field_types, filesystem)
        return PathPartitionFilter(parser, filter_fn)

    def __call__(self, paths: list[str]) -> list[str]:
        """Those for which the function is true."""
        return [path for path in paths if self.filter_fn(self.parser(path))]
