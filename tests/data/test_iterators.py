"""Iterators: batches made ahead, mixing, shares of a stream; and that nothing of them is left when they are closed early."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import skate
import skate.data as data
from skate.data import DataContext, streaming
from skate.data.errors import ColumnNotFoundError
from skate.data.iterator import mixed
from skate.data.prefetch import ahead
from skate.exceptions import UnsupportedError
from skate.testing import eventually


def prefetching() -> list[str]:
    """The threads that make batches or drive epochs."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("skate-data")]


# ---------------------------------------------------------------- ahead of use


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_values_come_in_order_and_the_thread_ends(depth: int) -> None:
    assert list(ahead(iter(range(10)), depth, lambda: None)) == list(range(10))
    assert prefetching() == []


def test_no_more_is_made_than_was_asked_for() -> None:
    made = []

    def source() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    values = ahead(source(), 2, lambda: None)
    assert next(values) == 0
    eventually(lambda: len(made) == 4, 5, "one is taken, two wait, one waits for its place")
    values.close()  # type: ignore[attr-defined]
    assert len(made) == 4 and prefetching() == []


@pytest.mark.parametrize("depth", [0, 2])
def test_an_error_comes_where_its_value_would(depth: int) -> None:
    def source() -> Iterator[int]:
        yield 1
        raise KeyError("no")

    values = ahead(source(), depth, lambda: None)
    assert next(values) == 1
    with pytest.raises(KeyError):
        next(values)
    assert prefetching() == []


def test_closing_ends_a_source_that_waits() -> None:
    stopped = threading.Event()

    def source() -> Iterator[int]:
        yield 1
        stopped.wait(20)

    values = ahead(source(), 1, stopped.set)
    assert next(values) == 1
    values.close()  # type: ignore[attr-defined]
    assert stopped.is_set() and prefetching() == []


# ---------------------------------------------------------------- batches


def test_batches_of_all_formats() -> None:
    ds = data.range(10)
    assert [len(batch["id"]) for batch in ds.iter_batches(batch_size=4)] == [4, 4, 2]
    assert [len(batch["id"]) for batch in ds.iter_batches(batch_size=4, drop_last=True)] == [4, 4]
    assert [len(batch) for batch in ds.iter_batches(batch_format="pandas", batch_size=None)] == [10]
    assert next(iter(ds.iter_batches(batch_format=None))).equals(pa.table({"id": range(10)}))
    assert next(iter(ds.iter_batches(batch_format="polars"))).height == 10
    assert len(list(ds.iter_batches(prefetch_batches=0, batch_size=3))) == 4


def test_each_iteration_begins_anew() -> None:
    batches = data.range(3).iterator().iter_batches()
    assert [batch["id"].tolist() for batch in batches] == [batch["id"].tolist() for batch in batches] == [[0, 1, 2]]


def test_rows_are_mixed_near_by() -> None:
    blocks = [pa.table({"id": range(at, at + 10)}) for at in range(0, 1000, 10)]
    found = np.concatenate([block.column("id").to_numpy() for block in mixed(iter(blocks), 50, seed=1)])
    assert sorted(found) == list(range(1000)) and list(found) != list(range(1000))
    assert all(value < at + 150 for at, value in enumerate(found))
    again = np.concatenate([block.column("id").to_numpy() for block in mixed(iter(blocks), 50, seed=1)])
    assert list(found) == list(again)
    ds = data.range(1000)
    shuffled = [row for b in ds.iter_batches(local_shuffle_buffer_size=100, local_shuffle_seed=2) for row in b["id"]]
    assert sorted(shuffled) == list(range(1000)) and shuffled != list(range(1000))


def test_tensors() -> None:
    torch = pytest.importorskip("torch")
    ds = data.range(10).with_column("x", data.col("id") * 0.5)
    first = next(iter(ds.iter_torch_batches(batch_size=4)))
    assert first["id"].tolist() == [0, 1, 2, 3] and first["x"].dtype == torch.float64
    first = next(iter(ds.iter_torch_batches(batch_size=4, dtypes={"x": torch.float32}, device="cpu")))
    assert first["x"].dtype == torch.float32 and first["id"].dtype == torch.int64
    summed = ds.iter_torch_batches(collate_fn=lambda batch: torch.as_tensor(batch["x"].sum()))
    assert [float(value) for value in summed] == [22.5]
    with pytest.raises(TypeError, match="column 'item'"):
        next(iter(data.from_items(["a"]).iter_torch_batches()))
    with pytest.raises(ColumnNotFoundError, match="no column 'y'"):
        next(iter(ds.iter_torch_batches(dtypes={"y": torch.float32})))


