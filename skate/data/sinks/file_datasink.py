"""Sinks of files in formats that users write: one file for a block, or for a row. The files appear as those of all writes do."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from ...exceptions import UnsupportedError
from .. import block as blocks
from ..accessor import BlockAccessor
from ..block import Block, Least
from .datasink import Datasink, WriteResult
from .sink import FilenameProvider, FileSink, SaveMode, Written


class FileDatasink(Datasink):
    """Files in a folder. Use one of the subclasses.

    Args:
        path: the folder, a path or a URL.
        filesystem: of pyarrow.fs or fsspec; None: by the URL.
        try_create_dir: make the folder.
        open_stream_args: `{"compression": ...}` of whole files.
        filename_provider: chooses the names of files.
        dataset_uuid: a word in all names.
        file_format: the ending of the names.
        mode: what happens to what is there.
        min_rows_per_file: rows in a file, if there are as many.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        filesystem: Any = None,
        try_create_dir: bool = True,
        open_stream_args: Mapping[str, Any] | None = None,
        filename_provider: FilenameProvider | None = None,
        dataset_uuid: str | None = None,
        file_format: str | None = None,
        mode: SaveMode | str = SaveMode.APPEND,
        min_rows_per_file: int | None = None,
    ) -> None:
        stream = dict(open_stream_args or {})
        self._compression = stream.pop("compression", None)
        if stream:
            raise UnsupportedError(f"open_stream_args={stream}: only compression can be chosen")
        self._where = path, filesystem, mode
        self._names = filename_provider or FilenameProvider(dataset_uuid, file_format)
        self._min_rows = min_rows_per_file
        self._create = try_create_dir

    @property
    def min_rows_per_write(self) -> int | None:
        return self._min_rows

    def files(self) -> FileSink:
        """The sink that writes them."""
        path, filesystem, mode = self._where
        return _Files(
            self,
            path,
            filesystem,
            mode,
            self._names,
            Least(self.min_rows_per_write or 0),
            None,
            self._create,
            self._compression,
        )


class BlockBasedFileDatasink(FileDatasink):
    """Writes blocks to files. `write_block_to_file` has to be there."""

    def write_block_to_file(self, block: BlockAccessor, file: Any) -> None:
        """Write a block to a file that is open."""
        raise NotImplementedError(f"{type(self).__name__} needs a method write_block_to_file(block, file)")


class RowBasedFileDatasink(FileDatasink):
    """Writes each row to a file of its own. `write_row_to_file` has to be there."""

    def write_row_to_file(self, row: dict[str, Any], file: Any) -> None:
        """Write a row to a file that is open."""
        raise NotImplementedError(f"{type(self).__name__} needs a method write_row_to_file(row, file)")


class _Files(FileSink):
    def __init__(self, datasink: FileDatasink, *options: Any) -> None:
        super().__init__(*options)
        self.datasink = datasink
        self.name = datasink.get_name()

    def start(self, schema: pa.Schema | None) -> bool:
        writes = super().start(schema)
        if writes:
            self.datasink.on_write_start(schema)
        return writes

    def commit(self, written: Block) -> None:
        super().commit(written)
        storage, root = self._target()
        paths, rows = (written.column(name).to_pylist() for name in ("path", "rows"))
        size = sum(storage.size(f"{root}/{path}") or 0 for path in paths)
        self.datasink.on_write_complete(WriteResult(sum(rows), size, [None] * len(paths)))

    def abort(self, error: BaseException) -> None:
        super().abort(error)
        if isinstance(error, Exception):
            self.datasink.on_write_failed(error)

    def write_file(self, file: Any, block: Block) -> None:
        assert isinstance(self.datasink, BlockBasedFileDatasink)
        self.datasink.write_block_to_file(BlockAccessor(block), file)

    def write_piece(self, folder: str, block: Block, task: int, number: int) -> Iterator[Written]:
        if not isinstance(self.datasink, RowBasedFileDatasink):
            yield from super().write_piece(folder, block, task, number)
            return
        for at, row in enumerate(blocks.to_rows(block)):
            path = self.names.get_filename_for_row(row, self.job, task, number, at)
            with self.create(path) as file:
                self.datasink.write_row_to_file(row, file)
            yield Written(path, 1)
