"""F1, F2, F3, F30: workers that die in mid-task, answers that come too late, and children of tasks."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import skate
from skate.client import current
from skate.exceptions import ActorDiedError, TaskCancelledError, WorkerCrashedError
from skate.testing import eventually

from .drivers import alive, gone

pytestmark = pytest.mark.usefixtures("healthy")

GET_S = 15
MB = 1 << 20


def sigkill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def segfault() -> None:
    ctypes.string_at(0)


def exit_now() -> None:
    os._exit(3)


WAYS = [(sigkill, signal.SIGKILL, None), (segfault, signal.SIGSEGV, None), (exit_now, None, 3)]


def attempts(folder: Path) -> int:
    return len(list(folder.glob("attempt-*")))


@skate.remote
def dies(folder: str, until: int, way: Callable[[], None]) -> int:
    """Dies in its first `until` attempts, and then tells its number."""
    number = len([name for name in os.listdir(folder) if name.startswith("attempt-")])
    Path(folder, f"attempt-{number}").write_text(str(time.monotonic()))
    print(f"these are the last words of attempt {number}")
    if number < until:
        way()
    return number


@skate.remote
def reports(path: str, seconds: float) -> int:
    """Tells its pid in a file, and works for a while."""
    Path(path + ".tmp").write_text(str(os.getpid()))
    os.rename(path + ".tmp", path)
    time.sleep(seconds)
    return os.getpid()


def pid_in(path: Path) -> int:
    eventually(path.exists, GET_S)
    return int(path.read_text())


@pytest.mark.parametrize(("way", "signo", "code"), WAYS)
def test_f1_a_killed_task_is_tried_again(tmp_path: Path, way: Any, signo: Any, code: Any) -> None:
    assert skate.get(dies.options(max_retries=2).remote(str(tmp_path), 1, way), timeout=GET_S) == 1
    assert attempts(tmp_path) == 2


@pytest.mark.parametrize(("way", "signo", "code"), WAYS)
def test_f1_the_error_says_how_it_died_and_its_last_words(tmp_path: Path, way: Any, signo: Any, code: Any) -> None:
    with pytest.raises(WorkerCrashedError, match="last words of attempt 0") as caught:
        skate.get(dies.options(max_retries=0).remote(str(tmp_path), 9, way), timeout=GET_S)
    assert attempts(tmp_path) == 1
    error = caught.value
    assert error.exit_signal == signo or (signo is None and not error.exit_signal)
    assert error.exit_code == code
    assert (signal.Signals(signo).name if signo else f"code {code}") in str(error)


def test_f1_by_default_a_task_has_three_retries(tmp_path: Path) -> None:
    with pytest.raises(WorkerCrashedError):
        skate.get(dies.remote(str(tmp_path), 99, sigkill), timeout=GET_S)
    assert attempts(tmp_path) == 4


def test_f1_a_worker_killed_from_outside(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    refs = [reports.options(max_retries=1).remote(str(path), 0.3) for path in (first, second)]
    killed = pid_in(first)
    os.kill(killed, signal.SIGKILL)
    assert gone(killed) < 2
    found = skate.get(refs, timeout=GET_S)
    assert found[0] != killed
    assert found[1] == pid_in(second)


def test_f1_an_actor_says_how_it_died() -> None:
    @skate.remote
    class Mortal:
        def die(self) -> None:
            print("an actor's last words")
            sigkill()

    actor = Mortal.remote()
    with pytest.raises(ActorDiedError, match="an actor's last words") as caught:
        skate.get(actor.die.remote(), timeout=GET_S)
    assert caught.value.exit_signal == signal.SIGKILL


def test_f1_what_a_worker_put_outlives_it() -> None:
    @skate.remote
    class Maker:
        def make(self) -> tuple[int, list[skate.ObjectRef[Any]]]:
            return os.getpid(), [skate.put(np.full(2 * MB, 7, np.uint8)), skate.put("small")]

    @skate.remote
    def make() -> tuple[int, list[skate.ObjectRef[Any]]]:
        return os.getpid(), [skate.put(np.full(2 * MB, 7, np.uint8)), skate.put("small")]

    maker = Maker.remote()
    for pid, refs in skate.get([maker.make.remote(), make.remote()], timeout=GET_S):
        os.kill(pid, signal.SIGKILL)
        gone(pid)
        array, small = skate.get(refs, timeout=GET_S)
        assert int(array.min()) == int(array.max()) == 7
        assert small == "small"


def test_f1_a_result_outlives_its_worker() -> None:
    @skate.remote
    def large() -> tuple[int, np.ndarray]:
        return os.getpid(), np.full(2 * MB, 5, np.uint8)

    ref = large.remote()
    skate.wait([ref], timeout=GET_S)
    pid = skate.get(ref, timeout=GET_S)[0]
    os.kill(pid, signal.SIGKILL)
    gone(pid)
    assert int(skate.get(ref, timeout=GET_S)[1].min()) == 5


def test_f2_a_deadly_task_fails_and_innocent_ones_do_not(tmp_path: Path) -> None:
    @skate.remote(max_retries=0)
    def innocent(number: int) -> int:
        return number

    refs = []
    deadly = []
    for number in range(60):
        if number % 20 == 10:
            folder = tmp_path / str(number)
            folder.mkdir()
            deadly.append((folder, dies.options(max_retries=2).remote(str(folder), 99, sigkill)))
        refs.append(innocent.remote(number))
    assert skate.get(refs, timeout=GET_S) == list(range(60))
    for folder, ref in deadly:
        with pytest.raises(WorkerCrashedError):
            skate.get(ref, timeout=GET_S)
        assert attempts(folder) == 3


def test_f2_in_one_shape_with_innocent_ones(tmp_path: Path) -> None:
    """The same function, so that the deadly call shares packets with the others."""

    @skate.remote(max_retries=0)
    def maybe(number: int) -> int:
        if number == 30:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    refs = [maybe.remote(i) for i in range(60)]
    with pytest.raises(WorkerCrashedError):
        skate.get(refs[30], timeout=GET_S)
    assert skate.get([ref for i, ref in enumerate(refs) if i != 30], timeout=GET_S) == [i for i in range(60) if i != 30]


def test_f2_respawning_backs_off(tmp_path: Path) -> None:
    with pytest.raises(WorkerCrashedError):
        skate.get(dies.options(max_retries=4).remote(str(tmp_path), 99, sigkill), timeout=GET_S)
    times = sorted(float(path.read_text()) for path in tmp_path.glob("attempt-*"))
    assert len(times) == 5
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert gaps[-1] > 0.1, f"no back-off between attempts: {gaps}"
    assert gaps[-1] > 2 * gaps[0], f"the back-off does not grow: {gaps}"


def test_f3_the_late_result_of_a_cancelled_task_is_dropped(tmp_path: Path) -> None:
    @skate.remote(max_retries=0)
    def stubborn(folder: str) -> np.ndarray:
        with contextlib.suppress(KeyboardInterrupt):  # which may come at once
            Path(folder, "begun").touch()
            time.sleep(GET_S)
        Path(folder, "interrupted").touch()
        return np.ones(5 * MB, np.uint8)

    runtime: Any = current.runtime
    before = runtime.ask("store")["objects"]
    ref = stubborn.remote(str(tmp_path))
    eventually((tmp_path / "begun").exists, GET_S)
    skate.cancel(ref)
    eventually((tmp_path / "interrupted").exists, GET_S)
    try:
        assert skate.get(ref, timeout=GET_S).nbytes == 5 * MB
    except TaskCancelledError:
        pass  # either is right, but it must be one of them for good
    del ref
    eventually(lambda: runtime.ask("store")["objects"] <= before, GET_S, "the late result is freed")


def test_f3_the_newer_attempt_stands(tmp_path: Path) -> None:
    """An attempt that stored its result, but died before its answer was out, leaves nothing behind."""

    @skate.remote(max_retries=1)
    def stores(folder: str) -> list[Any]:
        first = not Path(folder, "first").exists()
        refs = [skate.put(np.full(3 * MB, 1 if first else 2, np.uint8))]
        if first:
            Path(folder, "first").touch()
            sigkill()
        return refs

    runtime: Any = current.runtime
    before = runtime.ask("store")["objects"]
    (inner,) = skate.get(stores.remote(str(tmp_path)), timeout=GET_S)
    assert (tmp_path / "first").exists()
    assert int(skate.get(inner, timeout=GET_S)[0]) == 2
    del inner
    eventually(lambda: runtime.ask("store")["objects"] <= before, GET_S, "what the first attempt stored is freed")


SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@skate.remote(max_retries=0)
def begets(path: str, new_session: bool, wait: bool) -> None:
    """Starts a child, tells its pid, and leaves it alone or waits."""
    child = subprocess.Popen(SLEEP, start_new_session=new_session)
    grandchild = subprocess.Popen(["/bin/sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE)
    assert grandchild.stdout is not None
    pids = [os.getpid(), child.pid, grandchild.pid, int(grandchild.stdout.readline())]
    Path(path + ".tmp").write_text(" ".join(map(str, pids)))
    os.rename(path + ".tmp", path)
    if wait:
        time.sleep(60)


@pytest.mark.parametrize("new_session", [False, True])
def test_f30_children_of_a_task_end_with_its_worker(tmp_path: Path, new_session: bool) -> None:
    path = tmp_path / "pids"
    ref = begets.remote(str(path), new_session, True)
    eventually(path.exists, GET_S)
    worker, *children = map(int, path.read_text().split())
    # a process that is just being replaced by the program it runs has no command line for a moment
    eventually(lambda: all(alive(pid) for pid in (worker, *children)), 5)
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(WorkerCrashedError):
        skate.get(ref, timeout=GET_S)
    assert gone(worker, *children) < 2


def test_f30_children_of_a_cancelled_task_end_with_its_worker(tmp_path: Path) -> None:
    path = tmp_path / "pids"
    ref = begets.remote(str(path), True, True)
    eventually(path.exists, GET_S)
    worker, *children = map(int, path.read_text().split())
    skate.cancel(ref, force=True)
    with pytest.raises((TaskCancelledError, WorkerCrashedError)):
        skate.get(ref, timeout=GET_S)
    assert gone(worker, *children) < 2


def test_f30_children_of_a_multiprocessing_pool_end_with_their_actor() -> None:
    @skate.remote
    class Parent:
        def begin(self) -> list[int]:
            import multiprocessing

            context = multiprocessing.get_context("fork")
            self.children = [context.Process(target=time.sleep, args=(60,)) for _ in range(3)]
            for child in self.children:
                child.start()
            return [os.getpid(), *(child.pid or 0 for child in self.children)]

    actor = Parent.remote()
    pids = skate.get(actor.begin.remote(), timeout=GET_S)
    assert all(alive(pid) for pid in pids)
    skate.kill(actor)
    assert gone(*pids) < 2
