"""Tasks on the inline runtime: arguments, results, streams, errors, options, and the decorator."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import threading
import traceback

import cloudpickle
import pytest

import skate
from skate.exceptions import (
    ActorUnschedulableError,
    RayTaskError,
    TaskCancelledError,
    TaskUnschedulableError,
    WorkerCrashedError,
)

from .common import Counter, add, fail, upto


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
    assert "fail" in str(caught.value) and "common.py" in str(caught.value)
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
        skate.get(skate.remote(lambda: threading.Lock()).remote())


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
