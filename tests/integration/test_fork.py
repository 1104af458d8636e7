"""`multiprocessing` and `os.fork` in drivers, tasks and actors leave the runtime alone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import skate

from .scripts import run_script

pytestmark = pytest.mark.usefixtures("cluster")


def check(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("fine\n"), done.stdout


HEAD = """
    import multiprocessing, os, sys, warnings, skate
    # Python 3.12 says this of every fork of a process with threads.
    warnings.filterwarnings("ignore", "This process.*is multi-threaded", DeprecationWarning)

    @skate.remote
    def square(x):
        return x * x

    def local(x):
        return x + 1

"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_pool_in_the_driver(method: str) -> None:
    check(run_script(HEAD + f"""
    if __name__ == "__main__":
        skate.init(num_cpus=2)
        refs = [square.remote(i) for i in range(50)]
        with multiprocessing.get_context("{method}").Pool(2) as pool:
            assert pool.map(abs, range(-20, 0)) == list(range(20, 0, -1))
            assert skate.get(refs) == [i * i for i in range(50)]
            pool.map(abs, range(5))
        assert skate.get([square.remote(i) for i in range(50)]) == [i * i for i in range(50)]
        skate.shutdown()
        print("fine")
    """))  # fmt: skip


def test_a_fork_that_ends_normally_does_not_shut_down_its_parents_session() -> None:
    check(run_script(HEAD + """
    skate.init(num_cpus=2)
    actor = skate.remote(type("A", (), {"one": lambda self: 1})).remote()
    skate.get(actor.one.remote())
    kept = skate.put([1])
    for _ in range(5):
        pid = os.fork()
        if pid == 0:
            del kept, actor
            sys.exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    assert skate.get(kept) == [1]
    assert skate.get(actor.one.remote()) == 1
    assert skate.get([square.remote(i) for i in range(20)]) == [i * i for i in range(20)]
    skate.shutdown()
    print("fine")
    """))  # fmt: skip


def test_use_in_a_forked_child_is_refused_or_starts_afresh() -> None:
    check(run_script(HEAD + """
    skate.init(num_cpus=1)
    ref = square.remote(3)
    skate.get(ref)
    pid = os.fork()
    if pid == 0:
        try:
            skate.get(square.remote(4) if not skate.is_initialized() else ref)
            skate.shutdown()
            os._exit(0)
        except skate.exceptions.RaySystemError:
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert skate.get(square.remote(5)) == 25
    print("fine")
    """))  # fmt: skip


def test_a_fork_while_threads_use_the_runtime() -> None:
    check(run_script(HEAD + """
    import threading
    skate.init(num_cpus=2)
    stop = threading.Event()

    def work():
        while not stop.is_set():
            assert skate.get([square.remote(i) for i in range(10)]) == [i * i for i in range(10)]

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    stop.set()
    for thread in threads:
        thread.join()
    print("fine")
    """))  # fmt: skip


def test_multiprocessing_in_a_task() -> None:
    @skate.remote
    def parent() -> list[int]:
        import multiprocessing
        import warnings

        warnings.simplefilter("ignore")
        with multiprocessing.get_context("fork").Pool(2) as pool:
            return pool.map(abs, range(-5, 0))

    assert skate.get([parent.remote() for _ in range(4)]) == [[5, 4, 3, 2, 1]] * 4


def test_subprocess_in_a_task() -> None:
    @skate.remote
    def shell(word: str) -> str:
        return subprocess.run([sys.executable, "-c", f"print('{word}')"], capture_output=True, text=True).stdout

    assert skate.get([shell.remote(f"w{i}") for i in range(4)]) == [f"w{i}\n" for i in range(4)]


def test_a_fork_in_an_actor() -> None:
    @skate.remote
    class Forker:
        def fork(self) -> int:
            pid = os.fork()
            if pid == 0:
                os._exit(7)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

        def get(self, box: list[object]) -> object:
            return skate.get(box[0])

    forker = Forker.remote()
    assert skate.get([forker.fork.remote() for _ in range(5)]) == [7] * 5
    assert skate.get(forker.get.remote([skate.put("alive")])) == "alive"


def test_a_forked_child_in_a_task_that_returns() -> None:
    """A child that falls out of the task function must not answer in its parent's place."""

    @skate.remote
    def split() -> str:
        pid = os.fork()
        if pid == 0:
            return "child"
        os.waitpid(pid, 0)
        return "parent"

    assert skate.get(split.remote(), timeout=20) == "parent"
    assert skate.get(split.remote(), timeout=20) == "parent"