def test_arrays_of_jax() -> None:
    jax = pytest.importorskip("jax")
    ds = data.range(10).with_column("x", data.col("id") * 0.5)
    batches = list(ds.iter_jax_batches(batch_size=4, paddings={"id": -1, "x": 0.0}))
    assert all(isinstance(batch["id"], jax.Array) for batch in batches)
    assert [batch["id"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, -1, -1]]
    first = next(iter(ds.iter_jax_batches(batch_size=4, dtypes={"x": "float16"})))
    assert first["x"].dtype == "float16" and first["id"].dtype.kind == "i"
    twice = ds.iter_jax_batches(batch_size=5, collate_fn=lambda batch: batch["id"] * 2)
    assert [int(batch.sum()) for batch in twice] == [20, 70]
    with pytest.raises(TypeError, match="column 'item'"):
        next(iter(data.from_items(["a"]).iter_jax_batches(batch_size=1)))
    with pytest.raises(UnsupportedError, match="synchronize_batches"):
        ds.iter_jax_batches(synchronize_batches=True)
    with pytest.raises(ColumnNotFoundError, match="no column 'y'"):
        next(iter(ds.iter_jax_batches(dtypes={"y": "float32"})))


def test_tensors_of_tensorflow() -> None:
    tf = pytest.importorskip("tensorflow")
    ds = data.from_items([{"x": [at, at + 1], "r": list(range(at)), "s": str(at), "y": at * 0.5} for at in range(5)])
    first = next(iter(ds.iter_tf_batches(batch_size=3, dtypes={"y": tf.float32})))
    assert (
        first["x"].shape == (3, 2)
        and first["y"].dtype == tf.float32
        and first["s"].numpy().tolist() == [b"0", b"1", b"2"]
    )
    assert isinstance(first["r"], tf.RaggedTensor) and first["r"].to_list() == [[], [0], [0, 1]]
    pairs = list(ds.to_tf("x", ["y", "s"], batch_size=2))
    assert [x.shape[0] for x, _ in pairs] == [2, 2, 1] and pairs[0][1]["y"].numpy().tolist() == [0.0, 0.5]
    assert [len(each) for each in ds.to_tf("x", "y", additional_columns="y", batch_size=5)] == [3]


def test_frameworks_that_are_not_there_are_named() -> None:
    for name, ask in (
        ("jax", data.range(3).iter_jax_batches),
        ("tensorflow", data.range(3).iter_tf_batches),
        ("tensorflow", lambda: data.range(3).to_tf("id", "id")),
    ):
        if importlib.util.find_spec(name) is None:
            with pytest.raises(ImportError, match=f"needs the package '{name}': pip install {name}"):
                ask()


def test_datasets_of_torch() -> None:
    torch = pytest.importorskip("torch")
    indexed = torch.utils.data.TensorDataset(torch.arange(3), torch.zeros(3, 2))
    rows = data.from_torch(indexed).take_all()
    assert [int(row["item"][0]) for row in rows] == [0, 1, 2] and rows[0]["item"][1].shape == (2,)

    class Iterated(torch.utils.data.IterableDataset):  # type: ignore[misc]
        def __iter__(self) -> Any:
            return iter(range(4))

    assert data.from_torch(Iterated()).sum("item") == 6


# ---------------------------------------------------------------- on the cluster


def test_closing_early_leaves_nothing(cluster: None) -> None:
    ds = data.range(10_000, override_num_blocks=50).map_batches(lambda batch: batch)
    for batch in ds.iter_batches(batch_size=10, prefetch_batches=2):
        assert batch["id"][0] == 0
        break
    del batch
    rows = iter(ds.iter_rows())
    assert next(rows) == {"id": 0}
    rows.close()  # type: ignore[attr-defined]
    assert prefetching() == []


def test_closing_ends_a_wait_for_a_task(cluster: None, tmp_path: Path) -> None:
    sign = tmp_path / "entered"

    def slow(batch: Any) -> Any:
        if batch["id"][0]:
            sign.touch()
            for _ in range(400):  # in pieces, so that it can be cancelled
                threading.Event().wait(0.05)
        return batch

    ds = data.range(2, override_num_blocks=2).map_batches(slow)
    batches = iter(ds.iter_batches(batch_size=1, prefetch_batches=1))
    assert next(batches)["id"].tolist() == [0]
    eventually(sign.exists, 10, "the second task runs")
    batches.close()  # type: ignore[attr-defined]
    assert prefetching() == []


