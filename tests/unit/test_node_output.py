"""Log files and their way to the driver, with files that the test writes and a node that only remembers."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skate.node import logs as logs_module, output as output_module, printed as printed_module
from skate.node.deaths import describe, without_dump
from skate.node.logs import NAME_MARK, TASK_MARK, LogFile, Logs
from skate.node.output import Output
from skate.node.printed import printed
from skate.wire import messages as m
from skate.wire.forks import Reaped

LINE = b"x" * 99 + b"\n"


class FakeNode:
    """What `Output` needs of a node."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.driver: Any = SimpleNamespace(
            job="job", hello=None, log_to_driver=True, channel=SimpleNamespace(backlog_bytes=0)
        )
        self.jobs = {"job": self.driver}
        self.sent: list[Any] = []

    def send(self, client: Any, message: Any) -> None:
        self.sent.append(message)

    def lines(self) -> list[str]:
        return [line for message in self.sent if isinstance(message, m.Output) for line in message.lines]


class Worker:
    """Writes as a worker does."""

    def __init__(self, logs: Logs, number: int) -> None:
        self.number = number
        self.path = Path(logs.paths(number, "job")[0])
        self.fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        logs.started(number, 1000 + number)

    def write(self, data: bytes) -> None:
        os.write(self.fd, data)

    def on_disk(self) -> int:
        return self.path.stat().st_blocks * 512


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Logs]:
    found = Logs(tmp_path)
    yield found
    found.close()


@pytest.fixture
def worker(logs: Logs) -> Iterator[Worker]:
    made = Worker(logs, 1)
    yield made
    os.close(made.fd)


@pytest.fixture
def node() -> Iterator[FakeNode]:
    made = FakeNode()
    yield made
    made.epoll.close()


def the_file(logs: Logs) -> LogFile:
    return logs.of_worker(1)[0]


def read_all(logs: Logs, most: int = 1 << 16) -> list[str]:
    logs.note_changes()
    found: list[str] = []
    while logs.unread:
        for file in list(logs.unread.values()):
            for _, lines in logs.read(file, most)[0]:
                found += lines
    return found


# ------------------------------------------------------------ lines


def test_only_ends_of_lines_end_lines(logs: Logs, worker: Worker) -> None:
    worker.write("a\x0cb\u2028c\x85d\n10%\r20%\r\nlast\n".encode())
    assert read_all(logs) == ["a\x0cb\u2028c\x85d", "10%", "20%", "last"]


@pytest.mark.parametrize("most", [1, 2, 3, 7, 1000])
def test_lines_are_whole_however_they_are_read(logs: Logs, worker: Worker, most: int) -> None:
    text = "".join(f"{NAME_MARK}f{i}\nline {i} ä€\n" for i in range(20))
    worker.write(text.encode() + b"not yet")
    assert read_all(logs, most) == [f"line {i} ä€" for i in range(20)]
    worker.write(b" but now\n")
    assert read_all(logs, most) == ["not yet but now"]
    assert the_file(logs).whose == "f19"


def test_the_end_of_a_worker_is_the_end_of_its_last_line(logs: Logs, worker: Worker) -> None:
    worker.write(b"one\ntwo")
    assert read_all(logs) == ["one"]
    logs.ended(1)
    assert read_all(logs) == ["two"]
    assert not logs.of_job("job") and [file.name for file in logs.all()] == ["worker-1.out"]


def test_more_changes_than_the_kernel_remembers(logs: Logs, worker: Worker) -> None:
    other = Worker(logs, 2)
    for _ in range(20_000):  # the queue has 16384 places; changes of one file in a row take only one
        worker.write(b"\n")
        other.write(b"\n")
    Worker(logs, 3).write(b"after the flood\n")
    lines: list[str] = []
    for _ in range(20):
        lines += read_all(logs)
    assert lines.count("") == 40_000 and lines.count("after the flood") == 1


# ------------------------------------------------------------ sizes


def test_what_was_read_does_not_stay_on_the_disk(logs: Logs, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs_module, "KEPT_BYTES", 100_000)
    seen = 0
    for i in range(50):
        worker.write(b"%d\n" % i + LINE * 1000)
        lines = read_all(logs)
        assert lines[0] == str(i) and len(lines) == 1001
        seen += len(lines)
        assert worker.on_disk() <= 2 * 100_000 + 120_000
    assert worker.path.stat().st_size > 5_000_000
    worker.write(b"the last words\n")
    assert logs.tail(1)[-2:] == ["x" * 99, "the last words"]
    assert read_all(logs) == ["the last words"]


def test_a_file_system_without_holes(
    logs: Logs, worker: Worker, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logs_module, "KEPT_BYTES", 1000)
    monkeypatch.setattr(logs_module, "_libc", SimpleNamespace(fallocate=lambda *_: -1))
    for _ in range(3):
        worker.write(LINE * 1000)
        assert len(read_all(logs)) == 1000
    assert capfd.readouterr().err.count("log files grow") == 1


