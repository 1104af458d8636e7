"""`map` and `Executor` on the inline runtime."""

from __future__ import annotations

import concurrent.futures
import itertools

import pytest

import skate
from skate.exceptions import RayTaskError

from .common import add


def test_map():
    assert list(add.map(range(100))) == list(range(1, 101))
    assert list(add.map([1, 2], [3, 4], chunk_size=1)) == [4, 6]
    assert sorted(add.map(range(100), ordered=False, chunk_size=7)) == list(range(1, 101))
    assert list(itertools.islice(add.map(itertools.count(), max_in_flight=2), 3)) == [1, 2, 3]
    assert list(add.map([skate.put(1), 2])) == [2, 3]
    assert list(add.map([])) == []


def test_an_error_in_map_comes_in_its_place():
    results = skate.remote(lambda x: 10 // x).map([5, 2, 0, 1], chunk_size=4)
    assert next(results) == 2 and next(results) == 5
    with pytest.raises(ZeroDivisionError) as caught:
        next(results)
    assert isinstance(caught.value, RayTaskError)
    with pytest.raises(StopIteration):
        next(results)


@pytest.mark.parametrize("bad", [{"chunk_size": 0}, {"max_in_flight": 0}])
def test_wrong_arguments_of_map(bad):
    with pytest.raises(ValueError):
        add.map([1], **bad)
    with pytest.raises(TypeError):
        add.map()
    with pytest.raises(TypeError):
        add.map([1], [2], [3])


def test_chunks_grow_with_measured_time():
    from skate.api.mapping import CHUNK_ITEMS_MAX, IN_FLIGHT_MAX, ChunkSizer

    sizer = ChunkSizer(0, 2, None, 0)
    assert sizer.size == 1
    sizes = []
    for _ in range(10):
        sizer.measured(sizer.size, sizer.size * 1e-7)
        sizes.append(sizer.size)
    assert sizes[0] == 8 and sizes[-1] == CHUNK_ITEMS_MAX
    assert sizer.window <= IN_FLIGHT_MAX
    slow = ChunkSizer(0, 2, None, 0)
    slow.measured(1, 1.0)
    assert slow.size == 1 and slow.window == 7
    even = ChunkSizer(0, 2, 80, 0)
    for _ in range(10):
        even.measured(even.size, even.size * 1e-3)
    assert even.size == 10  # several chunks for each CPU, so that they end together
    short = ChunkSizer(0, 2, 80, 0)
    for _ in range(10):
        short.measured(short.size, short.size * 1e-7)
    assert short.size == 40  # unless all of it is done in less than a millisecond
    again = ChunkSizer(0, 2, 8000, 0, per_item=1e-3)
    assert again.size == 3  # what an item cost last time is believed up to the bound of growth


def test_executor():
    with skate.Executor(max_workers=2) as executor:
        assert isinstance(executor, concurrent.futures.Executor)
        assert executor.submit(pow, 2, 5).result() == 32
        assert list(executor.map(pow, [1, 2, 3], [2, 2, 2])) == [1, 4, 9]
        assert list(executor.map(pow, [1, 2, 3], [2, 2, 2], chunksize=2)) == [1, 4, 9]
        assert isinstance(executor.submit(int, "x").exception(), ValueError)
        done, _ = concurrent.futures.wait([executor.submit(pow, 1, 1)])
        assert len(done) == 1
    with pytest.raises(RuntimeError):
        executor.submit(pow, 1, 1)
    with pytest.raises(ValueError):
        skate.Executor(max_workers=0)
    with pytest.raises(ValueError):
        skate.Executor(cpus=1)
