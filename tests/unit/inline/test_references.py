"""References on the inline runtime: `get`, `put`, `wait`, `as_completed`, asyncio."""

from __future__ import annotations

import asyncio
import pickle

import pytest

import skate
from skate.exceptions import GetTimeoutError, NotRunningError

from .common import Counter, Signal, add, fail, upto


def test_get_put_and_wait_check_their_arguments():
    with pytest.raises(ValueError, match="list"):
        skate.get((skate.put(1),))
    with pytest.raises(ValueError, match="RemoteFunction"):
        skate.get(add)
    with pytest.raises(TypeError):
        skate.get([1])
    with pytest.raises(TypeError, match="ObjectRef"):
        skate.put(skate.put(1))
    ref = skate.put(1)
    for bad, error in [(ref, TypeError), ((ref,), TypeError), ([1], TypeError), ([ref, ref], ValueError)]:
        with pytest.raises(error):
            skate.wait(bad)
    for number in (0, 2):
        with pytest.raises(ValueError):
            skate.wait([ref], num_returns=number)
    with pytest.raises(ValueError):
        skate.wait([ref], timeout=-1)
    assert skate.wait([]) == ([], [])
    with pytest.raises(TypeError):
        skate.cancel(1)
    with pytest.raises(ValueError):
        skate.kill(ref)


def test_wait():
    refs = [skate.put(i) for i in range(4)]
    assert skate.wait(refs, num_returns=2) == (refs[:2], refs[2:])
    signal = Signal.remote()
    pending = signal.wait.remote()
    assert skate.wait([pending, refs[0]]) == ([refs[0]], [pending])
    assert skate.wait([pending], timeout=0) == ([], [pending])
    stream = upto.remote(2)
    assert skate.wait([stream, pending]) == ([stream], [pending])
    with pytest.raises(GetTimeoutError, match="async actor Signal"):
        skate.get(pending, timeout=0)
    assert "Signal" in skate.why(pending)


def test_as_completed():
    signal = Signal.remote()
    pending = signal.wait.remote()
    ref = skate.put(1)
    found = skate.as_completed([pending, ref, ref])
    assert next(found) is ref
    signal.send.remote()
    assert list(found) == [pending]
    with pytest.raises(TypeError):
        skate.as_completed([1])
    late = skate.as_completed([Signal.remote().wait.remote()], timeout=0.01)
    with pytest.raises(GetTimeoutError):
        list(late)


def test_references_in_asyncio_and_futures():
    async def both():
        return await add.remote(1), await asyncio.gather(add.remote(2), add.remote(3))

    assert asyncio.run(both()) == (2, [3, 4])
    assert add.remote(1).future().result() == 2
    assert isinstance(fail.remote(KeyError("k")).future().exception(), KeyError)
    ref = add.remote(1)
    assert pickle.loads(pickle.dumps(ref)) is ref
    assert ref.hex() in repr(ref) and len({ref, ref}) == 1


def test_use_after_shutdown():
    ref, counter = skate.put(1), Counter.remote()
    skate.shutdown()
    with pytest.raises(NotRunningError):
        skate.get(ref)
    with pytest.raises(NotRunningError):
        counter.add.remote()
    skate.init(mode="inline")
    assert skate.get(add.remote(1)) == 2