def test_what_nobody_can_read_in_time_is_lost_and_a_line_says_so(
    logs: Logs, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs_module, "UNREAD_BYTES_MAX", 100_000)
    worker.write(b"".join(b"%099d\n" % i for i in range(2000)))
    lines = read_all(logs)
    assert lines[0].startswith("[150000 bytes were printed faster")
    assert [int(line) for line in lines[1:]] == list(range(1500, 2000))


def test_a_file_that_its_worker_truncates(logs: Logs, worker: Worker) -> None:
    worker.write(b"before\n")
    assert read_all(logs) == ["before"]
    os.truncate(worker.path, 0)
    worker.write(b"new\n")
    assert read_all(logs) == ["new"]


def test_of_dead_workers_the_ends_are_kept_and_of_few_only(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs_module, "DEAD_BYTES", 10_000)
    monkeypatch.setattr(logs_module, "DEAD_MAX", 3)
    workers = [Worker(logs, number) for number in range(1, 6)]
    for worker in workers:
        worker.write(LINE * 1000)
        logs.ended(worker.number)
    read_all(logs)
    assert [file.pid for file in logs.all()] == [1003, 1004, 1005]
    assert [worker.path.exists() for worker in workers] == [False, False, True, True, True]
    assert all(worker.on_disk() <= 20_000 for worker in workers[2:])


def test_a_worker_that_has_printed_nothing_leaves_no_file(logs: Logs, worker: Worker) -> None:
    logs.ended(1)
    assert read_all(logs) == [] and not logs.all() and not worker.path.exists()


def test_files_of_a_node_that_was_here_before_are_not_this_ones(tmp_path: Path) -> None:
    (tmp_path / "worker-1.out").write_text("old\n")
    logs = Logs(tmp_path)
    assert not list(tmp_path.iterdir())
    logs.close()


# ------------------------------------------------------------ what is asked for later


def shown(logs: Logs, **wish: Any) -> list[str]:
    node: Any = SimpleNamespace(output=SimpleNamespace(logs=logs))
    return [line[2] for file in printed(node, wish)["files"] for line in file["lines"]]


