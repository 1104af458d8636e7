"""What a dataset is to be: a tree of logical operators. It says what, not how; `lower.py` turns it into operators that run.

Nodes are never changed: an operation on a dataset makes a new node on top of the old ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from .block import Block, BlockMeta
from .functions import UserFunction

if TYPE_CHECKING:
    from .aggregate import AggregateFn
    from .expressions import Expr
    from .sinks.sink import Sink
    from .sources.source import Source


class ActorPool(Protocol):
    """How many actors run a callable class."""

    min_size: int
    max_size: int


@dataclass(frozen=True, eq=False)
class Node:
    """One logical operator."""

    @property
    def inputs(self) -> list[Node]:
        """The nodes that it gets its rows from."""
        return [value for each in fields(self) for value in _nodes(getattr(self, each.name))]

    def with_inputs(self, inputs: Sequence[Node]) -> Node:
        """The same operator on others."""
        rest = iter(inputs)
        changes: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, Node):
                changes[each.name] = next(rest)
            elif isinstance(value, tuple) and value and isinstance(value[0], Node):
                changes[each.name] = tuple(next(rest) for _ in value)
        return replace(self, **changes) if changes else self

    @property
    def label(self) -> str:
        """What it is called in plans, progress bars and errors."""
        return type(self).__name__

    @property
    def detail(self) -> str:
        """What plans show of it beside that."""
        return ""


def _nodes(value: Any) -> list[Node]:
    if isinstance(value, Node):
        return [value]
    return [each for each in value if isinstance(each, Node)] if isinstance(value, tuple) else []


@dataclass(frozen=True, eq=False)
class Read(Node):
    """Rows from outside.

    Args:
        source: where from; it knows how to read only some columns or rows.
        blocks: into how many blocks, at the least; None: as the source likes.
        options: of the tasks that read.
    """

    source: Source
    blocks: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    concurrency: int | None = None

    @property
    def label(self) -> str:
        return f"Read{self.source.name}"

    @property
    def detail(self) -> str:
        left_out = self.source.left_out()
        return f"({', '.join(left_out)})" if left_out else ""


@dataclass(frozen=True, eq=False)
class Blocks(Node):
    """Blocks that exist: tables here, or references to them."""

    blocks: Sequence[tuple[Any, BlockMeta]]
    name: str = "Input"

    @property
    def label(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class MapFunction(Node):
    """A user's function over rows or batches. `kind` is "map", "flat_map", "filter" or "map_batches"."""

    input: Node
    kind: str
    function: UserFunction
    batch_size: int | None = None
    batch_format: str = "numpy"
    pool: ActorPool | None = None
    concurrency: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    row_by_row: bool = False
    """It makes one row of each, and needs to see no other for that."""

    @property
    def label(self) -> str:
        kind = {"map": "Map", "flat_map": "FlatMap", "filter": "Filter", "map_batches": "MapBatches"}[self.kind]
        return f"{kind}({self.function.name})"


@dataclass(frozen=True, eq=False)
class Project(Node):
    """Columns by name: each an expression over the columns below."""

    input: Node
    columns: tuple[tuple[str, Expr], ...]
    keep: bool = False
    """All columns below stay; `columns` come in addition, or replace those of the same name."""
    drop: tuple[str, ...] = ()
    """With `keep`: but for these."""
    rename: tuple[tuple[str, str], ...] = ()
    """With `keep`: and these have other names."""


@dataclass(frozen=True, eq=False)
class FilterExpr(Node):
    """Rows for which an expression is true."""

    input: Node
    predicate: Expr

    @property
    def label(self) -> str:
        return f"Filter({self.predicate})"


@dataclass(frozen=True, eq=False)
class Sample(Node):
    """Each row with a probability."""

    input: Node
    fraction: float
    seed: int | None = None


@dataclass(frozen=True, eq=False)
class Limit(Node):
    """The first rows."""

    input: Node
    rows: int

    @property
    def label(self) -> str:
        return f"Limit({self.rows})"


@dataclass(frozen=True, eq=False)
class Repartition(Node):
    """The same rows in so many blocks of about the same size, or in blocks of so many rows; or with those of a key together."""

    input: Node
    blocks: int | None
    rows: int | None = None
    keys: tuple[str, ...] = ()
    sort: bool = False
    """The rows of each block are in the order of the keys."""


@dataclass(frozen=True, eq=False)
class Shuffle(Node):
    """The rows in random order."""

    input: Node
    seed: int | None = None
    blocks: int | None = None


