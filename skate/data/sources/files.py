"""Files that are read: which there are, which tasks read them, and what their paths add to their rows."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Self, TypeVar

import numpy as np
import pyarrow as pa

from .. import block as blocks
from ..block import Block, BlockMeta
from ..storage import GLOB, File, Local, address, bare_name, codec_of, open_file, storage_of
from .partitioning import Partitioning
from .source import NO_SCHEMA, ReadTask, Source, shown

T = TypeVar("T")
PACKED = 5.0
"""How much a compressed file grows, about."""
FILES_AT_ONCE = 16 << 20
"""Small files are read together, up to so many bytes for a task, if there are more files than tasks wanted."""
LOOKS_AT_ONCE = 16


@dataclass(frozen=True)
class FileShuffleConfig:
    """Read the files in random order.

    Args:
        seed: of the order; None: another at each execution.
    """

    seed: int | None = None


@dataclass(frozen=True)
class Files:
    """The files of a source, and what is to be done with all of them alike.

    Args:
        found: the files, in order.
        filesystem: of pyarrow.fs or fsspec; None: by the URL.
        include_paths: add a column "path".
        partitioning: add columns from the names of folders.
        shuffle: read them in random order.
        compression: of all; "infer": by the name; None: none.
    """

    found: tuple[File, ...]
    filesystem: Any = None
    include_paths: bool = False
    partitioning: Partitioning | None = None
    shuffle: FileShuffleConfig | None = None
    compression: str | None = "infer"
    known: Mapping[str, Mapping[str, pa.Scalar]] = field(default_factory=dict)
    """More columns that all rows of a file have, by its path: those of a table whose log says them."""

    def open(self, path: str) -> Any:
        """A file for reading bytes, unpacked."""
        return open_file(path, self.filesystem, self.compression)

    def extras(self, path: str) -> dict[str, pa.Scalar]:
        """The columns that a file's path adds, with the value that all of its rows have."""
        found = dict(self.known.get(path, {}))
        if self.partitioning is not None:
            for name, value in self.partitioning.parse(path).items():
                found[name] = pa.scalar(value, self.partitioning.type_of(name))
        if self.include_paths:
            found["path"] = pa.scalar(path, pa.string())
        return found

    def ordered(self) -> Sequence[File]:
        """The files in the order in which they are to be read now."""
        if self.shuffle is None:
            return self.found
        order = np.random.default_rng(self.shuffle.seed).permutation(len(self.found))
        return [self.found[at] for at in order]