def test_lines_are_found_by_their_task_wherever_its_mark_is(
    logs: Logs, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mark(task: str) -> bytes:
        return f"{NAME_MARK}f{TASK_MARK}{task}\n".encode()

    worker.write(b"before\n" + mark("aa") + b"one\n" + mark("bb") + b"two\n" + LINE * 1000 + b"three\nnot yet")
    assert shown(logs, task="aa") == ["one"]
    assert shown(logs, task="bb")[0] == "two" and shown(logs, task="bb", tail=1) == ["three"]
    assert shown(logs)[0] == "before"
    monkeypatch.setattr(printed_module, "ANSWER_BYTES", 5_000)
    monkeypatch.setattr(printed_module, "_BLOCK", 1_000)
    lines = shown(logs, task="bb")
    assert lines[0] == "x" * 99 and lines[-1] == "three" and len(lines) == 50
    assert shown(logs, task="aa") == []


def test_what_comes_is_followed_from_place_to_place(logs: Logs, worker: Worker) -> None:
    node: Any = SimpleNamespace(output=SimpleNamespace(logs=logs))
    worker.write(f"{NAME_MARK}f{TASK_MARK}aa\none\ntw".encode())
    (first,) = [file for file in printed(node, {"task": "aa"})["files"] if file["lines"]]
    worker.write(b"o\nthree\n")
    since = {first["name"]: first["place"]}
    found = printed(node, {"task": "aa", "since": since})["files"]
    assert [line[2] for file in found for line in file["lines"]] == ["two", "three"]
    os.truncate(worker.path, 0)
    worker.write(b"anew\n")
    assert shown(logs, since=since)[-1] == "anew"


def test_who_follows_does_not_read_what_was_cut_out(
    logs: Logs, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a worker prints much and dies: its end is kept, and the rest is a hole."""
    monkeypatch.setattr(logs_module, "DEAD_BYTES", 10_000)
    node: Any = SimpleNamespace(output=SimpleNamespace(logs=logs))
    worker.write(b"one\n")
    (first,) = [file for file in printed(node, {})["files"] if file["lines"]]
    worker.write(LINE * 1000)
    logs.ended(1)
    read_all(logs)
    found = printed(node, {"since": {first["name"]: first["place"]}})
    assert found["cut"] and {line[2] for file in found["files"] for line in file["lines"]} == {"x" * 99}


def test_errors_jobs_actors_and_processes_are_told_apart(logs: Logs, worker: Worker) -> None:
    worker.write(b"out\n")
    Path(logs.paths(2, "other")[1]).write_text("err\n")
    logs.started(2, 1002)
    logs.became(2, "abcd")
    assert shown(logs, actor="abc") == []
    with open(logs.of_worker(2)[1].path, "a") as file:
        file.write("err of the actor\n")
    assert shown(logs, errors=True) == ["err", "err of the actor"] and shown(logs, pid=1001) == ["out"]
    assert (
        shown(logs, job="oth") == ["err", "err of the actor"]
        and shown(logs, actor="abc") == ["err of the actor"]
        and shown(logs, actor="b") == []
    )


# ------------------------------------------------------------ rounds


def test_a_round_reads_a_bounded_share_of_every_file(logs: Logs, node: FakeNode) -> None:
    output = Output(node, logs)  # type: ignore[arg-type]
    workers = [Worker(logs, number) for number in range(1, 4)]
    for worker in workers:
        worker.write(LINE * 10_000)
    output.on_event()
    output.on_time(1.0)
    sizes = {message.source: 0 for message in node.sent}
    assert len(sizes) == 3
    assert 100 * len(node.lines()) <= output_module.ROUND_BYTES + output_module.READ_BYTES
    assert output.next_due(1.0) == pytest.approx(output_module.REST_S)
    before = len(node.sent)
    output.on_time(1.001)  # they rest
    assert len(node.sent) == before
    now = 1.0
    while output.next_due(now) is not None:
        now += output.next_due(now) or 0.0
        output.on_time(now)
    assert len(node.lines()) == 30_000


def test_lines_wait_for_a_driver_that_has_no_room(logs: Logs, worker: Worker, node: FakeNode) -> None:
    output = Output(node, logs)  # type: ignore[arg-type]
    node.driver.channel.backlog_bytes = output_module.DRIVER_BACKLOG_BYTES_MAX + 1
    worker.write(b"line\n")
    output.on_event()
    output.on_time(1.0)
    assert not node.sent and output.next_due(1.0) == pytest.approx(output_module.BLOCKED_S)
    output.ended(1)
    assert not node.sent and worker.path.exists()
    node.driver.channel.backlog_bytes = 0
    output.on_time(2.0)
    assert node.sent == [m.Output("worker pid=1001", False, ["line"])] and not logs.of_worker(1)
    output.on_time(3.0)
    assert output.next_due(3.0) is None


@pytest.mark.parametrize("there", [True, False])
def test_nobody_listens(logs: Logs, worker: Worker, node: FakeNode, there: bool) -> None:
    output = Output(node, logs)  # type: ignore[arg-type]
    node.driver.log_to_driver = False
    if not there:
        node.jobs.clear()
    worker.write(LINE)
    output.on_event()
    output.on_time(1.0)
    assert not node.sent and the_file(logs).offset == len(LINE)
    output.ended(1)
    assert not logs.of_worker(1) and worker.path.exists()


def test_an_answer_comes_after_all_that_was_printed(logs: Logs, worker: Worker, node: FakeNode) -> None:
    output = Output(node, logs)  # type: ignore[arg-type]
    worker.write(LINE * 50_000)
    output.flush(node.driver, 7)
    rounds = 0
    now = 1.0
    while m.Answer(7, True) not in node.sent:
        rounds += 1
        output._rests_until = now  # its clock is the test's
        output.on_time(now)
        worker.write(LINE)  # what comes later is not waited for
    assert 10 <= rounds <= 100
    assert len(node.lines()) >= 50_000


def test_the_last_lines_and_the_place_of_a_crash(tmp_path: Path) -> None:
    """What Python writes of a crash is not the last output, and says where it was."""
    stack = [
        "Fatal Python error: Segmentation fault",
        "",
        "Current thread 0x1 (most recent call first):",
        '  File "/usr/lib/python3.12/ctypes/__init__.py", line 519 in string_at',
        '  File "/home/ann/mesh.py", line 7 in load',
        *[f'  File "/opt/skate/worker/process.py", line {line} in run' for line in range(50)],
        "",
        "Extension modules: numpy._core (total: 1)",
    ]
    logs = Logs(tmp_path)
    lines = [*(f"line {at}" for at in range(30)), *stack, "of another thread"]
    (tmp_path / "worker-1.err").write_text("\n".join(lines))
    place, said = without_dump(logs.tail(1))
    assert (
        place == "load, /home/ann/mesh.py:7" and said[-2:] == ["line 29", "of another thread"] and "line 19" not in said
    )
    death = describe(Reaped(1, 77, signal.SIGSEGV, 0), logs.tail(1), None)
    assert death.reason == "killed by signal 11 (SIGSEGV) in load, /home/ann/mesh.py:7" and death.last_lines == said
    assert without_dump([*stack[:4], "hello"]) == ("string_at, /usr/lib/python3.12/ctypes/__init__.py:519", ["hello"])
    logs.close()
