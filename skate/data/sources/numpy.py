"""Arrays of numpy's .npy files, as column "data": a row for each entry of the first dimension."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import block as blocks
from ..block import Block
from .files import Files, FileSource

ROWS_BYTES = 32 << 20


class Numpy(FileSource):
    """Arrays of numpy.

    Args:
        files: what is read.
        allow_pickle: arrays of Python objects may be there. Opening a pickle runs code of whoever made the file.
        options: of `numpy.load`.
    """

    name = "Numpy"

    def __init__(self, files: Files, allow_pickle: bool = False, **options: Any) -> None:
        super().__init__(files)
        self.options = {"allow_pickle": allow_pickle, **options}

    def read_file(self, path: str) -> Iterator[Block]:
        import io

        with self.where.open(path) as file:
            data = io.BytesIO(file.read())
        try:
            array = np.load(data, **self.options)
        except (ValueError, EOFError, OSError) as error:
            raise ValueError(f"{path}: it cannot be read as an array of numpy: {error}") from None
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{path}: it holds several arrays; read_numpy reads .npy files of one")
        array = np.atleast_1d(array)
        step = max(1, ROWS_BYTES * len(array) // max(1, array.nbytes))
        for at in range(0, max(1, len(array)), step):
            yield blocks.from_columns({"data": array[at : at + step]})
