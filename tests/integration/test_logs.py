"""`skate logs`, of a program on one node: of tasks, actors, processes, the living and the dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import skate
from skate.testing import eventually
from skate.util import state


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One node that tells its driver nothing: its lines are in the files all the same."""
    skate.shutdown()
    skate.init(num_cpus=2, object_store_memory=100 << 20, log_to_driver=False)
    yield
    skate.shutdown()


def words(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "skate.cli", "logs", *arguments, "--address", str(os.getpid())]


def logs(*arguments: str, code: int = 0) -> list[str]:
    """The lines that the command prints."""
    run = subprocess.run(words(*arguments), capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == code, run.stderr
    return (run.stdout or run.stderr).splitlines()


@skate.remote
def speak(what: str) -> int:
    """Says it, and that it has."""
    print(what)
    print("done with", what, file=sys.stderr)
    return os.getpid()


@skate.remote
class Speaker:
    """Speaks, until it dies."""

    def speak(self, what: str) -> int:
        print(what, flush=True)
        return os.getpid()

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def test_the_lines_of_a_task() -> None:
    refs = [speak.remote(f"number {number}") for number in range(4)]
    pids = skate.get(refs)
    for number, (ref, pid) in enumerate(zip(refs, pids, strict=True)):
        assert logs("--task", ref.task_id()) == [
            f"(speak pid={pid}) number {number}",
            f"(speak pid={pid}) done with number {number}",
        ]
    assert logs("--task", refs[0].task_id(), "--err") == [f"(speak pid={pids[0]}) done with number 0"]
    assert logs("--worker", str(pids[0]), "--tail", "1", "--err")[0].startswith(
        f"(speak pid={pids[0]}) done with number"
    )
    assert "no worker of the cluster is so" in logs("--task", "0" * 32, code=1)[-1]
    assert {f"(speak pid={pid}) number {number}" for number, pid in enumerate(pids)} <= set(logs())


def test_the_lines_of_an_actor_that_has_died() -> None:
    actor: Any = Speaker.remote()
    pid = skate.get(actor.speak.remote("hello"))
    ident = actor._actor_id.hex()
    assert logs("--actor", ident) == [f"(Speaker pid={pid}) hello"]
    skate.wait([actor.die.remote()])
    assert logs("--actor", ident) == [f"(Speaker pid={pid}) hello"]
    assert f"(Speaker pid={pid}) hello" in logs("--worker", str(pid))
    job = skate.get_runtime_context().get_job_id()
    assert f"(Speaker pid={pid}) hello" in logs("--job", job)
    assert "no worker of the cluster is so" in logs("--job", "0" * 8, code=1)[-1]


@skate.remote(max_retries=1)
def crash(path: str) -> None:
    """Ends its process from C."""
    import ctypes

    while not os.path.exists(path):
        time.sleep(0.01)
    ctypes.string_at(0)


def test_the_stack_of_a_crash_is_among_the_lines_of_its_task(tmp_path: Path) -> None:
    before = speak.remote("before it")
    skate.get(before)
    path = tmp_path / "out"
    ref = crash.remote(str(tmp_path / "go"))
    with path.open("w") as out:
        process = subprocess.Popen(words("--task", ref.task_id(), "--err", "--follow"), stdout=out)
        try:
            (tmp_path / "go").touch()
            skate.wait([ref])
            eventually(lambda: path.read_text().count("Fatal Python error: Segmentation fault") == 2, 15)
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 130
    lines = logs("--task", ref.task_id(), "--err")
    assert sum("Fatal Python error: Segmentation fault" in line for line in lines) == 2, "one for each attempt"
    assert sum(line.startswith("(crash pid=") and line.endswith(" in crash") for line in lines) == 2
    assert list(state.get_log(task_id=ref.task_id(), suffix="err")) == [line.split(") ", 1)[1] + "\n" for line in lines]
    assert len(logs("--task", ref.task_id(), "--err", "--tail", "2")) == 4
    assert logs("--task", before.task_id(), "--err")[-1].endswith("done with before it")


def test_lines_are_followed_as_they_come(tmp_path: Path) -> None:
    actor: Any = Speaker.remote()
    skate.get(actor.speak.remote("first"))
    path = tmp_path / "out"
    with path.open("w") as out:
        process = subprocess.Popen(words("--actor", actor._actor_id.hex(), "--follow"), stdout=out)
        try:
            eventually(lambda: "first" in path.read_text(), 15)
            skate.get(actor.speak.remote("second"))
            eventually(lambda: "second" in path.read_text(), 15)
            skate.get(actor.speak.remote("third"))
            eventually(lambda: "third" in path.read_text(), 15)
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 130
    assert [line.split(") ")[1] for line in path.read_text().splitlines()] == ["first", "second", "third"]


def test_a_thread_and_a_child_of_a_task() -> None:
    @skate.remote
    def busy() -> None:
        import threading

        thread = threading.Thread(target=print, args=("from a thread",))
        thread.start()
        thread.join()
        os.system("echo from a child")
        time.sleep(0)

    ref = busy.remote()
    skate.get(ref)
    assert [line.split(") ")[1] for line in logs("--task", ref.task_id())] == ["from a thread", "from a child"]


def test_lines_and_events_from_python() -> None:
    speaker = Speaker.options(name="python").remote()
    pid = skate.get(speaker.speak.remote("to python"))
    ref = speak.remote("a task")
    skate.get(ref)
    assert list(state.get_log(actor_id=speaker._actor_id.hex())) == ["to python\n"]  # type: ignore[attr-defined]
    assert list(state.get_log(task_id=ref.task_id())) == ["a task\n"]
    assert list(state.get_log(task_id=ref.task_id(), suffix="err")) == ["done with a task\n"]
    assert list(state.get_log(pid=pid, tail=1)) == ["to python\n"]
    with pytest.raises(ValueError, match="no node that lives is 'none'"):
        state.get_log(node_id="none")
    follows = state.get_log(pid=pid, tail=1, follow=True)
    assert next(follows) == "to python\n"
    speaker.speak.remote("and more")
    assert next(follows) == "and more\n"
    with pytest.raises(ValueError, match="suffix"):
        state.get_log(suffix="x")
    assert any(
        "actor python" in event.message and event.source_type == "ACTOR" for event in state.list_cluster_events()
    )
    skate.kill(speaker)


def test_files_and_the_arguments_of_ray() -> None:
    ref = speak.remote("\x1b[31mred\x1b[0m ü")
    pid = skate.get(ref)
    names = state.list_logs(glob_filter="worker-*")
    assert set(names) == {"worker_out", "worker_err"} and state.list_logs(glob_filter="*.log") == {"node": ["node.log"]}
    with pytest.raises(ValueError, match="no file is called 'nope'"):
        state.get_log(filename="nope")
    found = {name: list(state.get_log(filename=name)) for name in names["worker_out"]}
    (name,) = [name for name, lines in found.items() if "\x1b[31mred\x1b[0m ü\n" in lines]
    assert list(state.get_log(filename=name, tail=1, encoding=None)) == ["\x1b[31mred\x1b[0m ü\n".encode()]
    assert list(state.get_log(task_id=ref.task_id(), filter_ansi_code=True)) == ["red ü\n"]
    assert list(state.get_log(task_id=ref.task_id(), attempt_number=0, node_ip="127.0.0.1")) == found[name][-1:]
    for wrong, error in (
        ({"encoding": "latin-1"}, "is kept as UTF-8"),
        ({"errors": "ignore"}, "has been replaced already"),
        ({"attempt_number": 1}, "say task_id"),
        ({"task_id": ref.task_id(), "attempt_number": 3}, "no attempt 3 of task .* has run; there are 0"),
        ({"node_ip": "10.9.8.7"}, "no node that lives is '10.9.8.7'"),
        ({"submission_id": "none"}, "jobs need a cluster"),
    ):
        with pytest.raises((ValueError, skate.exceptions.UnsupportedError), match=error):
            list(state.get_log(**wrong))  # type: ignore[arg-type]
    assert logs("worker", "--pid", str(pid), "--tail", "1", "--err")[0].endswith("done with red ü")
    assert logs("task", "--id", ref.task_id())[-1].endswith("done with red ü")
    assert any(line.split()[:4] == ["0", "worker_out", name, str(pid)] for line in logs("worker-*.out")), (
        "several: a list"
    )
    assert any("red" in line for line in logs(name)), "one: what is in it"
    assert "no file is called 'x*'" in logs("x*", code=1)[-1]
    assert "say which by --id" in logs("actor", code=2)[-1] and "say of which" in logs("--id", "1", code=2)[-1]
