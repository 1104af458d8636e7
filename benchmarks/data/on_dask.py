"""How Dask answers, with the schedulers that it takes by default: threads for frames, processes for bags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.bag as db
import dask.dataframe as dd

from .files import Files
from .lines import heavy_values


def csv_sum(at: Files) -> float:
    frame = dd.read_csv(at.csv)
    return float((frame["x"].sum() + frame["x"].count()).compute())


def parquet_sum(at: Files) -> float:
    frame = dd.read_parquet(at.parquet, columns=["x"])
    return float((frame["x"].sum() + frame["x"].count()).compute())


def small_csv(at: Files) -> int:
    return len(dd.read_csv(at.small_csv))


def first_batch(at: Files) -> int:
    return len(dd.read_csv(at.csv).head(256))


def cheap(at: Files) -> float:
    frame = dd.read_parquet(at.parquet, columns=["x", "y"])
    run = frame.map_partitions(lambda part: part["x"] * 2 + part["y"], meta=("out", "f8"))
    return float(run.sum().compute())


def heavy(at: Files) -> float:
    frame = dd.read_parquet(at.parquet, columns=["x"])
    return float(frame.map_partitions(lambda part: heavy_values(part["x"]), meta=("out", "f8")).sum().compute())


def groupby(at: Files, key: str) -> int:
    grouped = dd.read_parquet(at.parquet, columns=[key, "x", "y"]).groupby(key)
    return len(grouped.agg({"x": "sum", "y": ["mean", "max"]}).compute())


def sort(at: Files) -> int:
    return len(dd.read_parquet(at.parquet).sort_values("key").compute())


def join(at: Files) -> float:
    large, small = dd.read_parquet(at.parquet), dd.read_parquet(at.dimension)
    return float(large.merge(small, on="key")["y"].sum().compute())


def pictures(at: Files) -> int:
    def mean(path: Path) -> Any:
        import numpy as np
        from PIL import Image

        with Image.open(path) as picture:
            return np.asarray(picture.resize((224, 224), Image.Resampling.BILINEAR).convert("RGB")).mean()

    return len(db.from_sequence(sorted(Path(at.pictures).iterdir())).map(mean).compute())
