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
from skate.util.state.exception import RayStateApiException


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
def keeps_still() -> int:
    """Says nothing."""
    return os.getpid()


@skate.remote
def writes(data: bytes) -> None:
    """Bytes that need not be UTF-8."""
    print("in bytes:", flush=True)  # whose the lines are is noted when something is printed
    os.write(1, data)


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
    assert logs("--task", "0" * 32, code=1)[-1] == f"Error: no task {'0' * 32} is known"
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
    assert logs("--job", "0" * 8, code=1)[-1] == "Error: no job 00000000 is known"


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


def test_who_has_printed_nothing_is_told_from_who_is_not_there() -> None:
    """Nothing is an answer; that nobody knows who is meant is an error."""
    silent: Any = Speaker.remote()
    skate.get(silent.__ray_ready__.remote())
    task, actor = keeps_still.remote(), silent._actor_id.hex()
    pid = skate.get(task)
    (job,) = {row.job_id for row in state.list_jobs()}
    for there in (("--task", task.task_id()), ("--actor", actor), ("task", "--id", "keeps_still")):
        for errors in ((), ("--err",)):
            (said,) = logs(*there, *errors)
            assert said == f"note: nothing was printed{' to stderr' * bool(errors)}, or nothing of it is kept", there
    for there in (("--worker", str(pid)), ("--job", job), ("--node", "0")):
        logs(*there, "--err")
    for gone in (("--task", "ab" * 16), ("--actor", "ab" * 16), ("--job", "abababab"), ("--worker", "1")):
        for errors in ((), ("--err",)):
            assert logs(*gone, *errors, code=1)[-1].endswith(f"{gone[1]} is known"), gone
    skate.kill(silent)


def test_lines_are_read_in_the_encoding_that_is_said() -> None:
    ref = writes.remote(b"caf\xe9 cr\xe8me\n")
    skate.get(ref)
    of_task = ("--task", ref.task_id())
    assert logs(*of_task, "--encoding", "latin-1")[-1].endswith("café crème")
    assert logs(*of_task)[-1].endswith("caf\ufffd cr\ufffdme")
    assert logs(*of_task, "--encoding-errors", "ignore")[-1].endswith("caf crme")
    assert any("can't decode byte 0xe9" in line for line in logs(*of_task, "--encoding-errors", "strict", code=1))
    for wrong, why in (("nope", "no encoding of text"), ("utf-16", "line by line"), ("zlib", "no encoding of text")):
        assert why in logs(*of_task, "--encoding", wrong, code=2)[-1]
    assert list(state.get_log(task_id=ref.task_id(), encoding="cp1252"))[-1] == "café crème\n"
    with pytest.raises(RayStateApiException, match="can't decode byte"):
        list(state.get_log(task_id=ref.task_id(), errors="strict"))
    assert "say --follow" in logs(*of_task, "--interval", "1", code=2)[-1]


def test_lines_are_followed_as_they_come(tmp_path: Path) -> None:
    actor: Any = Speaker.remote()
    skate.get(actor.speak.remote("first"))
    path = tmp_path / "out"
    with path.open("w") as out:
        process = subprocess.Popen(
            words("--actor", actor._actor_id.hex(), "--follow", "--interval", "0.05"), stdout=out
        )
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
        ({"encoding": "utf-16"}, "cannot be read line by line"),
        ({"errors": "nope"}, "errors of an encoding are replace, strict"),
        ({"encoding": "latin-1", "submission_id": "x"}, "is read as UTF-8"),
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
