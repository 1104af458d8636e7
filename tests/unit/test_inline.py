"""The semantics of the API, on the inline runtime."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import inspect
import itertools
import pickle
import threading
import traceback

import cloudpickle
import pytest

import skate
from skate.exceptions import (
    ActorDiedError,
    ActorUnschedulableError,
    GetTimeoutError,
    NotRunningError,
    PendingCallsLimitExceeded,
    RayTaskError,
    TaskCancelledError,
    TaskUnschedulableError,
    UnsupportedError,
    WorkerCrashedError,
)


@pytest.fixture(autouse=True)
def session():
    skate.init(mode="inline", num_cpus=4, configure_logging=False)
    yield
    skate.shutdown()
    gc.collect()


@skate.remote
def add(a, b=1):
    """Add."""
    return a + b


@skate.remote
def fail(error):
    raise error


@skate.remote
def upto(n, fail_at=None):
    for i in range(n):
        if i == fail_at:
            raise ValueError(f"at {i}")
        yield i


@skate.remote
class Counter:
    LIMIT = 10

    def __init__(self, n=0):
        self.n = n

    def add(self, by=1):
        self.n += by
        return self.n

    def fail(self):
        raise KeyError("k")

    def leave(self):
        skate.exit_actor()

    def me(self):
        return skate.get_runtime_context().current_actor

    def ids(self):
        context = skate.get_runtime_context()
        return context.get_actor_id(), context.get_actor_name(), context.was_current_actor_reconstructed

    @staticmethod
    def twice(x):
        return 2 * x

    @classmethod
    def limit(cls):
        return cls.LIMIT

    @property
    def half(self):
        return self.n / 2

    @skate.method(num_returns=2)
    def pair(self, x):
        return x, x + 1

    def items(self, n):
        yield from range(n)


@skate.remote
class Signal:
    def __init__(self):
        self.event = asyncio.Event()

    async def wait(self):
        await self.event.wait()
        return "seen"

    async def send(self):
        self.event.set()

    async def items(self, n):
        for i in range(n):
            await asyncio.sleep(0)
            yield i

    def plain(self):
        return threading.current_thread().name


# ------------------------------------------------------------ init


def test_init_twice():
    with pytest.raises(RuntimeError, match="ignore_reinit_error"):
        skate.init(mode="inline")
    context = skate.init(mode="inline", ignore_reinit_error=True)
    assert context["node_id"] == skate.get_runtime_context().get_node_id()


def test_the_context_ends_the_session():
    skate.shutdown()
    assert not skate.is_initialized()
    with skate.init(mode="inline", namespace="n") as context:
        assert skate.is_initialized()
        assert dict(context) == context.address_info
        assert "skate version" in context._repr_html_()
        assert skate.get_runtime_context().namespace == "n"
    assert not skate.is_initialized()
    context.disconnect()
    skate.shutdown()


@pytest.mark.parametrize(
    "arguments, error, text",
    [
        ({"address": "1.2.3.4:6379"}, UnsupportedError, "not supported yet"),
        ({"address": "1.2.3.4:6379"}, ConnectionError, "1.2.3.4"),
        ({"address": "auto"}, ConnectionError, "no running cluster"),
        ({"local_mode": True}, UnsupportedError, 'mode="inline"'),
        ({"mode": "threads"}, ValueError, "inline"),
        ({"include_dashboard": True}, UnsupportedError, "include_dashboard"),
        ({"runtime_env": {"pip": []}}, UnsupportedError, "runtime_env"),
        ({"labels": {"a": "b"}}, UnsupportedError, "labels"),
        ({"num_cpu": 1}, TypeError, "num_cpus"),
        ({"num_cpus": 1.5}, ValueError, "whole"),
        ({"num_cpus": -1}, ValueError, "num_cpus"),
        ({"resources": {"CPU": 1}}, ValueError, "num_cpus"),
        ({"object_store_memory": 0}, ValueError, "above 0"),
        ({"namespace": ""}, TypeError, "namespace"),
        ({"_system_config": {"a": 1}}, UnsupportedError, "_system_config"),
    ],
)
def test_wrong_arguments_of_init(arguments, error, text):
    skate.shutdown()
    with pytest.raises(error, match=text):
        skate.init(**arguments)
    assert not skate.is_initialized()


def test_the_address_of_the_environment(monkeypatch):
    skate.shutdown()
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:1")
    with pytest.raises(ConnectionError, match="RAY_ADDRESS"):
        skate.init()
    monkeypatch.setenv("RAY_ADDRESS", "local")
    skate.init(mode="inline")


def test_harmless_arguments_of_init():
    skate.shutdown()
    skate.init(mode="inline", include_dashboard=False, runtime_env={}, log_to_driver=False, _node_name="here")
    assert skate.nodes()[0]["NodeName"] == "here"


# ------------------------------------------------------------ tasks


def test_tasks_and_references():
    assert skate.get(add.remote(1)) == 2
    assert skate.get(add.remote(add.remote(1), b=skate.put(5))) == 7
    assert skate.get([add.remote(i) for i in range(3)]) == [1, 2, 3]
    ref = skate.put(1)
    assert skate.get([ref, ref]) == [1, 1]
    assert skate.get([]) == []
    nested = skate.get(skate.put([ref]))[0]
    assert nested is ref and skate.get(nested) == 1


def test_what_a_remote_function_keeps():
    assert (add.__name__, add.__doc__) == ("add", "Add.")
    assert list(inspect.signature(add).parameters) == ["a", "b"]
    assert add.__wrapped__(1, 2) == 3
    with pytest.raises(TypeError, match=r"add\.remote"):
        add(1)
    with pytest.raises(NotImplementedError):
        add.bind(1)
    again = cloudpickle.loads(cloudpickle.dumps(add))
    assert skate.get(again.remote(2)) == 3


@pytest.mark.parametrize(
    "args, kwargs, text",
    [
        ((), {}, "missing 1 required positional argument: 'a'"),
        ((1, 2, 3), {}, "from 1 to 2 positional arguments but 3"),
        ((1,), {"c": 1}, "unexpected keyword argument 'c'"),
        ((1,), {"a": 1}, "multiple values for argument 'a'"),
    ],
)
def test_wrong_arguments_fail_at_the_call(args, kwargs, text):
    with pytest.raises(TypeError, match=text):
        add.remote(*args, **kwargs)


def test_arity_agrees_with_python():
    def positional(a, b, /):
        return a, b

    def keyword(a, *, k, d=1):
        return a, k, d

    def anything(*args, **kwargs):
        return args, kwargs

    def both(a, /, b=2, *rest, k=3, **more):
        return a, b, rest, k, more

    values = [(), (1,), (1, 2), (1, 2, 3)]
    keywords: list[dict] = [{}, {"a": 1}, {"b": 1}, {"k": 1}, {"k": 1, "d": 2}, {"x": 1}, {"b": 1, "k": 2}]
    for function, args, kwargs in itertools.product((positional, keyword, anything, both), values, keywords):
        remote = skate.remote(function)
        try:
            expected = function(*args, **kwargs)
        except TypeError:
            with pytest.raises(TypeError):
                remote.remote(*args, **kwargs)
        else:
            assert skate.get(remote.remote(*args, **kwargs)) == expected


def test_values_are_copied():
    original = [1]

    @skate.remote
    def grow(values):
        values.append(2)
        return values

    first, second = skate.get([grow.remote(original)] * 2)
    assert original == [1] and first == second == [1, 2] and first is not second


def test_number_of_returns():
    two = skate.remote(num_returns=2)(lambda: (1, 2))
    assert skate.get(two.remote()) == [1, 2]
    assert skate.remote(num_returns=0)(lambda: None).remote() is None
    wrong = skate.remote(num_returns=3)(lambda: (1, 2))
    for ref in wrong.remote():
        with pytest.raises(ValueError, match="num_returns=3"):
            skate.get(ref)
    assert skate.get(upto.options(num_returns=2).remote(2)) == [0, 1]
    dynamic = skate.get(upto.options(num_returns="dynamic").remote(3))
    assert [skate.get(ref) for ref in dynamic] == [0, 1, 2]


def test_streams():
    stream = upto.remote(3)
    assert [skate.get(ref) for ref in stream] == [0, 1, 2]
    assert stream.is_finished()
    failing = upto.remote(3, fail_at=1)
    refs = list(failing)
    assert skate.get(refs[0]) == 0 and len(refs) == 2
    with pytest.raises(ValueError, match="at 1"):
        skate.get(refs[1])
    with pytest.raises(ValueError):
        skate.get(failing.completed())


def test_an_endless_stream_with_back_pressure():
    made = []

    @skate.remote(_generator_backpressure_num_objects=2)
    def endless():
        for i in itertools.count():
            made.append(i)
            yield i

    stream = endless.remote()
    assert len(made) == 2
    assert [skate.get(next(stream)) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert len(made) <= 7
    stream.close()
    with pytest.raises(TaskCancelledError):
        for ref in stream:
            skate.get(ref)


def test_streams_in_asyncio_and_in_other_tasks():
    async def collect():
        return [await ref async for ref in upto.remote(3)]

    assert asyncio.run(collect()) == [0, 1, 2]
    total = skate.remote(lambda stream: sum(skate.get(ref) for ref in stream))
    assert skate.get(total.remote(upto.remote(4))) == 6


def test_errors():
    with pytest.raises(KeyError) as caught:
        skate.get(fail.remote(KeyError("k")))
    assert isinstance(caught.value, RayTaskError)
    assert "fail" in str(caught.value) and "test_inline.py" in str(caught.value)
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert frames[-1].name == "fail", "a debugger's post mortem starts in the user's code"
    with pytest.raises(KeyError):
        skate.get(add.remote(fail.remote(KeyError("k"))))
    with pytest.raises(WorkerCrashedError, match=r"sys.exit"):
        skate.get(skate.remote(lambda: exit(3)).remote())


def test_retries():
    attempts = []

    @skate.remote(max_retries=2, retry_exceptions=[OSError])
    def unsteady(fails, kind):
        attempts.append(1)
        if len(attempts) <= fails:
            raise kind("no")
        return len(attempts)

    assert skate.get(unsteady.remote(2, OSError)) == 3
    attempts.clear()
    with pytest.raises(OSError):
        skate.get(unsteady.remote(3, OSError))
    attempts.clear()
    with pytest.raises(ValueError):
        skate.get(unsteady.remote(1, ValueError))
    assert len(attempts) == 1


def test_what_cannot_be_pickled_says_where():
    lock = threading.Lock()
    with pytest.raises(TypeError, match=r"\['x'\]"):
        add.remote({"x": lock})
    with pytest.raises(TypeError, match="cell 'lock'"):
        skate.remote(lambda: lock).remote()
    with pytest.raises(TypeError, match="lock"):
        skate.get(skate.remote(threading.Lock).remote())


def test_options_of_calls():
    assert skate.get(add.options(name="other", num_cpus=2).remote(1)) == 2
    assert add.options(num_cpus=2) is add.options(num_cpus=2)
    with pytest.raises(ValueError, match="num_cpus"):
        add.options(num_cpu=1)
    with pytest.raises(ValueError, match="decorator"):
        add.options(max_calls=1)
    name = skate.remote(lambda: skate.get_runtime_context().get_task_name()).options(name="mine")
    assert skate.get(name.remote()) == "mine"


def test_what_can_never_run_fails_at_once():
    with pytest.raises(TaskUnschedulableError, match="8 CPU"):
        add.options(num_cpus=8).remote(1)
    with pytest.raises(ActorUnschedulableError, match="1 gold"):
        Counter.options(resources={"gold": 1}).remote()


@pytest.mark.parametrize("target", [3, "f", add, Counter])
def test_wrong_targets_of_the_decorator(target):
    with pytest.raises(TypeError):
        skate.remote(target)


def test_wrong_uses_of_the_decorator():
    with pytest.raises(TypeError, match="num_cpus"):
        skate.remote()
    with pytest.raises(ValueError, match="not an option"):
        skate.remote(cpus=1)(lambda: 1)
    with pytest.raises(ValueError, match="async"):

        @skate.remote
        async def coroutine():
            pass


def test_static_methods_and_nesting():
    class Box:
        @staticmethod
        @skate.remote
        def inner(x):
            return x + 1

        outer = staticmethod(skate.remote(lambda x: skate.get(Box.inner.remote(x)) * 2))

    assert skate.get(Box.outer.remote(1)) == 4

    @skate.remote
    def fib(n):
        return n if n < 2 else sum(skate.get([fib.remote(n - 1), fib.remote(n - 2)]))

    assert skate.get(fib.remote(6)) == 8


# ------------------------------------------------------------ references


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


# ------------------------------------------------------------ map and Executor


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
        even.measured(even.size, even.size * 1e-7)
    assert even.size == 10


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


# ------------------------------------------------------------ actors


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
    with pytest.raises(NotImplementedError):
        skate.timeline()


# ------------------------------------------------------------ util


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
