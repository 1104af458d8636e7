"""TFRecord files with `Example` messages, read without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator

from ..block import Block
from ..tfrecord import examples_to_block, records
from .files import Files, FileSource


class TFRecords(FileSource):
    """TFRecord files. A feature that has at most one value in all of a file is a column of values; else one of lists."""

    name = "TFRecords"

    def __init__(self, files: Files) -> None:
        super().__init__(files)

    def read_file(self, path: str) -> Iterator[Block]:
        with self.where.open(path) as file:
            try:
                yield examples_to_block(list(records(file)))
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
