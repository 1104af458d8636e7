"""Cancelling: waiting tasks, running ones, with force, and with their children."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

import skate
from skate.client import current
from skate.exceptions import TaskCancelledError, WorkerCrashedError
from skate.testing import eventually
from skate.wire import messages as m

pytestmark = pytest.mark.usefixtures("cluster")


@skate.remote
def run(folder: str, name: str = "main") -> str:
    path = Path(folder) / name
    path.write_text(str(os.getpid()))
    try:
        for _ in range(2000):
            time.sleep(0.005)
    except KeyboardInterrupt:
        path.with_suffix(".interrupted").touch()
        raise
    return "finished"


@skate.remote
def touch(path: str) -> None:
    Path(path).touch()


@skate.remote
def echo(x: Any) -> Any:
    return x


def started(folder: Path, name: str = "main") -> int:
    path = folder / name
    eventually(lambda: path.exists() and path.read_text(), what=f"the start of {name}")
    return int(path.read_text())


def test_a_running_task(tmp_path: Path) -> None:
    ref = run.remote(str(tmp_path))
    started(tmp_path)
    start = time.monotonic()
    skate.cancel(ref)
    with pytest.raises(TaskCancelledError):
        skate.get(ref, timeout=10)
    assert time.monotonic() - start < 3
    eventually((tmp_path / "main.interrupted").exists, what="KeyboardInterrupt in the task")


def test_a_waiting_task_never_runs(tmp_path: Path) -> None:
    busy = [run.remote(str(tmp_path), str(i)) for i in range(2)]
    waiting = touch.remote(str(tmp_path / "ran"))
    for i in range(2):
        started(tmp_path, str(i))
    skate.cancel(waiting)
    with pytest.raises(TaskCancelledError):
        skate.get(waiting, timeout=5)
    for ref in busy:
        skate.cancel(ref)
    skate.wait(busy, num_returns=2)
    assert not (tmp_path / "ran").exists()


def test_a_task_that_waits_for_an_argument(tmp_path: Path) -> None:
    first = run.remote(str(tmp_path))
    second = echo.remote(first)
    skate.cancel(second)
    with pytest.raises(TaskCancelledError):
        skate.get(second, timeout=5)
    skate.cancel(first)
    with pytest.raises(TaskCancelledError):
        skate.get(first, timeout=10)


def test_what_depends_on_it_fails_too(tmp_path: Path) -> None:
    first = run.remote(str(tmp_path))
    second = echo.remote(first)
    started(tmp_path)
    skate.cancel(first)
    with pytest.raises(TaskCancelledError):
        skate.get(second, timeout=10)


def test_a_finished_task_stays_finished() -> None:
    ref = echo.remote(1)
    assert skate.get(ref) == 1
    skate.cancel(ref)
    assert skate.get(ref) == 1


def test_twice_is_once(tmp_path: Path) -> None:
    ref = run.remote(str(tmp_path))
    started(tmp_path)
    skate.cancel(ref)
    skate.cancel(ref)
    with pytest.raises(TaskCancelledError):
        skate.get(ref, timeout=10)
    assert skate.get([echo.remote(i) for i in range(20)]) == list(range(20)), "the second interrupt hit another task"


def test_force_kills_the_worker(tmp_path: Path) -> None:
    ref = run.remote(str(tmp_path))
    pid = started(tmp_path)
    skate.cancel(ref, force=True)
    with pytest.raises((WorkerCrashedError, TaskCancelledError)):
        skate.get(ref, timeout=10)
    eventually(lambda: not os.path.exists(f"/proc/{pid}"), what="the end of the worker")
    assert not (tmp_path / "main.interrupted").exists()


def test_cancelled_tasks_are_not_retried(tmp_path: Path) -> None:
    @skate.remote(max_retries=5, retry_exceptions=True)
    def stubborn(path: str) -> None:
        with open(path, "a") as out:
            out.write("x")
        for _ in range(2000):
            time.sleep(0.005)

    path = tmp_path / "attempts"
    ref = stubborn.remote(str(path))
    eventually(path.exists)
    skate.cancel(ref)
    with pytest.raises(TaskCancelledError):
        skate.get(ref, timeout=10)
    skate.get([echo.remote(i) for i in range(10)])
    assert path.read_text() == "x"


def test_children_are_cancelled_too(tmp_path: Path) -> None:
    @skate.remote
    def parent(folder: str) -> str:
        return skate.get(run.remote(folder, "child"))

    ref = parent.remote(str(tmp_path))
    started(tmp_path, "child")
    skate.cancel(ref)
    with pytest.raises(TaskCancelledError):
        skate.get(ref, timeout=10)
    eventually((tmp_path / "child.interrupted").exists, what="the child's interrupt")


def test_a_task_blocked_in_get_is_interrupted(tmp_path: Path) -> None:
    @skate.remote
    def blocked(box: list[Any]) -> Any:
        return skate.get(box[0])

    first = run.remote(str(tmp_path))
    ref = blocked.remote([first])
    started(tmp_path)
    skate.wait([ref], timeout=0.05)
    skate.cancel(ref)
    with pytest.raises(TaskCancelledError):
        skate.get(ref, timeout=10)
    skate.cancel(first)
    skate.wait([first])


def test_an_actors_waiting_call(tmp_path: Path) -> None:
    @skate.remote
    class Slow:
        def run(self, path: str) -> None:
            while not os.path.exists(path):
                time.sleep(0.005)

        def touch(self, path: str) -> str:
            Path(path).touch()
            return "ran"

    slow = Slow.remote()
    first = slow.run.remote(str(tmp_path / "go"))
    second = slow.touch.remote(str(tmp_path / "second"))
    third = slow.touch.remote(str(tmp_path / "third"))
    skate.cancel(second)
    (tmp_path / "go").touch()
    assert skate.get([first, third], timeout=10) == [None, "ran"]
    with pytest.raises(TaskCancelledError):
        skate.get(second, timeout=10)
    assert not (tmp_path / "second").exists()


def test_no_force_for_actors() -> None:
    @skate.remote
    class Quick:
        def ping(self) -> int:
            return 1

    quick = Quick.remote()
    skate.get(quick.ping.remote())
    ref = quick.ping.remote()
    with pytest.raises(ValueError, match="force"):
        skate.cancel(ref, force=True)
    assert skate.get(ref) == 1


def test_many(tmp_path: Path) -> None:
    refs = [run.remote(str(tmp_path), str(i)) for i in range(100)]
    for ref in refs:
        skate.cancel(ref)
    for ref in refs:
        with pytest.raises(TaskCancelledError):
            skate.get(ref, timeout=10)


def test_something_else() -> None:
    with pytest.raises(TypeError, match="ObjectRef"):
        skate.cancel(1)  # type: ignore[arg-type]


SLOW = """
import time
from pathlib import Path

