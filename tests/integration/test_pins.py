"""References inside exceptions: they can be used by whoever catches the exception, and are freed with it."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import skate
from skate.client import current
from skate.testing import eventually

pytestmark = pytest.mark.usefixtures("cluster")


class Found(Exception):
    """An error that brings what was found so far."""


@skate.remote
def search() -> None:
    raise Found(skate.put(np.arange(50_000)), [skate.put("small")])


@skate.remote
class Searcher:
    def search(self) -> None:
        raise Found(skate.put(np.arange(50_000)), [skate.put("small")])

    def items(self) -> Any:
        yield 1
        raise Found(skate.put(np.arange(50_000)), [skate.put("small")])


def check(error: Any) -> None:
    large, (small,) = error.args
    assert int(skate.get(large)[-1]) == 49_999
    assert skate.get(small) == "small"


def objects() -> int:
    runtime: Any = current.runtime
    return int(runtime.ask("store")["objects"])


def test_of_a_task() -> None:
    ref = search.remote()
    for _ in range(2):
        with pytest.raises(Found) as caught:
            skate.get(ref)
        check(caught.value)
        del caught


def test_nothing_is_kept() -> None:
    before = objects()
    searcher = Searcher.remote()
    for _ in range(20):
        for ref in (search.remote(), searcher.search.remote()):
            with pytest.raises(Found):
                skate.get(ref)
    del ref
    eventually(lambda: objects() <= before + 1, what="the end of the objects inside errors")


def test_of_an_actor_and_a_stream() -> None:
    searcher = Searcher.remote()
    with pytest.raises(Found) as caught:
        skate.get(searcher.search.remote())
    check(caught.value)
    items = searcher.items.remote()
    assert skate.get(next(items)) == 1
    with pytest.raises(Found) as caught:
        skate.get(next(items))
    check(caught.value)


def test_passed_on() -> None:
    @skate.remote
    def use(found: Any) -> Any:
        return found

    @skate.remote
    def nested(box: list[Any]) -> str:
        try:
            skate.get(box[0])
        except Found as error:
            check(error)
            return "found"
        return "not found"

    failed = search.remote()
    second = use.remote(failed)
    skate.wait([second])
    assert skate.get(nested.remote([failed])) == "found"
    del failed
    assert skate.get(nested.remote([second])) == "found"
    with pytest.raises(Found) as caught:
        skate.get(second)
    check(caught.value)


def test_retried_by_its_exception() -> None:
    before = objects()
    refs = [search.options(retry_exceptions=[Found], max_retries=2).remote() for _ in range(5)]
    searcher = Searcher.remote()
    refs += [searcher.search.options(retry_exceptions=[Found], max_task_retries=2).remote() for _ in range(5)]
    for ref in refs:
        with pytest.raises(Found) as caught:
            skate.get(ref)
        check(caught.value)
        del caught
    del refs, ref
    eventually(lambda: objects() <= before + 1, what="the end of the objects of all attempts")


@pytest.mark.keeps_objects
def test_what_a_program_pickles_itself_is_kept() -> None:
    data = pickle.dumps(skate.put([1, 2]))
    assert skate.get(pickle.loads(data)) == [1, 2]
