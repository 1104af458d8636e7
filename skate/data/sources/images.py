"""Pictures, as column "image": arrays of height, width and channels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..optional import need
from .files import FileRows, Files


class Images(FileRows):
    """Pictures.

    Args:
        files: what is read.
        size: (height, width) that each is made to have; None: its own.
        mode: what each is converted to, in Pillow's words, such as "RGB" or "L"; None: its own.
    """

    name = "Images"
    growth = 8.0

    def __init__(self, files: Files, size: tuple[int, int] | None = None, mode: str | None = None) -> None:
        super().__init__(files)
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise ValueError(f"size={size!r}: it must be (height, width), both from 1")
        need("PIL", "pillow", "read_images")
        self.size = size
        self.mode = mode

    def rows(self, path: str) -> Iterator[Mapping[str, Any]]:
        from PIL import Image, UnidentifiedImageError

        with self.where.open(path) as file:
            try:
                picture: Any = Image.open(file)
                if self.size is not None:
                    height, width = self.size
                    picture = picture.resize((width, height), resample=Image.Resampling.BILINEAR)
                if self.mode is not None:
                    picture = picture.convert(self.mode)
                yield {"image": np.array(picture)}
            except (UnidentifiedImageError, OSError, SyntaxError) as error:
                raise ValueError(f"{path}: it cannot be read as a picture: {error}") from None