import skate

Path("{folder}/begun").touch()
context = skate.get_runtime_context()
while not context.is_canceled():
    time.sleep(0.01)
for _ in range(50):  # in which an interrupt that is not put off comes
    time.sleep(0.01)
Path("{folder}/whole").touch()
"""


def test_a_module_is_loaded_to_its_end(tmp_path: Path) -> None:
    """Or it could not be used in this process any more."""
    (tmp_path / "slow_module.py").write_text(SLOW.format(folder=tmp_path))

    @skate.remote
    def load() -> None:
        import sys

        sys.path.insert(0, str(tmp_path))
        import slow_module  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]

        while slow_module:
            time.sleep(0.01)

    ref = load.remote()
    eventually((tmp_path / "begun").exists, what="the module is being loaded")
    skate.cancel(ref)
    with pytest.raises(TaskCancelledError):
        skate.get(ref, timeout=10)
    eventually((tmp_path / "whole").exists, what="the end of the module")


def test_a_task_that_its_worker_gives_back_while_it_is_cancelled_does_not_run_elsewhere(tmp_path: Path) -> None:
    """The worker had read it, and says that it has not begun; the interrupt is on its way there, and not to the next worker."""
    ref = run.remote(str(tmp_path))
    started(tmp_path)
    runtime: Any = current.runtime
    tasks = runtime.tasks
    with runtime.lock:
        worker, task = next(
            (worker, task)
            for worker in tasks.submitter.workers.values()
            for task in worker.inflight.values()
            if task.ref is ref
        )
        skate.cancel(ref)
        tasks._on_replies(worker, m.Replies([m.Reply(task.seq, m.NOT_STARTED)]))
        assert task.worker is None and not task.function.shape.queue, "it is over"
    with pytest.raises(TaskCancelledError):
        skate.get(ref, timeout=5)
