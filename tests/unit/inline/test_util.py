"""`ActorPool`, `Queue` and the small helpers on the inline runtime."""

from __future__ import annotations

import asyncio

import pytest

import skate
from skate.exceptions import ActorDiedError

from .common import Counter, add


def test_actor_pool():
    pool = skate.util.ActorPool([Counter.remote(), Counter.remote()])
    assert list(pool.map(lambda a, x: a.twice.remote(x), range(5))) == [0, 2, 4, 6, 8]
    assert sorted(pool.map_unordered(lambda a, x: a.twice.remote(x), range(5))) == [0, 2, 4, 6, 8]
    assert pool.has_free() and not pool.has_next()
    for i in range(3):
        pool.submit(lambda a, x: a.twice.remote(x), i)
    assert not pool.has_free()
    assert [pool.get_next(), pool.get_next_unordered(), pool.get_next()] == [0, 2, 4]
    with pytest.raises(StopIteration):
        pool.get_next()
    actor = pool.pop_idle()
    pool.push(actor)
    with pytest.raises(ValueError):
        pool.push(actor)


def test_queue():
    from skate.util.queue import Empty, Full, Queue

    queue = Queue(maxsize=2)
    queue.put(1)
    queue.put_nowait_batch([2])
    assert (len(queue), queue.full(), queue.empty()) == (2, True, False)
    with pytest.raises(Full):
        queue.put_nowait(3)
    with pytest.raises(Full):
        queue.put(3, timeout=0.01)
    assert queue.get_nowait_batch(2) == [1, 2]
    with pytest.raises(Empty):
        queue.get(timeout=0.01)
    with pytest.raises(Empty):
        queue.get_nowait()
    with pytest.raises(ValueError):
        queue.get(timeout=-1)
    assert skate.get(skate.remote(lambda q: q.put(7)).remote(queue)) is None
    assert queue.get() == 7

    async def both():
        await queue.put_async(8)
        return await queue.get_async()

    assert asyncio.run(both()) == 8
    queue.shutdown()
    with pytest.raises(ActorDiedError):
        queue.qsize()


def test_helpers():
    assert sorted(skate.util.as_completed([add.remote(i) for i in range(3)])) == [1, 2, 3]
    assert sorted(skate.util.map_unordered(add, range(5), backpressure_size=2)) == [1, 2, 3, 4, 5]
