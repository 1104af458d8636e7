"""Lance datasets, written by their own library: tasks write fragments, and one commit makes a version of them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from ...exceptions import UnsupportedError
from .. import block as blocks
from ..block import Block, Least
from ..optional import need
from .sink import SaveMode


class LanceSink:
    """A Lance dataset.

    Args:
        uri: of the dataset.
        schema: the columns; None: those of the rows, which must be the same in all tasks.
        mode: CREATE, APPEND or OVERWRITE; IGNORE and ERROR if it is there.
        least: what a task should have.
        options: of `library().fragment.write_fragments`.
        storage_options: for the library, such as credentials.
    """

    name = "Lance"

    def __init__(
        self,
        uri: Any,
        schema: pa.Schema | None,
        mode: SaveMode | str,
        least: Least,
        options: Mapping[str, Any],
        storage_options: Mapping[str, Any] | None,
    ) -> None:
        library()
        self.uri = os.fspath(uri)
        self.mode = SaveMode(mode)
        if self.mode is SaveMode.UPSERT:
            raise UnsupportedError("write_lance(mode=UPSERT): use the library's own merge_insert")
        self.least = least
        self.options = {name: value for name, value in options.items() if value is not None}
        self.storage_options = dict(storage_options or {}) or None
        self.schema = schema
        self._exists = False
        self._folder = False
        self._known: pa.Schema | None = None

    def _dataset(self) -> Any:
        return library().dataset(self.uri, storage_options=self.storage_options)

    def start(self, schema: pa.Schema | None) -> bool:
        """Look whether it is there."""
        self._folder, self._known = os.path.exists(self.uri), schema
        try:
            self._dataset()
            self._exists = True
        except (ValueError, FileNotFoundError):  # it is not
            self._exists = False
        if self._exists and self.mode in (SaveMode.CREATE, SaveMode.ERROR):
            raise FileExistsError(f"{self.uri!r} is a Lance dataset already, and mode={self.mode.name}")
        if self._exists and self.mode is SaveMode.APPEND:
            self.schema = self._dataset().schema
        return not (self._exists and self.mode is SaveMode.IGNORE)

    def write(self, source: Iterator[Block], task: int) -> Iterator[Block]:
        """Write fragments, which no version has yet."""
        found = blocks.concat([block for block in source if block.num_rows])
        made: list[str] = []
        schema = b""
        if found.num_rows:
            found = found if self.schema is None else _fitted(found, self.schema)
            schema = found.schema.remove_metadata().serialize().to_pybytes()
            there = "append" if self.mode is SaveMode.APPEND else "overwrite"
            mode = there if self._exists else "create"  # how columns are numbered
            fragments = library().fragment.write_fragments(
                found, self.uri, found.schema, mode=mode, storage_options=self.storage_options, **self.options
            )
            made = [json.dumps(each.to_json()) for each in fragments]
        yield pa.table({"fragment": pa.array(made, pa.string()), "schema": pa.array([schema] * len(made), pa.binary())})

    def commit(self, written: Block) -> None:
        """Make a version of the fragments.

        Raises:
            TypeError: tasks have written columns of different types.
        """
        fragments = [library().FragmentMetadata.from_json(each) for each in written.column("fragment").to_pylist()]
        kinds = [pa.ipc.read_schema(pa.py_buffer(each)) for each in dict.fromkeys(written.column("schema").to_pylist())]
        if len(kinds) > 1:
            raise TypeError(
                f"write_lance: the columns are not the same in all blocks, give schema=: {kinds[0]} and {kinds[1]}"
            )
        schema = kinds[0] if kinds else self.schema or self._known
        if schema is None:
            return  # there are no rows, and nobody knows the columns
        if self._exists and self.mode is SaveMode.APPEND:
            operation = library().LanceOperation.Append(fragments)
        else:
            operation = library().LanceOperation.Overwrite(schema, fragments)
        version = self._dataset().version if self._exists else None
        library().LanceDataset.commit(self.uri, operation, version, storage_options=self.storage_options)

    def abort(self, error: BaseException) -> None:
        """What a write has made of a new dataset is deleted. Of one that is there, no version has it."""
        if not self._folder and os.path.isdir(self.uri):
            shutil.rmtree(self.uri)


def library() -> Any:
    """Lance itself."""
    return need("lance", "pylance", "write_lance")


def _fitted(block: Block, schema: pa.Schema) -> Block:
    """The block with the columns of the dataset."""
    more = [name for name in block.column_names if name not in schema.names]
    if more:
        raise TypeError(
            f"write_lance: the dataset has no columns {', '.join(map(repr, more))}; it has {', '.join(schema.names)}"
        )
    return blocks.conform(block, schema)
