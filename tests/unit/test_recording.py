"""What a client records of its tasks is what its node reads, whatever order and mixture they end in."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from skate.client.recording import CHUNK_ROWS, Recording
from skate.client.submitter import Function, Shape, TaskRecord
from skate.wire import history_file, messages as m
from skate.wire.history import FAILED, FINISHED, Chunk, Recorded, tasks_of

CLIENT = "0a" * 8
SHAPE = Shape(0, (), {}, "", False, 0, "")
FUNCTIONS = [Function(None, SimpleNamespace(name=name), SHAPE, 0) for name in "fgf"]
PARENTS = [None, (b"p" * 8, 1), (b"p" * 8, 2)]


@dataclass(eq=False)
class Worker:
    node: int
    pid: int


WORKERS = [Worker(0, 11), Worker(2, 12)]


class Heard:
    """In place of a runtime: keeps what is sent."""

    node_no = 1

    def __init__(self) -> None:
        self.chunks: list[Recorded] = []

    def send(self, message: Recorded) -> None:
        self.chunks.append(message)


def recording() -> tuple[Recording, Heard]:
    heard: Any = Heard()
    return Recording(heard, True), heard


def read(heard: Heard) -> list[dict[str, Any]]:
    rows = []
    for each in heard.chunks:
        chunk = Chunk(1, "job", CLIENT, 7, each.functions, each.workers, each.packets)
        rows += list(tasks_of(chunk))[::-1]
    return rows


def task(seq: int, function: int = 0, parent: int = 0, submitted: float = 5.0, attempt: int = 0) -> TaskRecord:
    record = TaskRecord(seq, FUNCTIONS[function], b"", None)
    record.parent, record.submitted, record.attempt = PARENTS[parent], submitted, attempt
    return record


def replies(ended: float = 9.0, spent_us: int = 0, ran: int = 0) -> m.Replies:
    return m.Replies([], spent_us=spent_us, ran=ran, ended=ended)


tasks = st.builds(
    task,
    st.integers(1, 12),
    st.integers(0, 2),
    st.integers(0, 2),
    st.just(0.0),
    st.sampled_from([0, 0, 0, 1]),
)
packets = st.lists(
    st.tuples(
        st.integers(0, 1), st.lists(tasks, min_size=1, max_size=8, unique_by=lambda each: each.seq), st.booleans()
    ),
    max_size=6,
)


@settings(max_examples=300)
@given(packets, st.sampled_from([0.00005, 0.0003, 0.5]))
def test_every_attempt_is_read_as_it_was(packets: list[tuple[int, list[TaskRecord], bool]], apart_s: float) -> None:
    record, heard = recording()
    expected = []
    for worker, ended, failing in packets:
        for each in ended:
            each.submitted = 5.0 + each.seq * apart_s
        if failing:
            for each in ended:
                was = each.submitted
                record.failed(each, WORKERS[worker], ValueError("no"), replies())
                expected.append((each, worker, FAILED, was))
        else:
            record.packet(WORKERS[worker], replies(spent_us=1000 * len(ended), ran=len(ended)), ended, False)
            expected += [(each, worker, FINISHED, each.submitted) for each in ended]
    record.send()
    found = read(heard)
    assert len(found) == len(expected)
    for row, (each, worker, state, submitted) in zip(found, expected, strict=True):
        assert int(row["task_id"][16:], 16) == each.seq and row["task_id"][:16] == CLIENT
        assert row["name"] == each.function.options.name and row["state"] == state
        assert (row["attempt_number"], row["worker_pid"]) == (each.attempt, WORKERS[worker].pid)
        assert row["node_no"] == (WORKERS[worker].node or 1)
        assert row["parent_task_id"] == ("" if each.parent is None else f"{each.parent[0].hex()}{each.parent[1]:016x}")
        assert abs(row["creation_time"] - submitted) < 0.001
        assert (row["error_message"] == "no") is (state == FAILED)
    failures = sum(state == FAILED for _, _, state, _ in expected)
    assert [sum(chunk.finished for chunk in heard.chunks), sum(chunk.failed for chunk in heard.chunks)] == [
        len(expected) - failures,
        failures,
    ]
    counts = [count for chunk in heard.chunks for count in chunk.counts.values()]
    assert [sum(good for good, _ in counts), sum(bad for _, bad in counts)] == [len(expected) - failures, failures]


@pytest.mark.parametrize("seqs", [[1, 2, 3], [1, 3, 2], [1, 2, 9]])
def test_tasks_of_a_packet_ran_one_after_the_other(seqs: list[int], tmp_path: Path) -> None:
    record, heard = recording()
    record.packet(WORKERS[0], replies(9.0, 3_000_000, 3), [task(seq) for seq in seqs], False)
    record.send()
    found = read(heard)
    assert [int(row["task_id"][16:], 16) for row in found] == seqs
    assert [(row["start_time"], row["end_time"]) for row in found] == [(6.0, 7.0), (7.0, 8.0), (8.0, 9.0)]
    with closing(history_file.create(tmp_path / "h.db")) as db:  # and people with an SQL shell see the same
        history_file.add_chunk(db, "job", CLIENT, 7, heard.chunks[0])
        columns = "task_id, name, state, worker_pid, creation_time, start_time, end_time"
        rows = db.execute(f"SELECT {columns} FROM tasks ORDER BY start_time").fetchall()
    assert rows == [tuple(row[column] for column in columns.split(", ")) for row in found]


def test_many_alike_are_one_packet_and_many_packets_are_sent() -> None:
    record, heard = recording()
    record.packet(WORKERS[0], replies(), [task(seq) for seq in range(1, 5000)], False)
    record.send()
    assert len(heard.chunks) == 1 and heard.chunks[0].finished == 4999 and len(heard.chunks[0].packets) < 100
    for seq in range(0, 3 * CHUNK_ROWS, 3):
        assert len(heard.chunks) == 1
        record.packet(WORKERS[0], replies(), [task(seq), task(seq + 1)], True)
    assert len(heard.chunks) == 2 and not record.rows


def test_tasks_one_at_a_time_are_one_packet_while_they_are_within_a_millisecond() -> None:
    record, heard = recording()
    for seq in range(1, 101):
        at = 5.0 + seq * 0.0001
        record.packet(WORKERS[0], replies(at + 0.00005, 20 + seq % 2, 1), [task(seq, submitted=at)], True)
    slow = [task(seq, submitted=5.0101 + seq * 0.00001) for seq in (101, 102)]
    record.packet(WORKERS[0], replies(6.0, 900_000, 1), slow[:1], True)
    record.packet(WORKERS[0], replies(7.0, 900_000, 1), slow[1:], True)
    record.send()
    found = read(heard)
    assert [int(row["task_id"][16:], 16) for row in found] == list(range(1, 103))
    for row in found[:100]:
        at = 5.0 + int(row["task_id"][16:], 16) * 0.0001
        assert abs(row["creation_time"] - at) < 0.001 and abs(row["end_time"] - at) < 0.002
        assert row["end_time"] - row["start_time"] == pytest.approx(0.00002, abs=1e-6)
    assert [row["end_time"] - row["start_time"] for row in found[100:]] == pytest.approx([0.9, 0.9])
    assert len(msgspec.json.decode(heard.chunks[0].packets)) <= 16  # 12, were they not looked at in batches
