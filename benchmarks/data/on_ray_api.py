"""How skate and Ray answer: one and the same program, with the defaults that a user gets."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from ..framework import NAME
from .files import Files
from .lines import heavy_values

data: Any = importlib.import_module(f"{NAME}.data")
aggregate: Any = importlib.import_module(f"{NAME}.data.aggregate")


def _count_and_sum(dataset: Any) -> float:
    found = dataset.aggregate(aggregate.Count(alias_name="n"), aggregate.Sum("x", alias_name="sum"))
    return float(found["n"] + found["sum"])


def csv_sum(at: Files) -> float:
    return _count_and_sum(data.read_csv(at.csv))


def parquet_sum(at: Files) -> float:
    return _count_and_sum(data.read_parquet(at.parquet))


def small_csv(at: Files) -> int:
    return int(data.read_csv(at.small_csv).count())


def first_batch(at: Files) -> int:
    batch = next(iter(data.read_csv(at.csv).iter_batches(batch_size=256)))
    return len(batch["x"])


def _cheap(batch: dict[str, Any]) -> dict[str, Any]:
    return {"out": batch["x"] * 2 + batch["y"]}


def _heavy(batch: dict[str, Any]) -> dict[str, Any]:
    return {"out": heavy_values(batch["x"])}


def cheap(at: Files) -> float:
    return float(data.read_parquet(at.parquet, columns=["x", "y"]).map_batches(_cheap).sum("out"))


def heavy(at: Files) -> float:
    return float(data.read_parquet(at.parquet, columns=["x"]).map_batches(_heavy).sum("out"))


def groupby(at: Files, key: str) -> int:
    grouped = data.read_parquet(at.parquet, columns=[key, "x", "y"]).groupby(key)
    found = grouped.aggregate(aggregate.Sum("x"), aggregate.Mean("y"), aggregate.Max("y"))
    return int(found.materialize().count())


def sort(at: Files) -> int:
    return int(data.read_parquet(at.parquet).sort("key").materialize().count())


def shuffle(at: Files) -> int:
    return int(data.read_parquet(at.parquet).random_shuffle().materialize().count())


def join(at: Files) -> float:
    large, small = data.read_parquet(at.parquet), data.read_parquet(at.dimension)
    return float(large.join(small, join_type="inner", num_partitions=4, on=("key",)).sum("y"))


def pictures(at: Files) -> int:
    def brightness(batch: dict[str, Any]) -> dict[str, Any]:
        return {"mean": np.asarray([picture.mean() for picture in batch["image"]])}

    return int(data.read_images(at.pictures, size=(224, 224), mode="RGB").map_batches(brightness).materialize().count())


def tpch(at: Files, number: int) -> list[tuple[Any, ...]]:
    from .tpch_queries import QUERIES, rows_of, tables

    return rows_of(QUERIES[number](tables(at.tpch)))