@skate.remote(num_cpus=0)
class Consumer:
    """Goes over its share."""

    def epochs(self, share: data.DataIterator, count: int) -> list[list[int]]:
        return [[int(row) for batch in share.iter_batches() for row in batch["id"]] for _ in range(count)]


@pytest.mark.parametrize("equal", [False, True])
def test_consumers_share_the_rows_of_each_epoch(cluster: None, equal: bool) -> None:
    ds = data.range(1001, override_num_blocks=7).map_batches(lambda batch: batch)
    shares = ds.streaming_split(2, equal=equal)
    consumers = [Consumer.remote() for _ in shares]
    calls = [consumer.epochs.remote(share, 3) for consumer, share in zip(consumers, shares, strict=True)]
    found = skate.get(calls, timeout=25)
    for epoch in range(3):
        rows = [row for each in found for row in each[epoch]]
        assert len(set(rows)) == len(rows) == (1000 if equal else 1001)
        if equal:
            assert [len(each[epoch]) for each in found] == [500, 500]
    assert "rows" in shares[0].stats() and shares[0].schema() == ds.schema()


def test_places_of_consumers_are_checked(cluster: None) -> None:
    here = skate.get_runtime_context().get_node_id()
    shares = data.range(100, override_num_blocks=8).streaming_split(2, equal=True, locality_hints=[here, None])
    consumers = [Consumer.remote() for _ in shares]
    calls = [consumer.epochs.remote(share, 1) for consumer, share in zip(consumers, shares, strict=True)]
    assert [len(rows) for (rows,) in skate.get(calls, timeout=25)] == [50, 50]
    with pytest.raises(ValueError, match="1 locality_hints for 2 consumers"):
        data.range(10).streaming_split(2, locality_hints=[here])
    with pytest.raises(ValueError, match="there is no node 'nowhere'"):
        data.range(10).streaming_split(2, locality_hints=[here, "nowhere"])


def test_an_epoch_begins_when_all_have_asked(cluster: None) -> None:
    shares = data.range(10).streaming_split(2)
    taken: list[list[int]] = [[], []]

    def go(number: int) -> None:
        for _ in range(2):
            taken[number] += [row["id"] for row in shares[number].iter_rows()]

    first = threading.Thread(target=go, args=(0,))
    first.start()
    first.join(0.3)
    assert first.is_alive() and taken == [[], []]  # it waits for the other
    go(1)
    first.join(10)
    assert sorted(taken[0] + taken[1]) == sorted([*range(10)] * 2)


def test_a_consumer_may_leave_an_epoch(cluster: None) -> None:
    """The others get on without it, and it is there again in the next."""
    shares = data.range(400, override_num_blocks=40).map_batches(lambda batch: batch).streaming_split(2, equal=True)
    counts = []

    def leaves() -> None:
        for _ in shares[0].iter_batches(batch_size=1):
            break
        counts.append(sum(1 for _ in shares[0].iter_rows()))

    other = threading.Thread(target=leaves)
    other.start()
    counts += [sum(1 for _ in shares[1].iter_rows()) for _ in range(2)]
    other.join(10)
    assert counts == [200, 200, 200]


def test_an_error_of_a_function_reaches_all_consumers(cluster: None) -> None:
    def fails(batch: Any) -> Any:
        raise ValueError("never again")

    shares = data.range(10, override_num_blocks=2).map_batches(fails).streaming_split(2)
    errors = []

    def go(number: int) -> None:
        try:
            list(shares[number].iter_rows())
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=go, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    assert len(errors) == 2 and all("never again" in str(error) for error in errors)


def test_a_plan_that_cannot_begin_is_no_empty_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*args: Any) -> Any:
        raise ValueError("never begins")

    monkeypatch.setattr(streaming, "execute", refuses)
    coordinator = streaming.Coordinator(data.range(10)._node, DataContext(), 2, False)
    first = threading.Thread(target=coordinator.begin, args=(0, -1))
    first.start()
    assert coordinator.begin(1, -1) == 0
    first.join(15)
    for consumer in range(2):
        with pytest.raises(ValueError, match="never begins"):
            coordinator.next(consumer, 0)
    assert coordinator.stats() == "" and not prefetching()
