"""What workers do at the moment, whether they listen or not, with the command."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import skate
from skate.node.spying import FORBIDDEN, which
from skate.node.stacks import parsed
from skate.testing import eventually

PY_SPY = which()
MAY_TRACE = (
    PY_SPY is not None
    and not subprocess.run([PY_SPY, "dump", "--pid", str(os.getpid())], capture_output=True, check=False).returncode
)
"""Whether the kernel lets a process look at one that has not started it."""
traced = pytest.mark.skipif(not MAY_TRACE, reason="the kernel does not let py-spy look at other processes")


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One node."""
    skate.shutdown()
    skate.init(num_cpus=2, object_store_memory=100 << 20)
    yield
    skate.shutdown()


def command(*words: str, code: int = 0) -> str:
    """What `skate stack` says of this program."""
    run = subprocess.run(
        [sys.executable, "-m", "skate.cli", "stack", *words, "--address", str(os.getpid())],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == code, run.stderr
    return run.stdout or run.stderr


def say_pid(path: str) -> None:
    Path(path).with_suffix(".new").write_text(str(os.getpid()))
    Path(path).with_suffix(".new").rename(path)


def turn_round_and_round(stop: str) -> None:
    while not os.path.exists(stop):
        sum(range(1000))


@skate.remote
def spin(path: str) -> None:
    """Never submits anything, and never lets go."""
    say_pid(path)
    turn_round_and_round(path + ".stop")


@skate.remote
def child() -> None:
    """Nothing."""


@skate.remote
def hog(path: str) -> None:
    """Has submitted something, and lets no other thread run."""
    skate.get(child.remote())
    say_pid(path)
    while not os.path.exists(path + ".stop"):
        re.match(r"(a|a)*b", "a" * 24)


@skate.remote
class Sleeper:
    """Waits in a method."""

    def pid(self) -> int:
        return os.getpid()

    def sleep(self, path: str) -> None:
        while not os.path.exists(path):
            time.sleep(0.01)


def started(path: Path) -> str:
    eventually(path.exists, 10)
    return path.read_text()


def test_a_loop_that_never_submits_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    ref = spin.remote(str(path))
    pid = started(path)
    text = command(pid)
    assert re.search(
        r"^worker \(leased\), process \d+ \(by a signal\):\n    MainThread(, at turn_round_and_round .*)?\n", text
    )
    assert re.search(r"turn_round_and_round  \S+test_stacks.py:\d+    ", text) and "spin  " in text
    assert "process.py" not in text and "process.py" in command(pid, "-v")
    for _ in range(3):  # it goes on, whatever it was doing
        (found,) = json.loads(command(pid, "--json"))
        assert found["how"] == "signal" and not found["error"]
    Path(f"{path}.stop").touch()
    skate.get(ref)


@skate.remote
def waits_in_get(path: str, refs: list[Any]) -> None:
    """Waits for another, in the code of skate."""
    say_pid(path)
    skate.get(refs[0])


def test_the_users_own_line_is_said_first(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    busy = spin.remote(str(first))
    ref = waits_in_get.remote(str(second), [busy])
    pid = started(second)
    eventually(lambda: "  get  " in command(pid), 10)
    _, at, top, *_ = command(pid).splitlines()
    assert re.fullmatch(r"    MainThread, at waits_in_get  \S+test_stacks.py:\d+    skate.get\(refs\[0\]\)", at)
    assert re.match(r"        get  \S+api/objects.py:\d+ ", top), "the frames are all there"
    Path(f"{first}.stop").touch()
    skate.get([busy, ref])


def test_one_that_hogs_the_interpreter_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    ref = hog.remote(str(path))
    text = command(started(path))
    assert "(by a signal)" in text and "hog  " in text
    Path(f"{path}.stop").touch()
    skate.get(ref)


def test_all_of_a_node_and_an_actor_by_its_id(tmp_path: Path) -> None:
    go = tmp_path / "go"
    actor: Any = Sleeper.options(name="sleeper").remote()
    pid = skate.get(actor.pid.remote())
    call = actor.sleep.remote(str(go))
    eventually(lambda: "sleep  " in command(actor._actor_id.hex()), 10)
    everything = command()
    assert f"actor Sleeper 'sleeper', process {pid}" in everything
    assert re.search(rf"^program, process {os.getpid()} \(it looked itself\):$", everything, re.MULTILINE)
    assert "test_all_of_a_node_and_an_actor_by_its_id" in everything
    go.touch()
    skate.get(call)


def test_what_is_not_there_is_said() -> None:
    assert "no node has such a worker" in command("1", code=1)
    assert "'me' is not among the actors and tasks" in command("me", code=1)
    assert "is not among the actors and tasks" in command("0" * 32, code=1)
    assert "not with --json" in command("--flame", "/tmp/x.svg", "--json", code=2)
    assert "cannot be written" in command("--flame", "/no/such/folder/x.svg", code=1)


def test_a_worker_whose_code_takes_the_signal_away(tmp_path: Path) -> None:
    """It must not be killed by it."""
    path = tmp_path / "pid"

    @skate.remote(max_calls=1)
    def deaf() -> bool:
        for number in range(signal.SIGRTMIN, signal.SIGRTMAX + 1):
            signal.signal(number, signal.SIG_DFL)
        say_pid(str(path))
        turn_round_and_round(f"{path}.stop")
        return True

    ref = deaf.remote()
    text = command(started(path))
    if MAY_TRACE:
        assert "(by py-spy)" in text and "turn_round_and_round  " in text and "process.py" not in text
    else:
        assert "it has no handler for signal" in text and FORBIDDEN in text
    Path(f"{path}.stop").touch()
    assert skate.get(ref)


@traced
def test_frames_of_c_code_are_seen_by_py_spy(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    ref = hog.remote(str(path))
    pid = started(path)
    eventually(lambda: "sre" in command(pid, "--native"), 10)
    text = command(pid, "--native")
    assert text.startswith("worker (leased), process ") and "(by py-spy):" in text
    assert "hog  " in text and "process.py" not in text
    (found,) = json.loads(command(pid, "--native", "--json"))
    assert found["how"] == "py-spy" and any(not line for _, line, *_ in found["threads"][0]["frames"])
    everything = command("--native")
    assert f"program, process {os.getpid()} (by py-spy)" in everything and f"process {pid} " in everything
    Path(f"{path}.stop").touch()
    skate.get(ref)


@traced
def test_a_worker_that_stands_still_is_seen_by_py_spy(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    ref = spin.remote(str(path))
    pid = started(path)
    os.kill(int(pid), signal.SIGSTOP)
    try:
        text = command(pid)
        assert "(by py-spy)" in text and "turn_round_and_round  " in text
    finally:
        os.kill(int(pid), signal.SIGCONT)
        Path(f"{path}.stop").touch()
    skate.get(ref)


def drawn(file: Path) -> list[str]:
    """What the boxes of a picture say."""
    root = ElementTree.parse(file).getroot()
    return [each.text or "" for each in root.iter("{http://www.w3.org/2000/svg}title")]


def test_a_flame_graph_is_drawn(tmp_path: Path) -> None:
    path, picture = tmp_path / "pid", tmp_path / "f.svg"
    ref = spin.remote(str(path))
    pid = started(path)
    assert "stacks are drawn in" in command(pid, "--flame", str(picture), "--seconds", "1")
    boxes = drawn(picture)
    inner = [box for box in boxes if box.startswith("turn_round_and_round (")]  # one for each line of it
    assert sum(float(box.rpartition(", ")[2].removesuffix(" %")) for box in inner) > 90
    assert boxes[0].startswith("all: ") and not any("process.py" in box for box in boxes)
    if MAY_TRACE:
        assert "stacks are drawn in" in command(pid, "--native", "--flame", str(picture), "--seconds", "1")
        boxes = drawn(picture)
        assert any("libpython" in box or "python3" in box for box in boxes), boxes
        assert any(box.startswith("turn_round_and_round (") for box in boxes)
        assert not any("process.py" in box for box in boxes)
    Path(f"{path}.stop").touch()
    skate.get(ref)
    assert "nothing was seen in 1 s" in command("1", "--flame", str(picture), "--seconds", "1", code=1)


def test_what_the_handler_writes_is_read() -> None:
    text = (
        'Thread 0x00007f01 (most recent call first):\n  File "/a.py", line 3 in inner\n  File "/a.py", line ??? in outer\n\n'
        'Current thread 0x00007f00 [MainThread] (most recent call first):\n  File "/b c.py", line 1 in <module>\n'
    )
    assert parsed(text) == [
        {"thread": "MainThread", "frames": [["/b c.py", 1, "<module>", ""]]},
        {"thread": "0x00007f01", "frames": [["/a.py", 3, "inner", ""], ["/a.py", 0, "outer", ""]]},
    ]
    assert parsed("") == []
