"""Named and detached actors, namespaces and get_if_exists."""

from __future__ import annotations

from typing import Any

import pytest

import skate
from skate.exceptions import ActorAlreadyExistsError
from skate.testing import eventually

pytestmark = pytest.mark.usefixtures("cluster")


@skate.remote
class Store:
    def __init__(self, value: Any = None) -> None:
        self.value = value

    def set(self, value: Any) -> None:
        self.value = value

    def get(self) -> Any:
        return self.value


def gone(name: str, namespace: str | None = None) -> bool:
    try:
        skate.get_actor(name, namespace)
    except ValueError:
        return True
    return False


def test_found_by_name() -> None:
    store = Store.options(name="store").remote(1)
    found = skate.get_actor("store")
    assert found == store
    assert skate.get(found.get.remote()) == 1


def test_found_by_name_in_a_task() -> None:
    @skate.remote
    def read() -> Any:
        return skate.get(skate.get_actor("shared").get.remote())

    store = Store.options(name="shared").remote(2)
    assert skate.get(read.remote()) == 2
    del store


def test_a_second_one_of_the_name() -> None:
    store = Store.options(name="one").remote()
    with pytest.raises(ValueError, match="one") as caught:
        Store.options(name="one").remote()
    assert isinstance(caught.value, ActorAlreadyExistsError)
    skate.get(store.get.remote())


def test_get_if_exists() -> None:
    options: dict[str, Any] = {"name": "maybe", "get_if_exists": True}
    first = Store.options(**options).remote("first")
    second = Store.options(**options).remote("second")
    assert first == second
    assert skate.get(second.get.remote()) == "first"


def test_get_if_exists_from_many_tasks_at_once() -> None:
    @skate.remote(num_cpus=0.25)
    def write(i: int) -> Any:
        store = Store.options(name="race", get_if_exists=True, lifetime="detached").remote([])
        skate.get(store.get.remote())
        return store

    assert len(set(skate.get([write.remote(i) for i in range(8)]))) == 1
    skate.kill(skate.get_actor("race"))
    eventually(lambda: gone("race"))


def test_the_name_is_free_after_death() -> None:
    store = Store.options(name="again").remote(1)
    skate.get(store.get.remote())
    skate.kill(store)
    eventually(lambda: gone("again"))
    store = Store.options(name="again").remote(2)
    assert skate.get(store.get.remote()) == 2
    del store
    eventually(lambda: gone("again"), what="the name of an actor without handles")


def test_namespaces() -> None:
    here = Store.options(name="spaced").remote("here")
    there = Store.options(name="spaced", namespace="other").remote("there")
    assert skate.get(skate.get_actor("spaced").get.remote()) == "here"
    assert skate.get(skate.get_actor("spaced", namespace="other").get.remote()) == "there"
    assert gone("spaced", "third")
    listed = skate.util.list_named_actors(all_namespaces=True)
    assert {"name": "spaced", "namespace": "other"} in listed
    assert skate.util.list_named_actors() == ["spaced"]
    skate.get([here.get.remote(), there.get.remote()])


def test_detached_outlives_its_handles_and_its_task() -> None:
    @skate.remote
    def make() -> None:
        store = Store.options(name="detached", lifetime="detached").remote("kept")
        skate.get(store.get.remote())

    skate.get(make.remote())
    found = skate.get_actor("detached")
    assert skate.get(found.get.remote()) == "kept"
    skate.kill(found)
    eventually(lambda: gone("detached"))


def test_a_plain_actor_of_a_task_ends_with_the_task() -> None:
    @skate.remote
    def make() -> None:
        store = Store.options(name="short").remote()
        skate.get(store.get.remote())

    skate.get(make.remote())
    eventually(lambda: gone("short"), what="the end of an actor that only an ended task knew")


def test_wrong_names() -> None:
    with pytest.raises(ValueError, match="nobody"):
        skate.get_actor("nobody")
    with pytest.raises(ValueError, match="empty"):
        skate.get_actor("")
    with pytest.raises(ValueError, match="name"):
        Store.options(get_if_exists=True).remote()
    with pytest.raises(ValueError):
        Store.options(name="").remote()