def find(
    paths: str | os.PathLike[str] | Sequence[Any],
    extensions: Sequence[str] | None = None,
    filesystem: Any = None,
    ignore_missing: bool = False,
) -> tuple[File, ...]:
    """The files that paths, patterns and folders name, in order; in folders, those whose names end with one of `extensions`.

    Raises:
        FileNotFoundError: something is not there, or a pattern or folder has no files; not with `ignore_missing`, as long as one
            file is there.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not given:
        raise ValueError("no paths were given")
    names = [os.fspath(path) for path in given]
    look = partial(_expand, extensions=extensions, filesystem=filesystem, ignore_missing=ignore_missing)
    if len(names) > 1 and (filesystem is not None or "://" in names[0]):
        with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
            found = list(pool.map(look, names))
    else:
        found = [look(name) for name in names]
    files = tuple(file for each in found for file in each)
    if not files:
        raise FileNotFoundError(f"none of the paths is there: {', '.join(names[:3])}")
    return files


def _expand(path: str, extensions: Sequence[str] | None, filesystem: Any, ignore_missing: bool) -> list[File]:
    storage, inner = storage_of(path, filesystem)
    size = storage.size(inner)
    if size is not None:
        return [File(address(path, inner, filesystem), size)]
    if storage.is_folder(inner):
        found = [file for file in storage.find(inner) if not _hidden(inner, file.path)]
        missing = f"folder {path!r} does not have a file"
        if extensions is not None:
            ends = tuple(f".{each.lstrip('.').lower()}" for each in extensions)
            found = [file for file in found if file.path.lower().endswith(ends) or bare_name(file.path).endswith(ends)]
            missing += f" that ends with {', '.join(ends)}"
    elif any(mark in inner for mark in GLOB):
        found = storage.glob(inner)
        missing = f"no file matches {path!r}"
    else:
        found = []
        missing = f"there is no file or folder {path!r}"
    if not found and not ignore_missing:
        raise FileNotFoundError(missing)
    return [File(address(path, file.path, filesystem), file.size) for file in found]


def _hidden(root: str, path: str) -> bool:
    """Whether a name below a folder says that it is not data: `_SUCCESS`, `.crc`, and what is still being written."""
    below = path[len(root) :] if path.startswith(root) else path
    return any(part[0] in "._" and "=" not in part for part in below.split("/") if part)


class FileSource(Source):
    """Files of which each is read on its own. Subclasses read one.

    Args:
        files: what is read.
    """

    growth = 1.0
    """How many bytes a block takes for one of the file, about."""
    lets_others_run = False
    """It is Arrow that reads the files, so that other threads can run meanwhile."""

    def __init__(self, files: Files) -> None:
        self.where = files
        self.columns: list[str] | None = None
        """Only these, in this order, with those that paths add; None: all."""
        self._own_schema: pa.Schema | None = None

    # ------------------------------------------------------------ for subclasses

    def read_file(self, path: str) -> Iterator[Block]:
        """The blocks of one file, without what its path adds. `own_columns` has the columns that are needed."""
        raise NotImplementedError

    def file_schema(self, path: str) -> pa.Schema | None:
        """The columns of one file, if they can be known without reading all of it."""
        return None

    def own_columns(self, extras: Mapping[str, Any]) -> list[str] | None:
        """The columns to read from a file; None: all."""
        return None if self.columns is None else [name for name in self.columns if name not in extras]

    # ------------------------------------------------------------ what is known

    def schema(self) -> pa.Schema | None:
        full = self._own_schema
        if full is None:
            first = self.where.found[0].path
            own = self.file_schema(first)
            if own is None:
                return None
            for name, value in self.where.extras(first).items():
                own = own if name in own.names else own.append(pa.field(name, value.type))
            full = self._own_schema = own.remove_metadata()
        if self.columns is not None:
            return pa.schema([full.field(name) for name in self.columns])
        return full

    def files(self) -> Sequence[str]:
        return [file.path for file in self.where.found]

    def size_bytes(self) -> int:
        return int(sum(file.size * self._growth(file.path) for file in self.where.found))

    @property
    def is_local(self) -> bool:
        first = self.where.found[0].path
        return self.lets_others_run and isinstance(storage_of(first, self.where.filesystem)[0], Local)

    def _growth(self, path: str) -> float:
        return self.growth * (PACKED if codec_of(path) else 1)

    def left_out(self) -> list[str]:
        return [] if self.columns is None else [f"columns={shown(self.columns)}"]

    def _select(self, columns: Sequence[str]) -> Source:
        """A copy with only these columns."""
        source = copy.copy(self)
        source.columns = list(columns)
        return source

    # ------------------------------------------------------------ tasks

    def tasks(self, wanted: int) -> list[ReadTask]:
        groups: list[list[File]] = []
        size = 0
        found = self.where.ordered()
        for file in found:
            if not groups or len(found) <= wanted or size + file.size > FILES_AT_ONCE:
                groups.append([])
                size = 0
            groups[-1].append(file)
            size += file.size
        return [self._task(group) for group in groups]

    def _task(self, group: list[File]) -> ReadTask:
        paths = tuple(file.path for file in group)
        size = int(sum(file.size * self._growth(file.path) for file in group))
        schema = self.schema() if self._own_schema is not None else None
        return ReadTask(partial(self.for_task(paths)._read, paths), BlockMeta(-1, size, schema or NO_SCHEMA, paths))

    def for_task(self, paths: Sequence[str]) -> Self:
        """What a task needs that reads these files: not the list of all, of which there may be very many."""
        source = copy.copy(self)
        known = {
            path: self.where.known[path] for path in (self.where.found[0].path, *paths) if path in self.where.known
        }
        source.where = replace(self.where, found=self.where.found[:1], known=known)
        return source

    def _read(self, paths: Sequence[str]) -> Iterator[Block]:
        from ..functions import HERE

        first: tuple[pa.Schema, str] | None = None
        for path in paths:
            HERE.files = (path,)
            extras = self.where.extras(path)
            for block in self._named(path, self.read_file(path)):
                made = self.add_extras(block, extras)
                if first is not None and not made.schema.equals(first[0]):
                    blocks.unify_files(first[0], [first[1]], made.schema, [path])
                yield made
                first = first or (made.schema, path)

    def _named(self, path: str, source: Iterator[T]) -> Iterator[T]:
        """The blocks or rows of a file. Whatever goes wrong with them is an error that names the file."""
        try:
            yield from source
        except Exception as error:
            if path not in str(error):
                error.add_note(f"raised when {path} was read")
            raise

    def add_extras(self, block: Block, extras: Mapping[str, pa.Scalar]) -> Block:
        """The block with what its file's path adds, and with the columns that are wanted."""
        for name, value in extras.items():
            if (self.columns is None or name in self.columns) and name not in block.column_names:
                block = block.append_column(name, pa.repeat(value, block.num_rows))
        return block if self.columns is None else block.select(self.columns)


class FileRows(FileSource):
    """Files of which each is one row, or a few. Subclasses make the rows of one."""

    def rows(self, path: str) -> Iterator[Mapping[str, Any]]:
        """The rows of one file, without what its path adds."""
        raise NotImplementedError

    def _read(self, paths: Sequence[str]) -> Iterator[Block]:
        from ..functions import HERE

        rows: list[Mapping[str, Any]] = []
        size = 0
        for path in paths:
            HERE.files = (path,)
            extras = {name: value.as_py() for name, value in self.where.extras(path).items()}
            for row in self._named(path, self.rows(path)):
                rows.append({**row, **extras})
                size += sum(
                    getattr(value, "nbytes", 0) or len(value) for value in row.values() if hasattr(value, "__len__")
                )
                if size >= FILES_AT_ONCE:
                    yield blocks.from_rows(rows)
                    rows, size = [], 0
        if rows:
            yield blocks.from_rows(rows)