@dataclass(frozen=True, eq=False)
class ShuffleBlocks(Node):
    """The blocks in random order."""

    input: Node
    seed: int | None = None


@dataclass(frozen=True, eq=False)
class Sort(Node):
    """The rows in order."""

    input: Node
    keys: tuple[str, ...]
    descending: tuple[bool, ...]
    boundaries: tuple[Any, ...] = ()
    """The blocks but for the first one begin with these values of the first key."""

    @property
    def label(self) -> str:
        return f"Sort({', '.join(self.keys)})"


@dataclass(frozen=True, eq=False)
class TopRows(Node):
    """At most so many rows of each block: those that come first in an order. Made by the optimizer below a sort with a limit."""

    input: Node
    keys: tuple[str, ...]
    descending: tuple[bool, ...]
    rows: int

    @property
    def label(self) -> str:
        return f"TopRows({', '.join(self.keys)}, {self.rows})"


@dataclass(frozen=True, eq=False)
class Aggregate(Node):
    """A row for each key, or a single one without keys."""

    input: Node
    keys: tuple[str, ...]
    aggregates: tuple[AggregateFn, ...]
    partitions: int | None = None

    @property
    def label(self) -> str:
        return f"Aggregate({', '.join(self.keys)})"


@dataclass(frozen=True, eq=False)
class MapGroups(Node):
    """A user's function over all rows of each key."""

    input: Node
    keys: tuple[str, ...]
    function: UserFunction
    batch_format: str = "numpy"
    partitions: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"MapGroups({self.function.name})"


@dataclass(frozen=True, eq=False)
class Join(Node):
    """Rows of two datasets with the same keys, side by side."""

    left: Node
    right: Node
    how: str
    left_keys: tuple[str, ...]
    right_keys: tuple[str, ...]
    left_suffix: str = ""
    right_suffix: str = ""
    partitions: int | None = None


@dataclass(frozen=True, eq=False)
class Union(Node):
    """The rows of several, one after the other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Mix(Node):
    """The rows of several in turns, so many of each as their weights say, until one ends or all have."""

    parts: tuple[Node, ...]
    weights: tuple[float, ...]
    until_shortest: bool


@dataclass(frozen=True, eq=False)
class Draw(Node):
    """Rows that are drawn by chance and their numbers among all rows, or all the others."""

    input: Node
    share: float
    seed: int
    drawn: bool


@dataclass(frozen=True, eq=False)
class Zip(Node):
    """The columns of two side by side."""

    left: Node
    right: Node


@dataclass(frozen=True, eq=False)
class Write(Node):
    """The rows go outside. What comes out are rows that say what was written."""

    input: Node
    sink: Sink
    options: Mapping[str, Any] = field(default_factory=dict)
    concurrency: int | None = None

    @property
    def label(self) -> str:
        return f"Write{self.sink.name}"


@dataclass(frozen=True, eq=False)
class Polars(Node):
    """Operators that Polars carries out together, but for those below `Given`. Made when a plan is about to be carried out."""

    input: Node


@dataclass(frozen=True, eq=False)
class Given(Node):
    """Rows that come to Polars from what we carry out."""

    input: Node


def walk(node: Node) -> list[Node]:
    """All nodes, inputs first."""
    return [each for below in node.inputs for each in walk(below)] + [node]


def size_bytes(node: Node) -> int | None:
    """At most about how many bytes the rows have; None if nobody knows before they are computed."""
    if isinstance(node, Read):
        return node.source.size_bytes()
    if isinstance(node, Blocks):
        return sum(meta.size_bytes for _, meta in node.blocks)
    if isinstance(
        node, (FilterExpr, Limit, Sample, Draw, Sort, TopRows, Shuffle, ShuffleBlocks, Repartition, Aggregate)
    ):
        return size_bytes(node.input)
    if isinstance(node, Project):
        below = size_bytes(node.input)
        return None if below is None else below * (1 + len(node.columns))  # a column is hardly wider than a row
    return None


def render(node: Node, depth: int = 0) -> str:
    """The tree as text, the last operator first."""
    line = f"{'   ' * (depth - 1) + '+- ' if depth else ''}{node.label}{node.detail}"
    return "\n".join([line, *(render(below, depth + 1) for below in node.inputs)])


def schema_of(block: Block) -> pa.Schema:
    """The columns of a block, and nothing else."""
    return block.schema.remove_metadata()
