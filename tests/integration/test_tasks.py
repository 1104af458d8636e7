"""Tasks: arguments, results, options, retries and nesting."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path
from typing import Any

import pytest
from meeting import meet

import skate

from .scripts import run_script

pytestmark = pytest.mark.usefixtures("cluster")


@skate.remote
def add(a: int, b: int = 10, *rest: int, scale: int = 1) -> int:
    return (a + b + sum(rest)) * scale


@skate.remote
def echo(value: Any) -> Any:
    return value


def test_arguments_of_every_kind() -> None:
    assert skate.get(add.remote(1, 2)) == 3
    assert skate.get(add.remote(1)) == 11
    assert skate.get(add.remote(1, 2, 3, 4, scale=2)) == 20
    assert skate.get(add.remote(b=1, a=2)) == 3


def test_references_as_arguments_are_their_values() -> None:
    one = skate.put(1)
    assert skate.get(add.remote(one, b=add.remote(one, 1))) == 3


def test_a_reference_inside_a_list_stays_a_reference() -> None:
    ref = skate.put("inside")
    (found,) = skate.get(echo.remote([ref]))
    assert isinstance(found, skate.ObjectRef)
    assert skate.get(found) == "inside"


def test_many_tasks_in_order() -> None:
    assert skate.get([echo.remote(i) for i in range(2000)]) == list(range(2000))


def test_the_same_reference_twice() -> None:
    ref = echo.remote(3)
    assert skate.get([ref, ref]) == [3, 3]
    assert skate.get(ref) == 3


def test_results_are_copies() -> None:
    ref = echo.remote([1])
    first = skate.get(ref)
    first.append(2)
    assert skate.get(ref) == [1]


def test_several_results() -> None:
    @skate.remote(num_returns=3)
    def three() -> tuple[int, str, None]:
        return 1, "two", None

    refs = three.remote()
    assert len(refs) == 3
    assert skate.get(refs) == [1, "two", None]


def test_no_result() -> None:
    @skate.remote(num_returns=0)
    def nothing(path: str) -> None:
        Path(path).touch()

    assert nothing.remote(os.devnull) is None


@pytest.mark.parametrize("made", [1, 3])
def test_wrong_number_of_results(made: int) -> None:
    @skate.remote(num_returns=2)
    def wrong() -> tuple[int, ...]:
        return tuple(range(made))

    for ref in wrong.remote():
        with pytest.raises(ValueError, match="2"):
            skate.get(ref)


def test_lambda_partial_and_closure() -> None:
    base = 5
    assert skate.get(skate.remote(lambda x: x + base).remote(1)) == 6
    assert skate.get(skate.remote(functools.partial(max, 3)).remote(2)) == 3


def test_recursive_function() -> None:
    @skate.remote
    def fib(n: int) -> int:
        return n if n < 2 else sum(skate.get([fib.remote(n - 1), fib.remote(n - 2)]))

    assert skate.get(fib.remote(7)) == 13


def test_options_leave_the_original_alone() -> None:
    pair = echo.options(num_returns=2, name="pair")
    assert skate.get(pair.remote([1, 2])) == [1, 2]
    assert skate.get(echo.remote([1, 2])) == [1, 2]


def test_name_and_ids_in_the_context() -> None:
    @skate.remote
    def who() -> tuple[str | None, str | None, str, dict[str, float]]:
        context = skate.get_runtime_context()
        return context.get_task_name(), context.get_task_id(), context.get_job_id(), context.get_assigned_resources()

    ref = who.options(name="somebody", num_cpus=0.5, resources={"blue": 0.25}).remote()
    name, task, job, resources = skate.get(ref)
    assert name == "somebody"
    assert task == ref.task_id()
    assert job == skate.get_runtime_context().get_job_id()
    assert resources == {"CPU": 0.5, "blue": 0.25}


def test_resources_bound_what_runs_at_once(tmp_path: Path) -> None:
    @skate.remote(num_cpus=0, resources={"blue": 1})
    def alone(i: int) -> bool:
        mine = tmp_path / "lock"
        mine.touch(exist_ok=False)
        time.sleep(0.02)
        mine.unlink()
        return True

    assert all(skate.get([alone.remote(i) for i in range(5)]))


def test_two_cpus_run_two_tasks_at_once(tmp_path: Path) -> None:
    comes = skate.remote(meet)
    assert skate.get([comes.remote(tmp_path, me, 2) for me in range(2)]) == [True, True]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_tasks_that_were_short_before_run_at_once_when_they_are_long(tmp_path: Path, count: int) -> None:
    comes = skate.remote(num_cpus=0.5)(meet)
    for _ in range(100):
        assert skate.get(comes.remote(tmp_path, 0, 0))
    assert all(skate.get([comes.remote(tmp_path, me, count) for me in range(count)]))


def test_no_task_is_held_behind_a_long_one() -> None:
    @skate.remote
    def wait_for(path: str) -> str:
        while not os.path.exists(path):
            time.sleep(0.005)
        return "long"

    @skate.remote
    def short() -> int:
        return 1

    path = f"{skate.get_runtime_context().get_temp_dir()}/go-{os.getpid()}"
    skate.get([short.remote() for _ in range(100)])
    long = wait_for.remote(path)
    try:
        assert skate.get([short.remote() for _ in range(200)], timeout=10) == [1] * 200
    finally:
        Path(path).touch()
        assert skate.get(long) == "long"
        os.unlink(path)


def test_blocked_parents_lend_their_cpu() -> None:
    @skate.remote
    def leaf(x: int) -> int:
        return x

    @skate.remote
    def parent(x: int) -> int:
        return sum(skate.get([leaf.remote(x), leaf.remote(1)]))

    @skate.remote
    def grandparent(x: int) -> int:
        return sum(skate.get([parent.remote(x), parent.remote(x)]))

    assert skate.get([grandparent.remote(i) for i in range(4)], timeout=30) == [2 * (i + 1) for i in range(4)]


def test_exceptions_are_retried_when_asked(tmp_path: Path) -> None:
    @skate.remote(max_retries=3, retry_exceptions=[KeyError])
    def fail_twice(kind: type[Exception]) -> int:
        attempts = tmp_path / kind.__name__
        with attempts.open("a") as out:
            out.write("x")
        count = len(attempts.read_text())
        if count < 3:
            raise kind("again")
        return count

    assert skate.get(fail_twice.remote(KeyError)) == 3
    with pytest.raises(ValueError, match="again"):
        skate.get(fail_twice.remote(ValueError))
    assert (tmp_path / "ValueError").read_text() == "x"


def test_max_calls_replaces_the_worker() -> None:
    @skate.remote(max_calls=2)
    def pid() -> int:
        return os.getpid()

    pids = [skate.get(pid.remote()) for _ in range(6)]
    assert max(pids.count(each) for each in pids) <= 2


def test_dependencies_make_a_chain() -> None:
    ref: Any = skate.put(0)
    for _ in range(200):
        ref = add.remote(ref, 1)
    assert skate.get(ref) == 200


def test_an_error_in_a_dependency_fails_the_task() -> None:
    @skate.remote
    def fail() -> int:
        raise KeyError("source")

    @skate.remote
    def use(x: int) -> int:
        return x

    with pytest.raises(KeyError, match="source"):
        skate.get(use.remote(use.remote(fail.remote())))


def test_environment_and_folder_are_the_drivers() -> None:
    assert skate.get(skate.remote(os.getcwd).remote()) == os.getcwd()


def test_gpu_request_that_can_never_be_met() -> None:
    with pytest.raises(skate.exceptions.TaskUnschedulableError, match="GPU"):
        echo.options(num_gpus=1).remote(1)


def test_workers_have_imported_nothing_that_plain_tasks_do_not_need() -> None:
    script = """
        import skate
        skate.init(num_cpus=1)

        @skate.remote
        def heavy():
            import sys
            return {"asyncio", "ssl", "subprocess", "sqlite3", "numpy"} & set(sys.modules)

        print(skate.get(heavy.remote()))
    """
    done = run_script(script)
    assert done.stdout == "set()\n", done.stdout + done.stderr
