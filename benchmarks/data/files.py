"""The files that the lines about datasets read, and what there is to find in them.

They are made once for a run, in a folder that the runner removes. Each part is written under another name first, so that what
has its name is complete.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = "BENCH_DATA"
"""The variable of the environment that names the folder."""
GROUPS = 1000
PARTS = 8
SEED = 7


class Files:
    """The files of one size.

    Args:
        rows: of the large table.
        pictures: how many.
        scale: of TPC-H.
    """

    def __init__(self, folder: Path, rows: int, pictures: int, scale: float) -> None:
        self.folder = folder / f"{rows}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.rows = rows
        self._pictures = pictures
        self._scale = scale

    @property
    def csv(self) -> str:
        """The large table as one file."""
        return str(self._made("table.csv", lambda path: _write_csv(path, self._table())))

    @property
    def small_csv(self) -> str:
        """A thousand rows."""
        return str(self._made("small.csv", lambda path: _write_csv(path, self._table().slice(0, 1000))))

    @property
    def parquet(self) -> str:
        """A folder of files with the large table: id, key (a permutation of all rows' numbers), group, x and y."""
        return str(self._made("parquet", lambda path: _write_parquet(path, self._table())))

    @property
    def dimension(self) -> str:
        """A file with a tenth of the keys, and a weight for each."""
        return str(self._made("dimension.parquet", self._write_dimension))

    @property
    def pictures(self) -> str:
        """A folder of JPEG files."""
        return str(self._made("pictures", self._write_pictures))

    @property
    def tpch(self) -> Path:
        """The tables of TPC-H."""
        from .tpch import generate

        return self._made("tpch", lambda path: generate(path, self._scale))

    @property
    def count(self) -> int:
        """How many pictures there are."""
        return self._pictures

    @property
    def answers(self) -> dict[str, float]:
        """What the questions about the large table have as answers."""
        path = self._made("answers.json", self._write_answers)
        found: dict[str, float] = json.loads(path.read_text())
        return found

    # ------------------------------------------------------------ making them

    def _made(self, name: str, make: Callable[[Path], None]) -> Path:
        path = self.folder / name
        if not path.exists():
            unfinished = self.folder / f"_{name}"
            make(unfinished)
            unfinished.rename(path)
        return path

    def _table(self) -> Any:
        import numpy as np
        import pyarrow as pa

        rng = np.random.default_rng(SEED)
        columns = {
            "id": np.arange(self.rows),
            "key": rng.permutation(self.rows),
            "group": rng.integers(0, GROUPS, self.rows),
            "x": rng.random(self.rows).round(6),
            "y": rng.integers(0, 1_000_000, self.rows) / 100,
        }
        return pa.table(columns)

    def _write_dimension(self, path: Path) -> None:
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        keys = np.arange(0, self.rows, 10)
        rng = np.random.default_rng(SEED)
        pq.write_table(pa.table({"key": rng.permutation(keys), "weight": keys % 7 + 1}), path)

    def _write_pictures(self, path: Path) -> None:
        import numpy as np
        from PIL import Image

        path.mkdir()
        rng = np.random.default_rng(SEED)
        for number in range(self._pictures):
            small = Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8))
            small.resize((640, 480)).save(path / f"{number:05}.jpg", quality=85)

    def _write_answers(self, path: Path) -> None:
        import numpy as np

        from .lines import heavy_values

        table = self._table()
        x, y, key = (np.asarray(table.column(name)) for name in ("x", "y", "key"))
        found = {
            "sum": float(x.sum()),
            "cheap": float((x * 2 + y).sum()),
            "heavy": float(heavy_values(x).sum()),
            "join": float(y[key % 10 == 0].sum()),
        }
        path.write_text(json.dumps(found))


def _write_csv(path: Path, table: Any) -> None:
    import pyarrow.csv

    pyarrow.csv.write_csv(table, str(path))


def _write_parquet(path: Path, table: Any) -> None:
    import pyarrow.parquet as pq

    path.mkdir()
    each = -(-table.num_rows // PARTS)
    for part in range(PARTS):
        pq.write_table(table.slice(part * each, each), path / f"{part}.parquet", row_group_size=1 << 17)


@cache
def files(quick: bool) -> Files:
    """The files of this run."""
    folder = Path(os.environ[FOLDER])
    return Files(folder, 200_000, 24, 0.01) if quick else Files(folder, 4_000_000, 400, 1.0)
