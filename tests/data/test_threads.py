"""Plans that threads of the calling process carry out."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import skate
import skate.data as data
from skate.data import DataContext, ExecutionOptions, ExecutionResources, exchange, plan
from skate.data.dataset import Dataset
from skate.data.run import execute, runs_in_threads
from skate.testing import eventually

ROWS = 400_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Files that are too large to be read at once."""
    found = tmp_path_factory.mktemp("files")
    for number in range(4):
        numbers = range(number * ROWS // 4, (number + 1) * ROWS // 4)
        table = pa.table({"id": list(numbers), "group": [each % 7 for each in numbers]})
        pq.write_table(table, found / f"{number}.parquet", row_group_size=10_000)
    return str(found)


@pytest.fixture(autouse=True)
def small() -> None:
    """Nothing is small enough to be computed without threads."""
    skate.shutdown()


def read(folder: str, **settings: int) -> Dataset:
    """The files, with settings."""
    return Dataset(data.read_parquet(folder)._node, DataContext(inline_bytes=0, **settings))


def threads() -> list[str]:
    """Those that carry out tasks."""
    return [each.name for each in threading.enumerate() if each.name.startswith("skate-data ")]


def test_the_answer_comes_without_a_runtime(folder: str) -> None:
    found = read(folder).groupby("group").sum("id").sort("group").take_all()
    assert found == [{"group": g, "sum(id)": sum(range(g, ROWS, 7))} for g in range(7)]
    assert not skate.is_initialized()
    assert not threads()


def test_the_order_is_that_of_the_files(folder: str) -> None:
    assert read(folder).to_arrow().column("id").to_pylist() == list(range(ROWS))


def test_sorts_and_joins(folder: str) -> None:
    whole = read(folder)
    assert whole.sort("id", descending=True).take(2) == [
        {"id": ROWS - 1, "group": (ROWS - 1) % 7},
        {"id": ROWS - 2, "group": (ROWS - 2) % 7},
    ]
    names = data.from_items([{"group": 3, "name": "three"}, {"group": 5, "name": "five"}])
    joined = whole.join(names, "inner", on="group")
    assert joined.count() == sum(each % 7 in (3, 5) for each in range(ROWS))
    assert not skate.is_initialized()


def test_a_limit_ends_what_comes_before(folder: str) -> None:
    assert [row["id"] for row in read(folder).take(3)] == [0, 1, 2]
    assert not threads()


def test_closing_an_iterator_ends_its_threads(folder: str) -> None:
    batches = iter(read(folder).iter_batches(batch_size=10))
    assert next(batches)["id"].tolist() == list(range(10))
    batches.close()  # type: ignore[attr-defined]
    assert not threads()


def test_what_nobody_takes_is_not_made(folder: str) -> None:
    dataset = read(folder)
    execution = execute(dataset._node, dataset._context)
    execution.budget_bytes = 1
    bundles = iter(execution)
    first = next(bundles)
    for _ in range(10):
        execution.advance(wait=False)
    assert execution.used_bytes() < 8 * first.meta.size_bytes + 2 * execution.window_bytes
    assert sum(bundle.meta.rows for bundle in bundles) == ROWS - first.meta.rows
    assert not threads()


def test_the_limit_of_the_settings_holds_for_threads(folder: str) -> None:
    dataset = read(folder)
    limits = ExecutionResources(object_store_memory=2 << 20)
    context = replace(dataset._context, execution_options=ExecutionOptions(resource_limits=limits))
    for node in (dataset._node, dataset.random_shuffle()._node):
        execution = execute(node, context)
        assert execution.budget_bytes == 2 << 20
        assert sum(bundle.meta.rows for bundle in execution) == ROWS


def test_an_error_is_raised_and_nothing_is_left(tmp_path: Path) -> None:
    good = "\n".join(f"{number},{number}" for number in range(1000))
    (tmp_path / "a.csv").write_text(f"a,b\n{good}\n")
    (tmp_path / "b.csv").write_text(f"a,b\n{good}\n1,2,3\n")
    broken = Dataset(data.read_csv(str(tmp_path))._node, DataContext(inline_bytes=0))
    assert runs_in_threads(broken._node, broken._context)
    with pytest.raises(ValueError, match=r"b\.csv.*line 1002"):
        broken.sum("a")
    eventually(lambda: not threads(), 5, "threads end")


def test_a_panic_is_no_end(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Panic(BaseException):
        """As that of Polars: not an `Exception`."""

    def panics(*args: object) -> None:
        raise Panic("in a thread")

    monkeypatch.setattr(exchange, "sort_block", panics)
    with pytest.raises(Panic):
        read(folder, use_polars=False).sort("id").to_arrow()
    assert not threads()


def test_what_does_not_run_in_threads(folder: str) -> None:
    context = DataContext()
    node = data.read_parquet(folder)._node
    assert runs_in_threads(node, context)
    assert not runs_in_threads(node, DataContext(local_bytes=0))
    assert not runs_in_threads(node, DataContext(local_bytes=1000))
    assert not runs_in_threads(data.read_parquet(folder).map(dict)._node, context)
    assert not runs_in_threads(data.read_parquet(folder, num_cpus=1)._node, context)
    assert not runs_in_threads(data.range(10)._node, context)
    ids = data.udf(pa.int64())(lambda values: values)
    assert not runs_in_threads(data.read_parquet(folder).with_column("x", ids(data.col("id")))._node, context)


def test_a_task_keeps_to_its_cpu(folder: str) -> None:
    skate.init(num_cpus=1)

    @skate.remote
    def inside() -> bool:
        return runs_in_threads(data.read_parquet(folder)._node, DataContext())

    assert runs_in_threads(data.read_parquet(folder)._node, DataContext())
    assert not skate.get(inside.remote())


def test_tables_of_this_process_stay_here() -> None:
    table = pa.table({"a": list(range(1000))})
    node = Dataset(data.from_arrow([table, table])._node)._node
    assert isinstance(node, plan.Blocks)
    assert runs_in_threads(node, DataContext())
