"""Tables of databases, through any library that follows Python's DB-API 2.0."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import pyarrow as pa

from ...exceptions import UnsupportedError
from .. import block as blocks
from ..block import Block, BlockMeta
from ..errors import check_names
from .source import NO_SCHEMA, ReadTask, Source

ROWS_AT_ONCE = 10_000
Connect = Callable[[], Any]


class SQL(Source):
    """The rows of a query.

    Args:
        sql: the query.
        connect: makes a connection; it runs in the tasks.
        params: of the query, in the way of the library.
        shard_keys: columns by which the rows are divided among tasks; None: one task reads all.
        shard_hash_fn: the database's function that hashes text.
    """

    name = "SQL"

    def __init__(
        self,
        sql: str,
        connect: Connect,
        params: Any = None,
        shard_keys: Sequence[str] | None = None,
        shard_hash_fn: str = "MD5",
    ) -> None:
        if not callable(connect):
            raise TypeError("connection_factory must be a function that makes a connection")
        self.sql = sql.strip().rstrip(";")
        self.connect = connect
        self.params = params
        self.shard_keys = [shard_keys] if isinstance(shard_keys, str) else list(shard_keys or ())
        self.shard_hash_fn = shard_hash_fn

    def tasks(self, wanted: int) -> list[ReadTask]:
        parts = wanted if self.shard_keys else 1
        unknown = BlockMeta(-1, 0, NO_SCHEMA)
        return [ReadTask(partial(self._read, part, parts), unknown) for part in range(parts)]

    def count(self) -> int | None:
        with closing(self.connect()) as connection:
            rows = _execute(connection, f"SELECT COUNT(*) FROM ({self.sql}) AS t", self.params).fetchall()
        return int(rows[0][0])

    def _read(self, part: int, parts: int) -> Iterator[Block]:
        with closing(self.connect()) as connection:
            sql = self.sql if parts == 1 else self._sharded(connection, part, parts)
            cursor = _execute(connection, sql, self.params)
            names = [each[0] for each in cursor.description]
            check_names(names, f"{sql}: ", "say `SELECT ... AS another_name`")
            empty = True
            while rows := cursor.fetchmany(ROWS_AT_ONCE):
                empty = False
                columns = zip(*rows, strict=True)
                yield blocks.from_columns({name: list(values) for name, values in zip(names, columns, strict=True)})
            if empty:
                yield pa.table({name: pa.array([], pa.null()) for name in names})

    def _sharded(self, connection: Any, part: int, parts: int) -> str:
        """The query for the rows of one part."""
        text = "||'/'||".join(f"COALESCE(CAST({key} AS VARCHAR(255)),'')" for key in self.shard_keys)
        module = type(connection).__module__
        if self.shard_hash_fn.upper() != "MD5":
            test = f"MOD(ABS({self.shard_hash_fn}({text})), {parts})"
        elif "sqlite3" in module:
            connection.create_function("skate_shard", 1, _hash, deterministic=True)
            test = f"skate_shard({text}) % {parts}"
        elif "psycopg" in module or "pg8000" in module:
            test = f"MOD(('x' || SUBSTR(MD5({text}), 1, 7))::bit(28)::int, {parts})"
        else:
            raise UnsupportedError(
                f"shard_keys with {module}: pass shard_hash_fn=, the name of the database's function from text to an integer"
            )
        return f"SELECT * FROM ({self.sql}) AS t WHERE {test} = {part}"


def _hash(text: str) -> int:
    import zlib

    return zlib.crc32(text.encode())


def _execute(connection: Any, sql: str, params: Any) -> Any:
    """A cursor with the result; the error of the library says which query it was."""
    cursor = connection.cursor()
    try:
        cursor.execute(*((sql,) if params is None else (sql, params)))
    except Exception as error:
        error.add_note(f"raised for the query: {sql}")
        raise
    return cursor
