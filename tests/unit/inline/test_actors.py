"""Actors on the inline runtime."""

from __future__ import annotations

import cloudpickle
import pytest

import skate
from skate.exceptions import ActorDiedError, PendingCallsLimitExceeded, TaskCancelledError, TaskUnschedulableError

from .common import Counter, Signal, add


def test_actors():
    counter = Counter.remote(5)
    assert skate.get([counter.add.remote(), counter.add.remote(by=3)]) == [6, 9]
    assert skate.get(counter.twice.remote(4)) == 8
    assert skate.get(counter.limit.remote()) == 10
    assert skate.get(counter.pair.remote(1)) == [1, 2]
    assert [skate.get(ref) for ref in counter.items.remote(2)] == [0, 1]
    assert skate.get(counter.add.options(num_returns=1).remote()) == 10
    assert skate.get(counter.__ray_ready__.remote()) is True
    assert skate.get(counter.__ray_call__.remote(lambda self, x: self.n + x, 1)) == 11
    with pytest.raises(KeyError):
        skate.get(counter.fail.remote())
    assert Counter.LIMIT == 10 and Counter.twice(2) == 4


def test_handles():
    counter = Counter.remote()
    assert repr(counter) == f"Actor(Counter, {counter._actor_id.hex()})"
    assert skate.get(counter.me.remote()) == counter
    assert skate.get(skate.remote(lambda c: skate.get(c.add.remote())).remote(counter)) == 1
    assert skate.get(skate.remote(lambda box: skate.get(box["c"].add.remote())).remote({"c": counter})) == 2
    assert hash(cloudpickle.loads(cloudpickle.dumps(counter))) == hash(counter)
    assert isinstance(counter, skate.actor.ActorHandle)
    with pytest.raises(AttributeError, match="Did you mean 'add'"):
        _ = counter.ad
    with pytest.raises(AttributeError, match="attribute of Counter"):
        _ = counter.half
    with pytest.raises(AttributeError):
        counter.n = 3
    with pytest.raises(TypeError, match=r"\.add\.remote"):
        counter.add()
    with pytest.raises(TypeError, match=r"Counter.add"):
        counter.add.remote(1, 2)
    with pytest.raises(ValueError, match="actor methods"):
        counter.add.options(num_cpus=1)


def test_actor_classes():
    with pytest.raises(TypeError, match=r"Counter\.remote"):
        Counter()
    with pytest.raises(TypeError, match="from 0 to 1"):
        Counter.remote(1, 2)

    class Faster(Counter):
        def add(self, by=1):
            return super().add(10 * by)

    assert skate.get(skate.remote(Faster).remote().add.remote()) == 10
    with pytest.raises(ValueError, match="concurrency group 'io'"):

        @skate.remote
        class Wrong:
            @skate.method(concurrency_group="io")
            def f(self):
                pass


def test_an_actor_ends_with_its_last_handle():
    ends = []

    @skate.remote
    class Mortal:
        def __del__(self):
            ends.append(1)

        def hello(self):
            return 1

    handle = Mortal.remote()
    skate.get(handle.hello.remote())
    method = handle.hello
    del handle
    assert not ends
    assert skate.get(method.remote()) == 1
    del method
    assert ends == [1]


def test_named_actors():
    counter = Counter.options(name="c").remote(1)
    assert skate.get_actor("c") == counter
    assert skate.util.list_named_actors() == ["c"]
    with pytest.raises(ValueError, match="already"):
        Counter.options(name="c").remote()
    assert Counter.options(name="c", get_if_exists=True).remote() == counter
    other = Counter.options(name="c", namespace="elsewhere").remote()
    assert other != counter and skate.get_actor("c", namespace="elsewhere") == other
    del counter
    with pytest.raises(ValueError, match="no actor named"):
        skate.get_actor("c")
    Counter.options(name="d", lifetime="detached").remote()
    assert skate.get(skate.get_actor("d").add.remote()) == 1


def test_the_ends_of_actors():
    counter = Counter.remote()
    with pytest.raises(ActorDiedError, match="exit_actor"):
        skate.get(counter.leave.remote())
    with pytest.raises(ActorDiedError):
        skate.get(counter.add.remote())
    killed = Counter.remote()
    skate.kill(killed)
    with pytest.raises(ActorDiedError, match="kill"):
        skate.get(killed.add.remote())
    ended = Counter.remote()
    ended.__ray_terminate__.remote()
    with pytest.raises(ActorDiedError):
        skate.get(ended.add.remote())
    with pytest.raises(TypeError, match="actor"):
        skate.exit_actor()


def test_restarts():
    counter = Counter.options(max_restarts=1).remote(3)
    skate.get(counter.add.remote())
    skate.kill(counter, no_restart=False)
    assert skate.get(counter.add.remote()) == 4
    assert skate.get(counter.ids.remote()) == (counter._actor_id.hex(), "", True)
    skate.kill(counter, no_restart=False)
    with pytest.raises(ActorDiedError):
        skate.get(counter.add.remote())


def test_an_init_that_raises():
    @skate.remote
    class Broken:
        def __init__(self):
            raise ValueError("broken")

        def hello(self):
            pass

    broken = Broken.remote()
    with pytest.raises(ActorDiedError, match="broken") as caught:
        skate.get(broken.hello.remote())
    assert caught.value.actor_init_failed


def test_async_actors():
    signal = Signal.remote()
    pending = signal.wait.remote()
    assert skate.wait([pending], timeout=0)[0] == []
    signal.send.remote()
    assert skate.get(pending) == "seen"
    assert [skate.get(ref) for ref in signal.items.remote(3)] == [0, 1, 2]
    assert skate.get(signal.plain.remote()) == "skate-inline-actors"
    other = Signal.remote()
    dependent = other.wait.remote()
    skate.cancel(dependent)
    with pytest.raises(TaskCancelledError):
        skate.get(dependent)
    with pytest.raises(ValueError):
        skate.cancel(other.wait.remote(), force=True)


def test_limits_of_pending_calls():
    signal = Signal.options(max_pending_calls=2).remote()
    first, second = signal.wait.remote(), signal.wait.remote()
    with pytest.raises(PendingCallsLimitExceeded):
        signal.send.remote()
    skate.cancel(first)
    skate.wait([first])
    signal.send.remote()
    assert skate.get(second) == "seen"


def test_resources_of_actors():
    counter = Counter.options(num_cpus=3).remote()
    assert skate.available_resources()["CPU"] == 1.0
    assert skate.cluster_resources()["CPU"] == 4.0
    with pytest.raises(TaskUnschedulableError, match="wait forever"):
        add.options(num_cpus=2).remote(1)
    del counter
    assert skate.available_resources()["CPU"] == 4.0


def test_the_runtime_context():
    @skate.remote(num_cpus=2)
    def look():
        context = skate.get_runtime_context()
        return context.get_task_id(), context.get_assigned_resources(), context.get()

    ref = look.remote()
    task_id, resources, fields = skate.get(ref)
    assert task_id == ref.task_id() == fields["task_id"]
    assert resources == {"CPU": 2.0}
    here = skate.get_runtime_context()
    assert here.get_task_id() is None and here.get_actor_id() is None
    with pytest.raises(RuntimeError):
        _ = here.current_actor
    assert here.get_job_id() == fields["job_id"]
    assert skate.get_gpu_ids() == []
    with pytest.raises(skate.exceptions.UnsupportedError, match="keeps no history"):
        skate.timeline()
