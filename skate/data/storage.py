"""Where files are: this machine's folders, or anything that fsspec or Arrow can reach.

Both kinds answer the same few questions, so that sources and sinks do not care. Local files do without fsspec, which takes longer
to load than a small file takes to read.

INV-1: `create` makes a file that is complete, or none under that name that looks whole: on object stores an object appears
when it is closed, and elsewhere writers choose a name that no reader looks at, and `move` it.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

GLOB = "*?["
UNFINISHED = "_skate_"
"""How the names of folders begin in which a write collects its files until it ends. They come and go while others look."""
CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4", ".br": "brotli"}
OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "r2", "oci", "memory"}
"""What shows a file only when it is closed, and cannot rename one."""


class File(NamedTuple):
    """A file that is to be read."""

    path: str
    size: int


class Storage(Protocol):
    """A file system. Paths are its own, without a protocol."""

    appears_whole: bool
    """A file that is being written is not there before it is closed."""

    def size(self, path: str) -> int | None:
        """Of a file; None: there is no such file."""
        ...

    def is_folder(self, path: str) -> bool:
        """Whether it is a folder, or the first part of the names of objects."""
        ...

    def find(self, path: str) -> list[File]:
        """All files below a folder, in order, but for those of writes that have not ended."""
        ...

    def glob(self, pattern: str) -> list[File]:
        """The files that match a pattern, in order."""
        ...

    def open(self, path: str) -> Any:
        """A file for reading, as Arrow's."""
        ...

    def create(self, path: str) -> contextlib.AbstractContextManager[Any]:
        """A new file for writing, with its folders. What is raised in the block leaves none, or a part; see INV-1."""
        ...

    def move(self, old: str, new: str) -> None:
        """Give a file another name; one that has it already is replaced."""

    def remove(self, path: str) -> None:
        """Delete a file, or a folder with all that is in it, if it is there."""

    def arrow(self) -> Any:
        """As a file system of Arrow's; None: the local one."""
        ...


class Local(Storage):
    """Files of this machine."""

    appears_whole = False

    def size(self, path: str) -> int | None:
        return os.path.getsize(path) if os.path.isfile(path) else None

    def is_folder(self, path: str) -> bool:
        return os.path.isdir(path)

    def find(self, path: str) -> list[File]:
        names = []
        for folder, inner, files in os.walk(path):
            inner[:] = [name for name in inner if not name.startswith(UNFINISHED)]
            names += [os.path.join(folder, name) for name in files]
        names.sort()
        return [File(name, os.path.getsize(name)) for name in names]

    def glob(self, pattern: str) -> list[File]:
        names = sorted(name for name in glob.glob(pattern, recursive=True) if os.path.isfile(name))
        return [File(name, os.path.getsize(name)) for name in names]

    def open(self, path: str) -> Any:
        return pa.memory_map(path) if os.path.getsize(path) else pa.OSFile(path)

    @contextlib.contextmanager
    def create(self, path: str) -> Iterator[Any]:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "wb") as file:
            yield file

    def move(self, old: str, new: str) -> None:
        os.makedirs(os.path.dirname(new) or ".", exist_ok=True)
        os.replace(old, new)

    def remove(self, path: str) -> None:
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)

    def arrow(self) -> Any:
        return None


