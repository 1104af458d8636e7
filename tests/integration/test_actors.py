"""Actors: state, order, life and death, restarts, handles and methods."""

from __future__ import annotations

import os
import signal
import time
from itertools import pairwise
from typing import Any

import pytest

import skate
from skate.exceptions import ActorDiedError, PendingCallsLimitExceeded, RayActorError
from skate.testing import eventually

pytestmark = pytest.mark.usefixtures("cluster")


@skate.remote
class Counter:
    def __init__(self, start: int = 0) -> None:
        self.value = start

    def add(self, by: int = 1) -> int:
        self.value += by
        return self.value

    def read(self) -> int:
        return self.value

    def pid(self) -> int:
        return os.getpid()

    def fail(self) -> None:
        raise ValueError("in the actor")

    def die(self) -> None:
        os._exit(7)

    @staticmethod
    def twice(x: int) -> int:
        return 2 * x

    @skate.method(num_returns=2)
    def pair(self) -> tuple[int, int]:
        return self.value, -self.value

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def alive(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


def test_state_and_order() -> None:
    counter = Counter.remote(5)
    assert skate.get([counter.add.remote() for _ in range(500)]) == list(range(6, 506))


def test_two_actors_are_two_processes() -> None:
    one, two = Counter.remote(), Counter.remote()
    pids = skate.get([one.pid.remote(), two.pid.remote()])
    assert len({*pids, os.getpid()}) == 3


def test_an_exception_leaves_the_state() -> None:
    counter = Counter.remote()
    counter.add.remote()
    with pytest.raises(ValueError, match="in the actor"):
        skate.get(counter.fail.remote())
    assert skate.get(counter.read.remote()) == 1


def test_static_method_and_several_results() -> None:
    counter = Counter.remote(3)
    assert skate.get(counter.twice.remote(4)) == 8
    assert skate.get(counter.pair.remote()) == [3, -3]
    assert skate.get(counter.pair.options(num_returns=1).remote()) == (3, -3)


def test_references_as_arguments() -> None:
    counter = Counter.remote(skate.put(3))
    assert skate.get(counter.add.remote(skate.put(4))) == 7
    assert skate.get(counter.add.remote(counter.read.remote())) == 14


def test_order_holds_behind_a_slow_argument() -> None:
    @skate.remote
    def slow() -> int:
        time.sleep(0.1)
        return 10

    counter = Counter.remote()
    first = counter.add.remote(slow.remote())
    second = counter.add.remote(1)
    assert skate.get([first, second]) == [10, 11]


def test_dies_with_its_last_handle() -> None:
    counter = Counter.remote()
    pid = skate.get(counter.pid.remote())
    last = counter.add.remote()
    del counter
    assert skate.get(last) == 1, "calls that were made are answered first"
    eventually(lambda: not alive(pid), what="the end of an actor without handles")


def test_a_handle_in_a_task_keeps_it_alive() -> None:
    @skate.remote
    def use(counter: Any, nested: dict[str, Any]) -> int:
        skate.get(nested["counter"].add.remote(10))
        return skate.get(counter.read.remote())

    counter = Counter.remote()
    ref = use.remote(counter, {"counter": counter})
    del counter
    assert skate.get(ref) == 10


def test_a_handle_returned_from_a_task() -> None:
    @skate.remote
    def make() -> Any:
        counter = Counter.remote(1)
        skate.get(counter.add.remote())
        return counter

    counter = skate.get(make.remote())
    assert skate.get(counter.add.remote()) == 3


def test_a_handle_held_by_another_actor() -> None:
    @skate.remote
    class Owner:
        def __init__(self) -> None:
            self.inner = Counter.remote()

        def add(self) -> int:
            return skate.get(self.inner.add.remote())

        def hand_out(self) -> Any:
            return self.inner

    owner = Owner.remote()
    assert skate.get([owner.add.remote(), owner.add.remote()]) == [1, 2]
    inner = skate.get(owner.hand_out.remote())
    assert skate.get(inner.add.remote()) == 3


def test_methods_can_be_passed() -> None:
    @skate.remote
    def call(method: Any) -> int:
        return skate.get(method.remote(2))

    counter = Counter.remote()
    assert skate.get(call.remote(counter.add)) == 2


def test_kill() -> None:
    counter = Counter.remote()
    pid = skate.get(counter.pid.remote())
    running = counter.sleep.remote(30)
    skate.kill(counter)
    with pytest.raises(ActorDiedError, match=r"kill"):
        skate.get(running)
    with pytest.raises(RayActorError):
        skate.get(counter.read.remote())
    eventually(lambda: not alive(pid), what="the end of a killed actor")


def test_kill_is_not_for_tasks() -> None:
    with pytest.raises(ValueError, match="cancel"):
        skate.kill(skate.put(1))  # type: ignore[arg-type]


def test_graceful_end() -> None:
    counter = Counter.remote()
    last = counter.add.remote()
    end = counter.__ray_terminate__.remote()
    assert skate.get(last) == 1
    with pytest.raises(RayActorError):
        skate.get(end)
        skate.get(counter.read.remote())


def test_exit_actor() -> None:
    @skate.remote
    class Leaver:
        def leave(self) -> None:
            skate.exit_actor()

        def read(self) -> int:
            return 1

    leaver = Leaver.remote()
    with pytest.raises(ActorDiedError, match="exit_actor"):
        skate.get(leaver.leave.remote())
    with pytest.raises(ActorDiedError):
        skate.get(leaver.read.remote())


def test_exit_actor_outside() -> None:
    with pytest.raises(TypeError, match="exit_actor"):
        skate.exit_actor()


def test_error_in_init() -> None:
    @skate.remote
    class Broken:
        def __init__(self) -> None:
            raise KeyError("no luck")

        def read(self) -> int:
            return 1

    broken = Broken.remote()
    with pytest.raises(ActorDiedError, match="no luck") as caught:
        skate.get(broken.read.remote())
    assert caught.value.actor_init_failed
    with pytest.raises(ActorDiedError, match="no luck"):
        skate.get(broken.read.remote())


def test_death_names_the_exit_code_and_last_output() -> None:
    @skate.remote
    class Talker:
        def talk_and_die(self) -> None:
            print("famous last words", flush=True)
            os._exit(9)

    talker = Talker.remote()
    with pytest.raises(ActorDiedError, match="famous last words") as caught:
        skate.get(talker.talk_and_die.remote())
    assert caught.value.exit_code == 9
    assert caught.value.memory_bytes


def test_restart_loses_the_state() -> None:
    counter = Counter.options(max_restarts=1).remote(100)
    skate.get(counter.add.remote())
    with pytest.raises(RayActorError):
        skate.get(counter.die.remote())
    assert skate.get(eventually(lambda: _try(counter.add))) == 101
    with pytest.raises(RayActorError):
        skate.get(counter.die.remote())
    with pytest.raises(ActorDiedError):
        skate.get(counter.read.remote())


def _try(method: Any) -> Any:
    ref = method.remote()
    try:
        skate.get(ref)
    except RayActorError:
        return None
    return ref


def test_calls_are_repeated_on_a_restarted_actor() -> None:
    counter = Counter.options(max_restarts=-1, max_task_retries=-1).remote()
    for _ in range(3):
        pid = skate.get(counter.pid.remote())
        calls = [counter.add.remote() for _ in range(20)]
        os.kill(pid, signal.SIGKILL)
        values = skate.get([*calls, counter.add.remote()])
        restarts = sum(later <= earlier for earlier, later in pairwise(values))
        assert restarts <= 1, f"order was lost: {values}"


def test_restart_says_so() -> None:
    @skate.remote(max_restarts=1, max_task_retries=1)
    class Aware:
        def restarted(self) -> bool:
            return skate.get_runtime_context().was_current_actor_reconstructed

    aware = Aware.remote()
    assert skate.get(aware.restarted.remote()) is False
    skate.kill(aware, no_restart=False)
    assert eventually(lambda: skate.get(aware.restarted.remote()))


def test_max_pending_calls() -> None:
    counter = Counter.options(max_pending_calls=2).remote()
    skate.get(counter.read.remote())
    busy = [counter.sleep.remote(0.2), counter.read.remote()]
    with pytest.raises(PendingCallsLimitExceeded, match="2"):
        counter.read.remote()
    skate.get(busy)
    eventually(lambda: _allowed(counter), what="room for another call")


def _allowed(counter: Any) -> bool:
    try:
        skate.get(counter.read.remote())
    except PendingCallsLimitExceeded:
        return False
    return True


def test_many_callers_each_in_order() -> None:
    @skate.remote
    class Log:
        def __init__(self) -> None:
            self.seen: dict[int, list[int]] = {}

        def add(self, who: int, i: int) -> None:
            self.seen.setdefault(who, []).append(i)

        def all(self) -> dict[int, list[int]]:
            return self.seen

    @skate.remote(num_cpus=0.5)
    def call(log: Any, who: int) -> None:
        skate.get([log.add.remote(who, i) for i in range(200)])

    log = Log.remote()
    skate.get([call.remote(log, who) for who in range(4)])
    assert skate.get(log.all.remote()) == {who: list(range(200)) for who in range(4)}


def test_default_actors_need_a_cpu_only_to_start() -> None:
    counters = [Counter.remote(i) for i in range(8)]
    assert skate.get([counter.read.remote() for counter in counters]) == list(range(8))
    assert skate.available_resources()["CPU"] == 2


def test_resources_are_held_for_life() -> None:
    counter = Counter.options(num_cpus=1, resources={"blue": 1}).remote()
    skate.get(counter.read.remote())
    free = skate.available_resources()
    assert free["CPU"] == 1
    assert "blue" not in free
    other = Counter.options(resources={"blue": 1}).remote()
    ready, waiting = skate.wait([other.read.remote()], timeout=0.1)
    assert not ready
    assert "resources" in skate.why(waiting[0]) or "blue" in skate.why(waiting[0])
    del counter
    assert skate.get(waiting, timeout=10) == [0]


def test_context_in_an_actor() -> None:
    @skate.remote
    class Who:
        def ask(self) -> tuple[str | None, str | None, Any]:
            context = skate.get_runtime_context()
            return context.get_actor_id(), context.get_actor_name(), context.current_actor

    who = Who.remote()
    actor_id, name, itself = skate.get(who.ask.remote())
    assert actor_id == who._actor_id.hex()
    assert name == ""
    assert itself == who


def test_reference_held_in_an_actor() -> None:
    @skate.remote
    class Holder:
        def keep(self, boxed: list[Any]) -> None:
            self.ref = boxed[0]

        def get(self) -> Any:
            return skate.get(self.ref)

    holder = Holder.remote()
    ref = skate.put(b"x" * 200_000)
    skate.get(holder.keep.remote([ref]))
    del ref
    assert skate.get(holder.get.remote()) == b"x" * 200_000


def test_readiness_and_calls_of_any_function() -> None:
    counter = Counter.remote(4)
    skate.get(counter.__ray_ready__.remote())
    assert skate.get(counter.__ray_call__.remote(lambda self, by: self.value + by, 1)) == 5


def test_inheritance() -> None:
    @skate.remote
    class Base:
        def name(self) -> str:
            return "base"

        def hello(self) -> str:
            return f"hello {self.name()}"

    @skate.remote
    class Child(Base):  # type: ignore[misc, valid-type]
        def name(self) -> str:
            return "child"

    assert skate.get(Child.remote().hello.remote()) == "hello child"


def test_wrong_method_and_arguments() -> None:
    counter = Counter.remote()
    with pytest.raises(AttributeError, match="'add'"):
        _ = counter.ad
    with pytest.raises(TypeError, match="argument"):
        counter.add.remote(1, 2, 3)
    with pytest.raises(TypeError, match="remote"):
        counter.add(1)
    with pytest.raises(TypeError, match="remote"):
        Counter(1)
    with pytest.raises(TypeError):
        Counter.remote(1, 2)
    skate.get(counter.read.remote())
