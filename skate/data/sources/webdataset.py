"""WebDataset: tar files in which files that share a name up to the first dot are one row."""

from __future__ import annotations

import fnmatch
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..optional import need
from .files import FileRows, Files

PICTURES = {"jpg", "jpeg", "png", "ppm", "pgm", "pbm", "pnm", "bmp", "gif", "webp"}
Decoder = Callable[[dict[str, Any]], dict[str, Any]]
Select = Sequence[str] | Callable[[str], bool] | None


class WebDataset(FileRows):
    """Tar files of samples.

    Args:
        files: what is read.
        decoder: True: by the endings (text, numbers, JSON, arrays, pictures); a function or list of functions of samples; None
            and False: all are bytes. Pickles are never opened: that would run code of whoever made the file.
        fileselect: patterns, or a function, that choose the files in the tar.
        filerename: pairs (from, to), or a function, that change their names.
        suffixes: patterns, or a function, that choose the columns.
        expand_json: JSON objects become columns, one for each key.
    """

    name = "WebDataset"

    def __init__(
        self,
        files: Files,
        decoder: bool | str | Decoder | Sequence[Any] | None = True,
        fileselect: Select = None,
        filerename: Any = None,
        suffixes: Select = None,
        expand_json: bool = False,
    ) -> None:
        super().__init__(files)
        steps = decoder if isinstance(decoder, (list, tuple)) else [decoder]
        self.decoders: list[Any] = [decode if step is True else step for step in steps if step]
        wrong = next((step for step in self.decoders if not callable(step)), None)
        if wrong is not None:
            raise TypeError(f"decoder must be True, None or a function, not {wrong!r}")
        self.fileselect, self.filerename, self.suffixes = fileselect, filerename, suffixes
        self.expand_json = expand_json

    def rows(self, path: str) -> Iterator[Mapping[str, Any]]:
        with self.where.open(path) as file:
            try:
                with tarfile.open(fileobj=file, mode="r|") as tar:
                    yield from map(self._decoded, self._samples(tar))
            except tarfile.TarError as error:
                raise ValueError(f"{path}: it cannot be read as a tar file: {error}") from None

    def _samples(self, tar: tarfile.TarFile) -> Iterator[dict[str, Any]]:
        sample: dict[str, Any] = {}
        for member in tar:
            if not member.isfile():
                continue
            name = self._renamed(member.name)
            folder, _, last = name.rpartition("/")
            base, mark, suffix = last.partition(".")
            if not mark or not base or not _chosen(name, self.fileselect) or not _chosen(suffix, self.suffixes):
                continue
            key = f"{folder}/{base}" if folder else base
            if sample.get("__key__") != key:
                if sample:
                    yield sample
                sample = {"__key__": key}
            data = tar.extractfile(member)
            assert data is not None  # it is a file
            sample[suffix.lower()] = data.read()
        if sample:
            yield sample

    def _renamed(self, name: str) -> str:
        if callable(self.filerename):
            return str(self.filerename(name))
        for old, new in self.filerename or ():
            name = name.replace(old, new)
        return name

    def _decoded(self, sample: dict[str, Any]) -> dict[str, Any]:
        for step in self.decoders:
            sample = step(sample)
        if self.expand_json:
            for name in [name for name, value in sample.items() if isinstance(value, dict)]:
                sample.update(sample.pop(name))
        return sample


def _chosen(name: str, choice: Select) -> bool:
    if choice is None:
        return True
    if callable(choice):
        return bool(choice(name))
    return any(fnmatch.fnmatch(name, pattern) for pattern in ([choice] if isinstance(choice, str) else choice))


def decode(sample: dict[str, Any]) -> dict[str, Any]:
    """The values of a sample, by the endings of their names."""
    return {name: _value(name.rpartition(".")[2], data) for name, data in sample.items()}


def _value(ending: str, data: Any) -> Any:
    if not isinstance(data, bytes):
        return data
    if ending in ("txt", "text", "transcript"):
        return data.decode("utf-8")
    if ending in ("cls", "cls2", "id", "index", "inx"):
        return int(data)
    if ending in ("json", "jsn"):
        return json.loads(data)
    if ending == "npy":
        return np.load(io.BytesIO(data), allow_pickle=False)
    if ending in PICTURES:
        need("PIL", "pillow", f"decoding .{ending}")
        from PIL import Image

        return np.asarray(Image.open(io.BytesIO(data)))
    return data