class Remote(Storage):
    """What fsspec reaches."""

    def __init__(self, filesystem: Any) -> None:
        self.fs = filesystem
        protocol = filesystem.protocol
        names = {protocol} if isinstance(protocol, str) else set(protocol)
        names.add(getattr(getattr(filesystem, "fs", None), "type_name", ""))  # Arrow's, wrapped
        self.appears_whole = bool(names & OBJECT_STORES)

    def size(self, path: str) -> int | None:
        try:
            info = self.fs.info(path)
        except FileNotFoundError:
            return None
        return int(info["size"] or 0) if info["type"] == "file" else None

    def is_folder(self, path: str) -> bool:
        return bool(self.fs.isdir(path))

    def find(self, path: str) -> list[File]:
        found = _files(self.fs.find(path, detail=True).values())
        return [file for file in found if f"/{UNFINISHED}" not in file.path[len(path) :]]

    def glob(self, pattern: str) -> list[File]:
        return _files(self.fs.glob(pattern, detail=True).values())

    def open(self, path: str) -> Any:
        return pa.PythonFile(self.fs.open(path, "rb"), mode="r")

    @contextlib.contextmanager
    def create(self, path: str) -> Iterator[Any]:
        if not self.appears_whole:
            self.fs.makedirs(os.path.dirname(path), exist_ok=True)
        file = self.fs.open(path, "wb")
        try:
            yield file
        except BaseException:
            if self.appears_whole:
                _discard(file)
            else:
                file.close()
            raise
        file.close()

    def move(self, old: str, new: str) -> None:
        self.fs.makedirs(os.path.dirname(new), exist_ok=True)
        self.fs.mv(old, new)

    def remove(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm(path, recursive=True)

    def arrow(self) -> Any:
        from pyarrow.fs import FSSpecHandler, PyFileSystem

        return PyFileSystem(FSSpecHandler(self.fs))


def _files(infos: Iterable[Any]) -> list[File]:
    return sorted(File(info["name"], int(info["size"] or 0)) for info in infos if info["type"] == "file")


def _discard(file: Any) -> None:
    """Close a file of an object store so that no object comes of it."""
    if hasattr(file, "discard"):
        file.discard()
        with contextlib.suppress(AttributeError):  # a file in memory is there already; the end of the write deletes it
            file.closed = True
    else:
        file.close()


def storage_of(path: str, filesystem: Any = None) -> tuple[Storage, str]:
    """The file system of a path or URL, and the path there."""
    if filesystem is not None:
        return _given(filesystem), _without_protocol(filesystem, path)
    scheme, mark, rest = path.partition("://")
    if not mark:
        return Local(), os.path.expanduser(path)
    if scheme in ("file", "local"):
        return Local(), rest
    from .optional import need

    fs, inner = need("fsspec", "fsspec", path).core.url_to_fs(path)
    return Remote(fs), inner


def _given(filesystem: Any) -> Storage:
    if hasattr(filesystem, "glob"):
        return Remote(filesystem)
    from pyarrow.fs import FileSystem

    if not isinstance(filesystem, FileSystem):
        raise TypeError(f"filesystem must be one of pyarrow.fs or fsspec, not {type(filesystem).__name__}")
    from fsspec.implementations.arrow import ArrowFSWrapper

    return Remote(ArrowFSWrapper(filesystem))


def _without_protocol(filesystem: Any, path: str) -> str:
    if hasattr(filesystem, "_strip_protocol"):
        return str(filesystem._strip_protocol(path))
    return path.partition("://")[2] or path


def address(original: str, inner: str, filesystem: Any) -> str:
    """A path of a file system, with the protocol of the path that it was found by."""
    scheme, mark, _ = original.partition("://")
    if filesystem is not None or not mark or scheme in ("file", "local") or "://" in inner:
        return inner
    return f"{scheme}://{inner.lstrip('/') if scheme in OBJECT_STORES - {'memory'} else inner}"


def codec_of(path: str) -> str | None:
    """How a file is compressed, by its name."""
    return CODECS.get(os.path.splitext(path)[1].lower())


def bare_name(path: str) -> str:
    """The name in small letters, without the ending of a compression."""
    base, end = os.path.splitext(path.lower())
    return base if end in CODECS else base + end


def open_file(path: str, filesystem: Any = None, compression: str | None = "infer") -> Any:
    """A file for reading bytes, unpacked if its name, or `compression`, says that it is compressed."""
    storage, inner = storage_of(path, filesystem)
    codec = codec_of(path) if compression == "infer" else compression
    raw = storage.open(inner)
    return raw if codec is None else pa.CompressedInputStream(raw, codec)
