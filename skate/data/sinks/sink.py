"""Where rows go: what a sink must say, and how files are written so that nobody sees half of a write.

The calling process starts a write and ends it; tasks write. A task may run twice (its worker died), or stop anywhere. So the
files of a task have names that follow from the write and the number of the task, and a second run writes the same ones anew.

On file systems that can rename, tasks write into a folder `_skate_WRITE` in the target, which no reader looks into, nor another
write, and the end of the write moves its files to where they belong. On object stores, where an object appears whole or not at
all, tasks write in place, and the end of the write deletes what a task has left that did not end. What was there before is
deleted after the new files are in place (OVERWRITE), and a write that fails deletes what it made.

INV-1: until the write ends, no file of it has its final name, on file systems that can rename.
INV-2: a file that has its final name is complete.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from ..block import ALONE, Block, Least
from ..storage import UNFINISHED, Local, Storage, storage_of


class SaveMode(StrEnum):
    """What a write does with what is there already."""

    CREATE = "create"
    """As ERROR."""
    APPEND = "append"
    """It stays."""
    OVERWRITE = "overwrite"
    """It is replaced when the write is complete."""
    IGNORE = "ignore"
    """Nothing is written if there is something."""
    ERROR = "error"
    """The write fails if there is something."""
    UPSERT = "upsert"
    """Rows with the same keys are replaced: `write_iceberg` does this."""

    @classmethod
    def _missing_(cls, value: object) -> SaveMode:
        raise ValueError(f"mode={value!r}: it must be one of {', '.join(map(repr, map(str, cls)))}")


class Sink(Protocol):
    """Where rows go. Sinks are picklable."""

    name: str
    least: Least
    """So much goes into a task, if there is as much."""

    def start(self, schema: pa.Schema | None) -> bool:
        """Before the first task, in the calling process. False: there is nothing to do.

        Args:
            schema: the columns of what will be written, if they are known before.

        Raises:
            ColumnNotFoundError: the sink needs a column that is not there.
            FileExistsError: something is there, and the mode says that it must not.
        """
        ...

    def write(self, source: Iterator[Block], task: int) -> Iterator[Block]:
        """In a task: write blocks. What comes out are rows that say what was written; `task` counts from 0."""
        ...

    def commit(self, written: Block) -> None:
        """After the last task, in the calling process: the write is complete. `written` are the rows of all tasks."""

    def abort(self, error: BaseException) -> None:
        """The write has failed: take away what it left."""


WRITTEN = pa.schema([("path", pa.string()), ("rows", pa.int64())])
"""What tasks say of files."""


class Written(NamedTuple):
    """A file of a task."""

    path: str
    rows: int


class FilenameProvider:
    """Chooses the names of files. Names must differ for different arguments, and be the same for the same ones.

    Args:
        dataset_uuid: a word in all names; None: there is none.
        file_format: the ending.
    """

    def __init__(self, dataset_uuid: str | None = None, file_format: str | None = None) -> None:
        self.dataset_uuid = dataset_uuid
        self.file_format = file_format

    def get_filename_for_task(self, write_uuid: str, task_index: int) -> str:
        """Of a file of which a task writes one."""
        return self._name(f"{write_uuid}_{task_index:06}")

    def get_filename_for_block(self, block: Any, write_uuid: str, task_index: int, block_index: int) -> str:
        """Of a file with several rows."""
        return self._name(f"{write_uuid}_{task_index:06}_{block_index:06}")

    def get_filename_for_row(
        self, row: Mapping[str, Any], write_uuid: str, task_index: int, block_index: int, row_index: int
    ) -> str:
        """Of a file with one row."""
        return self._name(f"{write_uuid}_{task_index:06}_{block_index:06}_{row_index:06}")

    def _name(self, middle: str) -> str:
        first = f"{self.dataset_uuid}_" if self.dataset_uuid else ""
        return f"{first}{middle}" + (f".{self.file_format}" if self.file_format else "")


class FileSink:
    """Files in a folder. Subclasses write one.

    Args:
        path: the folder, a path or a URL.
        filesystem: of pyarrow.fs or fsspec; None: by the URL.
        mode: what happens to what is there.
        names: chooses the names of files.
        least: rows and bytes in a file, if there are as many.
        max_rows: rows in a file, at the most.
        create_folder: the target need not exist.
        compression: of whole files, by its name: "gzip", "zstd", "bz2" and others of Arrow's; None: none.
    """

    name = "Files"
    ending = ""
    keeps_columns = False
    """A file without rows still says something: which columns there are, or that there is nothing."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        filesystem: Any = None,
        mode: SaveMode | str = SaveMode.APPEND,
        names: FilenameProvider | None = None,
        least: Least = ALONE,
        max_rows: int | None = None,
        create_folder: bool = True,
        compression: str | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self.filesystem = filesystem
        self.mode = SaveMode(mode)
        self.names = names or FilenameProvider(file_format=self.ending)
        self.least = least
        self.max_rows = max_rows
        self.create_folder = create_folder
        self.compression = compression
        self.job = os.urandom(8).hex()
        self._schema: pa.Schema | None = None
        """The columns, if they were known at the start."""
        self._new: list[str] = []
        """The folders that this write makes, the innermost first."""
        self._before: set[str] = set()
        """The files that were there at the start."""
        self._placed: list[str] = []
        """Those that the end of the write has moved, as long as it can be undone."""
        if compression is not None:
            pa.Codec.is_available(compression)  # raises for one that does not exist
        if max_rows is not None and (not isinstance(max_rows, int) or max_rows < 1):
            raise ValueError(f"max_rows_per_file={max_rows!r}: it must be a whole number from 1, or None")
        if max_rows is not None and least.rows > max_rows:
            raise ValueError(f"min_rows_per_file={least.rows} is more than max_rows_per_file={max_rows}")

    # ------------------------------------------------------------ for subclasses

    def write_file(self, file: Any, block: Block) -> None:
        """Write rows to a file that is open."""
        raise NotImplementedError

    def split(self, block: Block) -> Iterator[tuple[str, Block]]:
        """The rows by the folder below the target that they go to."""
        yield "", block

    # ------------------------------------------------------------ in tasks

    def write(self, source: Iterator[Block], task: int) -> Iterator[Block]:
        """Write blocks to files."""
        from .. import block as blocks

        found = [block for block in source if block.num_rows]
        written: list[Written] = []
        for folder, block in self.split(blocks.concat(found)) if found else ():
            step = self.max_rows or block.num_rows
            for at in range(0, block.num_rows, step):
                written.extend(self.write_piece(folder, block.slice(at, step), task, len(written)))
        yield pa.table({"path": [each.path for each in written], "rows": [each.rows for each in written]}, WRITTEN)

    def write_piece(self, folder: str, block: Block, task: int, number: int) -> Iterator[Written]:
        """Write the rows of one file."""
        name = self.names.get_filename_for_block(block, self.job, task, number)
        path = f"{folder}/{name}" if folder else name
        with self.create(path) as file:
            self.write_file(file, block)
        yield Written(path, block.num_rows)

    def create(self, path: str) -> Any:
        """A new file of this write, open. Its path is that below the target."""
        storage, root = self._target()
        where = storage.create(f"{self._workplace(storage, root)}/{path}")
        return where if self.compression is None else _compressed(where, self.compression)

    def _target(self) -> tuple[Storage, str]:
        storage, root = storage_of(self.path, self.filesystem)
        return storage, root.rstrip("/") or root

    def _workplace(self, storage: Storage, root: str) -> str:
        return root if storage.appears_whole else f"{root}/{UNFINISHED}{self.job}"

    # ------------------------------------------------------------ in the calling process

    def start(self, schema: pa.Schema | None) -> bool:
        """Look at what is there."""
        self._schema = schema
        storage, root = self._target()
        if storage.size(root) is not None:
            raise FileExistsError(f"{self.path!r} is a file: rows are written to files in a folder")
        exists = storage.is_folder(root)
        if not exists and not self.create_folder:
            raise FileNotFoundError(f"there is no folder {self.path!r}, and try_create_dir=False")
        above = [root, *map(str, Path(root).parents)] if isinstance(storage, Local) else []
        self._new = list(itertools.takewhile(lambda folder: not os.path.isdir(folder), above))
        self._before = {file.path for file in storage.find(root)} if exists else set()
        if self._before and self.mode in (SaveMode.ERROR, SaveMode.CREATE):
            raise FileExistsError(f"{self.path!r} has files already, and mode={self.mode.name}")
        return not (self._before and self.mode is SaveMode.IGNORE)

    def commit(self, written: Block) -> None:
        """Give the files their names, and delete what they replace."""
        storage, root = self._target()
        work = self._workplace(storage, root)
        paths = written.column("path").to_pylist() or [each.path for each in self._without_rows()]
        new = {f"{root}/{path}": f"{work}/{path}" for path in paths}
        if storage.appears_whole:
            self._sweep(storage, root, new)
        else:
            for path, made in new.items():
                storage.move(made, path)
                self._placed.append(path)
            storage.remove(work)
        self._placed.clear()
        if self.mode is SaveMode.OVERWRITE:
            for old in self._before.difference(new):
                storage.remove(old)

    def _without_rows(self) -> Iterator[Written]:
        """A file without rows, in place of none at all: so what is written can be read."""
        if self.keeps_columns and self._schema is not None:
            for folder, block in self.split(self._schema.empty_table()):
                yield from self.write_piece(folder, block, 0, 0)

    def abort(self, error: BaseException) -> None:
        """Delete the files of this write."""
        storage, root = self._target()
        if storage.appears_whole:
            self._sweep(storage, root, self._before)
            return
        storage.remove(self._workplace(storage, root))
        for path in self._placed:
            if path not in self._before:
                storage.remove(path)
        with contextlib.suppress(OSError):  # somebody else writes there, too
            for folder in self._new:
                os.rmdir(folder)

    def _sweep(self, storage: Storage, root: str, stay: Collection[str]) -> None:
        """Delete the files of this write, but for some."""
        for file in storage.find(root) if storage.is_folder(root) else ():
            if self.job in file.path and file.path not in stay:
                storage.remove(file.path)


@contextlib.contextmanager
def _compressed(where: Any, codec: str) -> Iterator[Any]:
    """A file for writing that packs what it is given. If that fails, `where` hears of it, and no file comes of it."""
    with where as raw, pa.CompressedOutputStream(_Keep(raw), codec) as file:
        yield file


class _Keep:
    """A file that somebody else closes."""

    closed = False

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, data: Any) -> int:
        return int(self._file.write(data))

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        return None


def column_of(block: Block, name: str) -> pa.ChunkedArray:
    """A column of a block.

    Raises:
        ColumnNotFoundError: it is not there.
    """
    from ..errors import no_column

    if name not in block.column_names:
        raise no_column(name, block.column_names)
    return block.column(name)


def check_columns(names: Sequence[str], schema: pa.Schema | None) -> None:
    """Whether columns are there, if that is known.

    Raises:
        ColumnNotFoundError: one is not.
    """
    from ..errors import no_column
    from ..knowledge import missing

    wrong = missing(names, schema)
    if wrong is not None:
        assert schema is not None
        raise no_column(wrong, schema.names)
