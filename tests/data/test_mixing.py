"""Datasets in turns, divisions that are not carried out at once, and columns of groups."""

from __future__ import annotations

from pathlib import Path

import pytest

import skate.data as data
from skate.data import MixStoppingCondition
from skate.data.errors import ColumnNotFoundError
from skate.data.expressions import col
from skate.exceptions import UnsupportedError


def ids(dataset: data.Dataset) -> list[int]:
    return [row["id"] for row in dataset.take_all()]


def numbers(first: int, last: int, blocks: int) -> data.Dataset:
    return data.range(last, override_num_blocks=blocks).filter(expr=col("id") >= first)


def test_rows_in_turns() -> None:
    tens = data.from_items([{"id": n} for n in (10, 20, 30)])
    assert ids(data.range(3).mix(tens)) == [0, 10, 1, 20, 2, 30]
    assert ids(data.range(6).mix(tens, weights=[2, 1])) == [0, 1, 10, 2, 3, 20, 4, 5, 30]
    assert ids(data.range(9).mix(tens)) == [0, 10, 1, 20, 2, 30, *range(3, 9)]
    shortest = MixStoppingCondition.STOP_ON_SHORTEST
    assert ids(data.range(9).mix(tens, stopping_condition=shortest)) == [0, 10, 1, 20, 2, 30]
    assert ids(data.range(2).mix(tens, weights=[1, 2], stopping_condition=shortest)) == [10, 0, 20, 30]
    assert ids(data.range(2).mix()) == [0, 1]


def test_a_mix_of_nothing_has_columns() -> None:
    none = data.range(3).filter(expr="id > 5")
    assert none.mix(none).columns() == ["id"] and none.mix(none).take_all() == []
    assert data.range(3).mix(none).count() == 3
    assert data.range(3).mix(none, stopping_condition="stop_on_shortest").take_all() == []


def test_a_mix_in_a_plan() -> None:
    both = data.range(100).mix(data.range(100).with_column("x", col("id")))
    assert both.columns() == ["id", "x"] and both.count() == 200
    assert both.filter(expr=col("id") == 7).take_all() == [{"id": 7, "x": None}, {"id": 7, "x": 7}]
    assert ids(both.limit(3)) == [0, 0, 1]
    assert both.select_columns(["x"]).sum("x") == 4950
    for wrong in ([1], [1, 0], [1, float("nan")]):
        with pytest.raises(ValueError, match="weight"):
            data.range(1).mix(data.range(1), weights=wrong)


@pytest.mark.usefixtures("cluster")
def test_the_same_rows_are_drawn_wherever_the_plan_is_carried_out() -> None:
    rows = data.range(5000, override_num_blocks=7)
    train, test = rows.streaming_train_test_split(0.2, seed=3)
    here, drawn = ids(train), ids(test)
    assert sorted([*here, *drawn]) == list(range(5000)) and 850 < len(drawn) < 1150
    assert ids(train.map_batches(lambda batch: batch, batch_size=700)) == here
    assert ids(test.map_batches(lambda batch: batch, concurrency=1)) == drawn
    again = data.range(5000).map_batches(lambda batch: batch).streaming_train_test_split(0.2, seed=3)[1]
    assert ids(again) == drawn
    assert ids(rows.streaming_train_test_split(0.2, seed=4)[1]) != drawn
    mixed = numbers(0, 100, 4).mix(numbers(100, 200, 3)).map_batches(lambda batch: batch)
    assert ids(mixed)[:4] == [0, 100, 1, 101] and sorted(ids(mixed)) == list(range(200))


def test_filters_do_not_move_below_a_draw() -> None:
    train, test = data.range(1000).streaming_train_test_split(0.5, seed=0)
    some = ids(train.filter(expr="id >= 500")) + ids(test.filter(expr="id >= 500"))
    assert sorted(some) == list(range(500, 1000))
    assert ids(train.sort("id", descending=True).limit(3)) == ids(train)[:-4:-1]


def test_division_by_a_hash() -> None:
    rows = data.from_items([{"id": n, "user": n % 50} for n in range(1000)])
    train, test = rows.streaming_train_test_split(0.3, split_type="hash", hash_column="user")
    users = {row["user"] for row in train.take_all()}, {row["user"] for row in test.take_all()}
    assert not users[0] & users[1] and users[0] | users[1] == set(range(50)) and 5 < len(users[1]) < 25
    assert test.columns() == ["id", "user"]


def test_what_cannot_be_divided(tmp_path: Path) -> None:
    rows = data.range(10)
    with pytest.raises(ValueError, match="materialize"):
        rows.random_shuffle().streaming_train_test_split(0.5)
    rows.write_csv(tmp_path)
    with pytest.raises(ValueError, match="ReadCSV"):
        data.read_csv(tmp_path, shuffle="files").streaming_train_test_split(0.5)
    rows.random_shuffle().materialize().streaming_train_test_split(0.5)
    with pytest.raises(ValueError, match="hash_column"):
        rows.streaming_train_test_split(0.5, split_type="hash")
    with pytest.raises(ValueError, match="hash_column"):
        rows.streaming_train_test_split(0.5, hash_column="id")
    with pytest.raises(ColumnNotFoundError, match="nope"):
        rows.streaming_train_test_split(0.5, split_type="hash", hash_column="nope")
    with pytest.raises(UnsupportedError):
        rows.streaming_train_test_split(0.5, num_cpus=2)
    for wrong in (0, 1, 2):
        with pytest.raises(ValueError, match="test_size"):
            rows.streaming_train_test_split(wrong)


def test_columns_of_groups() -> None:
    rows = [{"kind": n % 3, "x": n} for n in range(7)]
    found = data.from_items(rows).groupby("kind").with_column("twice", col("x") * 2)
    assert found.columns() == ["kind", "x", "twice"]
    assert [row["x"] for row in found.take_all()] == [0, 3, 6, 1, 4, 2, 5]
    assert all(row["twice"] == 2 * row["x"] for row in found.take_all())
    assert data.range(2).groupby(None).with_column("y", col("id")).take_all() == [{"id": 0, "y": 0}, {"id": 1, "y": 1}]
    with pytest.raises(ColumnNotFoundError):
        data.range(2).groupby("id").with_column("y", col("nope"))
