"""A node is killed in the middle of an execution of skate.data: the result is the same."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import skate
import skate.data
from skate.data import Dataset, plan
from skate.data.functions import UserFunction
from skate.data.run import blocks_of, execute, table

from .conftest import Nodes

ROWS = 800_000
"""Large enough that blocks are objects of nodes, and not values in messages."""


class Size(NamedTuple):
    """Of a pool of actors."""

    min_size: int
    max_size: int


class AddOne:
    """Constructed in an actor."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"id": batch["id"] + 1}


def double(batch: dict[str, Any]) -> dict[str, Any]:
    return {"id": batch["id"] * 2}


def mapped(source: Dataset) -> Dataset:
    return source.map_batches(double)


def in_actors(source: Dataset) -> Dataset:
    node = plan.MapFunction(mapped(source)._node, "map_batches", UserFunction(AddOne), None, "numpy", Size(2, 4))
    return Dataset(node)


def shuffled(source: Dataset) -> Dataset:
    return mapped(source).random_shuffle(seed=7, num_blocks=6)


def ordered(source: Dataset) -> Dataset:
    return mapped(source).sort("id", descending=True)


def grouped(source: Dataset) -> Dataset:
    return mapped(source).groupby("id").count()


def joined(source: Dataset) -> Dataset:
    return mapped(source).join(mapped(source), "inner", on="id")


@pytest.mark.parametrize("make", [mapped, in_actors, shuffled, ordered, grouped, joined])
def test_a_node_that_dies_changes_nothing(nodes: Nodes, make: Any) -> None:
    nodes.add(1)
    second = nodes.add(1)
    nodes.add(1)
    skate.init(address=nodes.address)
    dataset = make(skate.data.range(ROWS, override_num_blocks=8))
    expected = make(skate.data.range(ROWS, override_num_blocks=8))
    found = []
    execution = execute(dataset._node, dataset._context)
    for number, bundle in enumerate(execution):
        if not number:
            nodes.kill(second)
        found.append(table(bundle).column("id").to_numpy())
    values = np.concatenate(found)
    del found, bundle, execution
    assert np.array_equal(np.sort(values), np.arange(ROWS) * 2 + (make is in_actors))
    again = np.concatenate([each.column("id").to_numpy() for each in blocks_of(expected._node, expected._context)])
    assert np.array_equal(values, again), "in the same order"
