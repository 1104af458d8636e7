"""What py-spy says, and what is said when it cannot: with programs in its place that behave in each way."""

from __future__ import annotations

import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skate.node import spying
from skate.node.spying import FORBIDDEN, MISSING, QUESTIONS_MAX, Spying, Wish, command, samples, threads, trouble
from skate.testing import eventually
from skate.wire import messages as m

DUMP = (
    b'[{"pid": 1, "thread_name": "helper", "os_thread_id": 8, "frames": []},'
    b' {"pid": 1, "thread_name": null, "os_thread_id": 9, "frames": []},'
    b' {"pid": 1, "thread_name": "MainThread", "os_thread_id": 7, "active": true, "frames": ['
    b'{"name": "match", "filename": "/src/sre.c", "module": "/lib/libpython.so", "line": 12},'
    b'{"name": "f", "filename": "/app.py", "module": null, "line": 3}]}]'
)


class Asked:
    """A node with one program, and what it has answered."""

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self.program = SimpleNamespace(pid=4242, worker=0, far=False, channel=SimpleNamespace(closed=False))
        self.clients = {b"": self.program}
        self.workers: dict[int, Any] = {}
        self.answers: list[Any] = []
        self.spying = Spying(self)  # type: ignore[arg-type]

    def send(self, client: Any, message: Any) -> None:
        self.answers.append(message)

    def ask(self, **wish: Any) -> Any:
        """What is found out of the program."""
        self.spying.on_ask(self.program, m.Ask(1, "spy", wish))  # type: ignore[arg-type]

        def answered() -> bool:
            self.spying.on_time(spying.time.monotonic())
            return bool(self.answers)

        eventually(answered, 10)
        (answer,) = self.answers
        self.answers.clear()
        assert self.spying.next_due(0.0) is None and answer.error == ""
        (found,) = answer.value
        assert found["pid"] == 4242 and found["how"] == "py-spy"
        return found


@pytest.fixture
def py_spy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a shell script in the place of py-spy."""

    def put(script: str) -> None:
        path = tmp_path / "py-spy"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return put


def test_threads_and_samples_are_read(py_spy: Any) -> None:
    assert threads(DUMP) == [
        {"thread": "MainThread", "frames": [["/lib/libpython.so", 0, "match", "sre.c:12"], ["/app.py", 3, "f", ""]]},
        {"thread": "helper", "frames": []},
        {"thread": "thread 9", "frames": []},
    ]
    assert samples("main (a b.py:1);f (a b.py:2) 12\nnonsense\nmain (a b.py:1) 3\n") == [
        (["main (a b.py:1)", "f (a b.py:2)"], 12),
        (["main (a b.py:1)"], 3),
    ]
    py_spy(f"cat <<'X'\n{DUMP.decode()}\nX")
    assert Asked().ask()["threads"] == threads(DUMP)
    py_spy("echo 'main (a.py:1);f (a.py:2) 12'")
    assert Asked().ask(seconds=1)["samples"] == [(["main (a.py:1)", "f (a.py:2)"], 12)]


def test_how_it_is_called() -> None:
    assert command(7, Wish(), False) == ["dump", "--json", "--full-filenames", "--pid", "7"]
    assert "--nonblocking" in command(7, Wish(), True) and "--native" not in command(7, Wish(), True)
    assert command(7, Wish(native=True), True)[-1] == "--native"  # which cannot be without stopping it
    assert command(7, Wish(seconds=3), False)[:5] == ["record", "--format", "raw", "--duration", "3"]


def test_what_goes_wrong_is_said_in_one_line(py_spy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked()
    py_spy("echo \"Permission Denied: Try running again with elevated permissions by going 'sudo'\" >&2; exit 1")
    assert asked.ask()["error"] == FORBIDDEN
    py_spy("printf 'Error: no version\\n\\nCaused by:\\n    0: gone\\n\\nStack backtrace:\\n   0: main\\n' >&2; exit 1")
    assert asked.ask()["error"] == "py-spy: Error: no version; 0: gone"
    assert trouble("") == "py-spy: it has failed, and does not say why"
    py_spy("echo nonsense")
    assert "cannot be read" in asked.ask()["error"]
    monkeypatch.setattr(spying, "PATIENCE_S", 0.05)
    py_spy("exec sleep 60")
    assert asked.ask()["error"] == "py-spy has not answered in 0.05 s"
    monkeypatch.setattr(spying, "ASK_S", -1.0)
    assert asked.ask()["error"] == "there was no time"
    monkeypatch.setattr(spying, "which", lambda: None)
    assert asked.ask()["error"] == MISSING


def test_questions_that_cannot_be_answered_are_at_once() -> None:
    asked = Asked()
    for wish in ({"seconds": 31}, {"pids": "all"}):
        asked.spying.on_ask(asked.program, m.Ask(1, "spy", wish))  # type: ignore[arg-type]
        assert asked.answers.pop().error
    for _ in range(QUESTIONS_MAX):
        asked.spying.on_ask(asked.program, m.Ask(1, "spy", {"pids": []}))  # type: ignore[arg-type]
    assert not asked.answers
    asked.spying.on_ask(asked.program, m.Ask(2, "spy", None))  # type: ignore[arg-type]
    assert "others wait" in asked.answers.pop().error
    asked.program.channel.closed = True
    asked.spying.on_time(0.0)
    assert not asked.answers and asked.spying.next_due(0.0) is None


def test_an_end_leaves_no_process(py_spy: Any) -> None:
    py_spy("exec sleep 60")
    asked = Asked()
    asked.spying.on_ask(asked.program, m.Ask(1, "spy", None))  # type: ignore[arg-type]
    asked.spying.on_time(0.0)
    run = asked.spying._run
    assert run is not None and run._child.poll() is None
    asked.spying.close()
    assert run._child.returncode == -9
