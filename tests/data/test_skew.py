"""A key that most rows have, in a dataset that is larger than the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import skate
import skate.data
from skate.data import DataContext, Dataset, plan
from skate.data.execution.executor import Execution
from skate.data.execution.inline import InlineRunner
from skate.data.lower import Lowering
from skate.data.run import table

from .helpers import BUDGET, parts_of

STORE_BYTES = 40 << 20
ROWS = 2_000_000
"""Of 32 bytes."""


def keyed(batch: dict[str, Any]) -> dict[str, Any]:
    ids = batch["id"]
    return {"k": np.where(ids % 10 == 0, ids % 1000, -1), "id": ids, "a": ids, "b": ids}


@pytest.fixture
def skewed(start: Callable[..., str]) -> Iterator[Dataset]:
    """Nine rows of ten have key -1."""
    start(object_store_memory=STORE_BYTES)
    yield skate.data.range(ROWS, override_num_blocks=8).map_batches(keyed)


def test_sorts_have_small_parts_and_stay_stable(skewed: Dataset) -> None:
    stream = skewed.sort("k").iter_batches(batch_size=None, batch_format="pyarrow")
    blocks = [block.column("id").to_numpy().copy() for block in stream]  # what is held of a block stays in the store
    assert sum(map(len, blocks)) == ROWS and max(map(len, blocks)) < ROWS // 8
    ids = np.concatenate(blocks)
    assert np.array_equal(ids, np.argsort(keyed({"id": np.arange(ROWS)})["k"], kind="stable"))


def test_groups_that_the_store_does_not_hold(skewed: Dataset) -> None:
    found = skewed.groupby("k").map_groups(lambda group: {"k": group["k"][:1], "rows": [len(group["k"])]}).take_all()
    assert {row["k"]: row["rows"] for row in found} == {-1: ROWS * 9 // 10, **dict.fromkeys(range(0, 1000, 10), 2000)}


@pytest.mark.parametrize("how", ["left_outer", "right_outer"])
def test_joins(skewed: Dataset, how: str) -> None:
    other = skate.data.from_items([{"k": key, "z": key} for key in (-1, 0, 5)])
    other = other.map_batches(lambda batch: batch)  # of unknown size: both sides are shuffled
    assert skewed.join(other, how, on="k").count() == (ROWS if how == "left_outer" else ROWS * 9 // 10 + 2000 + 1)


@pytest.mark.parametrize("how", ["inner", "left_outer", "right_semi", "right_anti", "full_outer"])
def test_tasks_of_a_join_share_what_has_one_key(how: str) -> None:
    """The rows and their order are those of one task for each part."""
    many = pa.table({"k": [7] * 900 + list(range(100)), "i": range(1000)})
    few = pa.table({"k": [1, 7, 200], "j": [10, 70, 2000]})
    left, right = (few, many) if how.startswith("right") else (many, few)
    node = plan.Join(parts_of(left, 10), parts_of(right, 10), how, ("k",), ("k",), "", "", 3)
    found = []
    merges = []
    for part_bytes in (1000, 1 << 20):
        context = DataContext(broadcast_bytes=0)
        execution = Execution(Lowering(context, 3, part_bytes).lower(node), InlineRunner(), BUDGET)
        made = [table(bundle) for bundle in execution]  # one block for each merge
        found.append(pa.concat_tables(made))
        merges.append(len(made))
    assert found[0].equals(found[1]) and found[0].num_rows
    assert merges[1] == 3 and (merges[0] > 3) is (how != "full_outer")
