"""Files, wherever they are: which there are, how large, and how they are opened."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa

from ..block import Block, BlockMeta
from .source import NO_SCHEMA, ReadTask, Source

GLOB = "*?["
CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4", ".br": "brotli"}
PACKED = 5.0
"""How much a compressed file grows, about."""
FILES_AT_ONCE = 16 << 20
"""Small files are read together, up to so many bytes for a task, if there are more files than tasks wanted."""


class File(NamedTuple):
    """A file that is to be read."""

    path: str
    size: int


def is_url(path: str) -> bool:
    """Whether it names a protocol."""
    return "://" in path


def open_file(path: str, filesystem: Any = None, compression: str | None = "infer") -> Any:
    """A file for reading bytes, unpacked if its name says that it is compressed."""
    if compression == "infer":
        compression = _codec(path)
    if filesystem is not None:
        raw = filesystem.open(path, "rb") if hasattr(filesystem, "open") else filesystem.open_input_stream(path)
    elif is_url(path):
        import fsspec

        raw = fsspec.open(path, "rb").open()
    else:
        raw = pa.memory_map(path) if compression is None and os.path.getsize(path) else pa.OSFile(path)
    return (
        raw
        if compression is None
        else pa.CompressedInputStream(pa.PythonFile(raw) if not isinstance(raw, pa.NativeFile) else raw, compression)
    )


def _codec(path: str) -> str | None:
    """How a file is compressed, by its name."""
    return CODECS.get(os.path.splitext(path)[1].lower())


def find(
    paths: str | os.PathLike[str] | Sequence[Any], extensions: Sequence[str] | None = None, filesystem: Any = None
) -> list[File]:
    """The files that paths, patterns and folders name, in order; in folders, those whose names end with one of `extensions`.

    Raises:
        FileNotFoundError: something is not there, or a pattern or folder has no files.
    """
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    if not paths:
        raise ValueError("no paths were given")
    found: list[File] = []
    for path in paths:
        found.extend(_expand(os.fspath(path), extensions, filesystem))
    return found


def _expand(path: str, extensions: Sequence[str] | None, filesystem: Any) -> Iterable[File]:
    if filesystem is not None or is_url(path):
        return _expand_remote(path, extensions, filesystem)
    path = os.path.expanduser(path)
    if os.path.isfile(path):
        return [File(path, os.path.getsize(path))]
    if os.path.isdir(path):
        names = sorted(
            os.path.join(folder, name)
            for folder, _, files in os.walk(path)
            for name in files
            if not _hidden(path, folder, name)
        )
    elif any(mark in path for mark in GLOB):
        import glob

        names = sorted(name for name in glob.glob(path, recursive=True) if os.path.isfile(name))
        if not names:
            raise FileNotFoundError(f"no file matches {path!r}")
        return [File(name, os.path.getsize(name)) for name in names]
    else:
        raise FileNotFoundError(f"there is no file or folder {path!r}")
    return [File(name, os.path.getsize(name)) for name in _fitting(path, names, extensions)]


def _hidden(root: str, folder: str, name: str) -> bool:
    parts = [*os.path.relpath(folder, root).split(os.sep), name]
    return any(part[0] in "._" and part != "." for part in parts)


def _fitting(path: str, names: list[str], extensions: Sequence[str] | None) -> list[str]:
    if extensions is None:
        return names
    ends = tuple(f".{each.lstrip('.').lower()}" for each in extensions)
    kept = [name for name in names if _bare(name).endswith(ends)]
    if not kept:
        raise FileNotFoundError(f"folder {path!r} has no files that end with {', '.join(ends)}")
    return kept


def _bare(name: str) -> str:
    """The name without the ending of a compression."""
    lower = name.lower()
    base, end = os.path.splitext(lower)
    return base if end in CODECS else lower


def _expand_remote(path: str, extensions: Sequence[str] | None, filesystem: Any) -> Iterable[File]:
    import fsspec

    if filesystem is None:
        filesystem, inner = fsspec.core.url_to_fs(path)
        prefix = path.split("://", 1)[0] + "://"
    else:
        inner, prefix = path, ""
    if any(mark in inner for mark in GLOB):
        infos = filesystem.glob(inner, detail=True).values()
    elif filesystem.isfile(inner):
        infos = [filesystem.info(inner)]
    else:
        infos = list(filesystem.find(inner, detail=True).values())
        ends = None if extensions is None else tuple(f".{each.lstrip('.').lower()}" for each in extensions)
        infos = [info for info in infos if ends is None or _bare(info["name"]).endswith(ends)]
    files = sorted(
        File(_absolute(prefix, info["name"]), int(info["size"] or 0)) for info in infos if info["type"] == "file"
    )
    if not files:
        raise FileNotFoundError(f"there is no file at {path!r}")
    return files


def _absolute(prefix: str, name: str) -> str:
    return name if not prefix or "://" in name else prefix + name


def matches(name: str, pattern: str) -> bool:
    """Whether a file's name matches a pattern."""
    return fnmatch.fnmatch(os.path.basename(name), pattern)


class FileSource(Source):
    """Files of which each is read on its own. Subclasses read one.

    Args:
        files: what is read, in this order.
        include_paths: add a column "path".
    """

    growth = 1.0
    """How many bytes a block takes for one of the file, about."""

    def __init__(self, files: Sequence[File], include_paths: bool = False, filesystem: Any = None) -> None:
        self.found = list(files)
        self.include_paths = include_paths
        self.filesystem = filesystem

    def read_file(self, path: str) -> Iterator[Block]:
        """The blocks of one file."""
        raise NotImplementedError

    def files(self) -> Sequence[str]:
        return [file.path for file in self.found]

    def size_bytes(self) -> int:
        return int(sum(file.size * self._growth(file.path) for file in self.found))

    def _growth(self, path: str) -> float:
        return self.growth * (PACKED if _codec(path) else 1)

    def tasks(self, wanted: int) -> list[ReadTask]:
        groups: list[list[File]] = []
        size = 0
        for file in self.found:
            full = not groups or len(self.found) <= wanted or size + file.size > FILES_AT_ONCE
            if full:
                groups.append([])
                size = 0
            groups[-1].append(file)
            size += file.size
        return [self._task(group) for group in groups]

    def _task(self, group: list[File]) -> ReadTask:
        paths = tuple(file.path for file in group)
        size = int(sum(file.size * self._growth(file.path) for file in group))
        return ReadTask(partial(self._read, paths), BlockMeta(-1, size, self.schema() or NO_SCHEMA, paths))

    def _read(self, paths: Sequence[str]) -> Iterator[Block]:
        from ..functions import HERE

        for path in paths:
            HERE.files = (path,)
            for block in self.read_file(path):
                if self.include_paths:
                    block = block.append_column(
                        "path", pa.repeat(path, block.num_rows).dictionary_encode().cast(pa.string())
                    )
                yield block


Reader = Callable[[Any], Iterator[Block]]
