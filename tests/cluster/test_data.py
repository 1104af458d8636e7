"""A node is killed in the middle of an execution of skate.data: the result is the same."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

import skate
import skate.data
from skate.data import Dataset, plan
from skate.data.block import meta_of
from skate.data.functions import UserFunction
from skate.data.run import blocks_of, execute, table

from .conftest import Nodes, on

ROWS = 800_000
"""Large enough that blocks are objects of nodes, and not values in messages."""


LARGE = 1 << 18
"""Rows of a block that is large enough for a task to go where it is."""


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


@skate.remote
def placed(place: int) -> pa.Table:
    return pa.table({"place": np.full(LARGE, place)})


@skate.remote(num_cpus=0)
class Consumer:
    def node(self) -> str:
        return skate.get_runtime_context().get_node_id()

    def rows_by_place(self, share: skate.data.DataIterator) -> dict[int, int]:
        found = Counter[int]()
        for batch in share.iter_batches(batch_size=None):
            found[int(batch["place"][0])] += len(batch["place"])
        return dict(found)


@pytest.mark.parametrize("equal", [True, False])
def test_blocks_go_to_the_consumers_on_their_node(nodes: Nodes, equal: bool) -> None:
    nodes.add(2, here=1)
    nodes.add(2, there=1)
    skate.init(address=nodes.address)
    places = [0, 1, 1, 0, 0, 1, 1, 0, 1, 0, 1, 0]
    refs = [placed.options(**on(("here", "there")[place])).remote(place) for place in places]
    meta = meta_of(pa.table({"place": np.full(LARGE, 0)}))
    rows = Dataset(plan.Blocks([(ref, meta) for ref in refs]))
    consumers = [Consumer.options(**on(name)).remote() for name in ("there", "here")]
    ids = skate.get([consumer.node.remote() for consumer in consumers], timeout=20)
    shares = rows.streaming_split(2, equal=equal, locality_hints=ids)
    calls = [consumer.rows_by_place.remote(share) for consumer, share in zip(consumers, shares, strict=True)]
    there, here = skate.get(calls, timeout=25)
    assert sum(there.values()) + sum(here.values()) == len(places) * LARGE
    if equal:  # otherwise, who is faster takes what is far, too
        assert there == {1: 6 * LARGE} and here == {0: 6 * LARGE}
