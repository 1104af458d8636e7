"""Conditions on rows, the trace of tasks, and how packets of tasks are read and kept."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skate.cli.listing import narrowed, table, yaml
from skate.cli.lists import LISTED
from skate.client import filters, state
from skate.client.timeline import trace
from skate.wire import history_file
from skate.wire.history import CALL, NORMAL, Chunk, Recorded, tasks_of

PACKETS: list[list[Any]] = [
    [0, 0, 100.0, 500_000, 1, 2, 98.0],
    [1, 1, 101.0, -1, 3, 1, 0.0, "FAILED", 2, "ab" * 16, "KeyError", "KeyError: x"],
]


def chunk() -> Chunk:
    functions = [("f", NORMAL, ""), ("A.m", CALL, "cd" * 16)]
    return Chunk(1, "job", "00" * 8, 7, functions, [(1, 11), (0, 0)], msgspec.json.encode(PACKETS))


def test_packets_are_read_backwards_with_their_times() -> None:
    call, second, first = tasks_of(chunk())
    assert (first["task_id"], second["task_id"]) == ("00" * 8 + f"{1:016x}", "00" * 8 + f"{2:016x}")
    assert (first["start_time"], first["end_time"], first["creation_time"]) == (99.0, 99.5, 98.0)
    assert (second["start_time"], second["end_time"], second["worker_pid"]) == (99.5, 100.0, 11)
    assert (call["state"], call["attempt_number"], call["error_type"]) == ("FAILED", 2, "KeyError")
    assert call["start_time"] is None and call["creation_time"] is None and call["worker_pid"] == 0
    assert [row["name"] for row in tasks_of(chunk(), lambda row: row["type"] == CALL)] == ["A.m"]


def test_conditions() -> None:
    assert filters.parse("name=a=b") == ("name", "=", "a=b") and filters.parse("x != 1") == ("x", "!=", "1")
    assert filters.parse("STATE=RUNNING") == ("state", "=", "RUNNING")
    for wrong in ("name", "=x", "!=x"):
        with pytest.raises(ValueError, match="is not KEY=VALUE"):
            filters.parse(wrong)
    with pytest.raises(ValueError, match="there are name, state"):
        filters.check([("colour", "=", 1)], ["name", "state"])
    with pytest.raises(ValueError, match="'=' or '!='"):
        filters.check([("name", "<", 1)], ["name"])
    row = {"name": "f", "pid": 7, "alive": True, "none": None}
    assert filters.meets(row, [("pid", "=", "7"), ("alive", "=", "true"), ("none", "=", ""), ("name", "!=", "g")])
    assert not filters.meets(row, [("pid", "!=", 7)]) and filters.meets(row, [("other", "=", 1)])
    assert filters.only([("a", "!=", 1), ("a", "=", 2)], "a") == 2 and filters.only([], "a") is None


@pytest.mark.parametrize(
    ("word", "kept"), [(1, 1), ("yes", 1), ("True", 1), (True, 1), ("0", 2), ("no", 2), (False, 2)]
)
def test_what_is_true_or_false_may_be_said_in_several_words(word: Any, kept: int) -> None:
    rows = [{"is_head_node": True, "node_no": 1}, {"is_head_node": False, "node_no": 2}]
    wanted = filters.check([("is_head_node", "=", word)], ["is_head_node"], "nodes")
    assert [row["node_no"] for row in rows if filters.meets(row, wanted)] == [kept]
    with pytest.raises(ValueError, match="is_head_node of nodes is true or false, not 'maybe'"):
        filters.check([("is_head_node", "=", "maybe")], ["is_head_node"], "nodes")
    for kind, column in filters.TRUTHS:
        assert column in (*state.COLUMNS[kind], *state.DETAILS[kind])


def test_a_trace_has_what_has_run() -> None:
    events = trace(tasks_of(chunk()))
    assert [event["name"] for event in events if event["ph"] == "X"] == ["f", "f"]
    assert {event["args"]["name"] for event in events if event["ph"] == "M"} == {"node 1", "worker 11"}


def test_tables_and_yaml() -> None:
    rows = [{"a": "x" * 100, "b": None}, {"a": {"CPU": 1.0}, "b": 2}]
    lines = list(table(rows))
    assert (
        lines[0].split() == ["a", "b"] and lines[1] == "x" * 59 + "…" and lines[2].split() == ['{"CPU":', "1.0}", "2"]
    )
    assert yaml(rows).splitlines()[2:] == ['- a: {"CPU": 1.0}', "  b: 2"]
    assert list(table([])) == ["none"] and yaml([]) == "[]"
    assert tuple(state.COLUMNS) == tuple(state.DETAILS) == LISTED


def test_a_table_for_a_narrow_terminal_leaves_out_what_is_the_same() -> None:
    rows = [{"id": at, "job": "70a9154c", "note": "", "name": f"task {at}"} for at in range(3)]
    assert narrowed(rows, 0) == (rows, []) and narrowed(rows, 80) == (rows, [])
    assert narrowed(rows[:1], 10) == (rows[:1], [])
    assert narrowed(rows, 20) == ([{"id": at, "name": f"task {at}"} for at in range(3)], ["job=70a9154c"])
    alike = [{"job": "70a9154c"}] * 2
    assert narrowed(alike, 5) == (alike, [])


def test_values_and_keys_that_do_not_exist_are_named_with_what_was_meant() -> None:
    def said(key: str, value: str, kind: str = "tasks") -> str:
        with pytest.raises(ValueError) as caught:  # its text is what is looked at
            filters.check([(key, "=", value)], ["name", "state"], kind)
        return str(caught.value)

    assert "no state of tasks is 'runing': did you mean RUNNING? There are" in said("state", "runing")
    assert "no state of actors is 'x'; there are PENDING_CREATION" in said("state", "x", "actors")
    assert "no 'nam' to filter by: did you mean name?" in said("nam", "f")
    assert filters.check([("state", "!=", "finished"), ("name", "=", "x")], ["name", "state"], "tasks")
    with pytest.raises(ValueError, match="filters are a list of"):
        filters.check(("state", "=", "x"), ["state"])  # type: ignore[arg-type]
    row = {"id": "00ab12"}
    assert filters.meets(row, [("id", filters.LIKE, "00ab")]) and filters.meets(row, [("id", filters.LIKE, "B12")])
    assert not filters.meets(row, [("id", filters.LIKE, "ab")])


def recorded(name: str, failed: int = 0) -> Recorded:
    packets = [[0, 0, 1.0, 5, 1, 1, 0.5, *(["FAILED", 0, "", "E", "e"] if failed else [])]]
    counts = {name: [1 - failed, failed]}
    return Recorded(1.0, 1.0, 1 - failed, failed, counts, [(name, NORMAL, "")], [(0, 1)], msgspec.json.encode(packets))


def test_columns_beside_chunks_rule_them_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(history_file.create(tmp_path / "h.db")) as db:
        size = 0
        for at in range(10):
            size += history_file.add_chunk(db, f"job{at % 2}", f"{at:016x}", 1, recorded(f"f{at}", at == 3))
        assert size == history_file.bytes_of_chunks(db)

        def ids(**wanted: Any) -> list[int]:
            return [each.id for each in history_file.chunks(db, wanted)["chunks"]]

        assert ids() == list(range(10, 0, -1))
        assert ids(names=["f4"]) == [5] and ids(state="FAILED") == [4] and ids(client=f"{6:016x}") == [7]
        assert ids(job="job0", state="FINISHED") == [9, 7, 5, 3, 1]
        monkeypatch.setattr(history_file, "CHUNKS_BYTES", 1)
        assert history_file.chunks(db, {})["before"] == 10 and ids(before=2) == [1]
        assert ("f3", "job1", 0, 1) in history_file.counts(db, {})
        assert history_file.drop_oldest_chunk(db) > 0 and 1 not in ids(before=3)
        while history_file.drop_oldest_chunk(db):
            pass
        assert ids() == [10]
