"""Lists of what there is and was: their arguments, histories of files, and who is not heard. No cluster."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skate.client import past, state
from skate.client.observing import Member
from skate.util import state as names_of
from skate.util.state import api
from skate.wire import history_file


def kept(folder: Path) -> past.PastObserver:
    """The history of node 1 of a cluster, in which one thing has happened."""
    path = folder / "session-77-ab.db"
    db = history_file.create(path)
    db.execute("INSERT INTO session VALUES ('node_no', '1'), ('node_id', 'aa')")
    db.execute("INSERT INTO event VALUES (1, 5.0, 'INFO', 'NODE', 'it has joined', '', 1, '{}')")
    db.close()
    return past.PastObserver(past.Past(path.stem, path, 0, 0.0, False))


class Cluster:
    """Nodes 1 and 2 and their head, who answer with what they are given; an exception is raised."""

    def __init__(self, answers: dict[str, Callable[[int, Any], Any]]) -> None:
        self.answers = answers

    def nodes(self) -> list[dict[str, Any]]:
        common = {"NodeManagerAddress": "", "Alive": True, "State": "alive", "Resources": {}, "Labels": {}}
        return [{"No": no, "NodeID": f"{no:032x}", "NodeName": f"n{no}", **common} for no in (1, 2)]

    def ask(self, member: Member, what: str, argument: Any = None) -> Any:
        return self.answers[what](member.no, argument)

    def ask_head(self, what: str, argument: Any = None) -> Any:
        return self.answers[what](state.HEAD, argument)


def test_events_of_a_file_are_listed_once(tmp_path: Path) -> None:
    found, missing = state.events(kept(tmp_path), {}, 10)
    assert [event["text"] for event in found] == ["it has joined"] and missing == []


def test_jobs_of_a_file_are_listed_without_a_head(tmp_path: Path) -> None:
    found = state.listing(kept(tmp_path), "jobs")
    assert found.rows == [] == found.missing


def test_a_file_that_is_no_history_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_text("this is no database, however long it is looked at. " * 50)
    stray = past.Past("x", path, 0, 0.0, False)
    with pytest.raises(ValueError, match="not a database"):
        state.listing(past.PastObserver(stray), "tasks")
    with pytest.raises(ValueError, match="not a database"):
        past.query(stray, "SELECT 1 FROM session")


def test_a_stray_file_among_histories_is_no_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past, "folder_of_all", lambda temp_dir: tmp_path)
    (tmp_path / history_file.FOLDER).mkdir()
    (tmp_path / history_file.FOLDER / "stray.db").touch()
    kept(tmp_path / history_file.FOLDER)
    assert past.find("77").name == past.find("session-77").name == "session-77-ab"
    with pytest.raises(ConnectionError, match="no session"):
        past.find("78")


def test_no_event_is_left_out_between_two_looks() -> None:
    events = {no: [{"id": at, "time": at, "text": f"{no}/{at}"} for at in range(1, 6)] for no in (state.HEAD, 1, 2)}

    def asked(no: int, argument: Any) -> Any:
        if no == state.HEAD:
            raise ConnectionError("it has gone")
        rows = [event for event in events[no] if event["id"] > argument["after"]]
        return {"value": rows[: argument["limit"]] if argument["after"] else rows[-argument["limit"] :], "off": ""}

    after: dict[int, int] = {}
    for no in (1, 2):
        events[no] = events[no][:1]
    found, missing = state.events(Cluster({"history_events": asked}), after, 1)
    assert len(found) == 1 and missing == ["the head: it has gone"]
    for no in (1, 2):
        events[no] += [{"id": at, "time": at, "text": f"{no}/{at}"} for at in range(2, 6)]
    found, _ = state.events(Cluster({"history_events": asked}), after, 4)
    assert [event["text"] for event in found] == [f"{no}/{at}" for at in range(2, 6) for no in (1, 2)]


def test_a_job_is_got_by_either_id() -> None:
    job = {
        **dict.fromkeys(("type", "status", "entrypoint", "message", "metadata", "start_time", "end_time")),
        **dict.fromkeys(("driver_node_id", "driver_exit_code")),
        "job_id": "ab12cd34",
        "submission_id": "mine",
    }
    cluster = Cluster(
        {
            "jobs": lambda no, argument: [job],
            "list_jobs": lambda no, argument: [],
            "history_events": lambda no, argument: {"value": [], "off": ""},
        }
    )
    for ident in ("mine", "ab12cd34"):
        assert [row["submission_id"] for row in state.get(cluster, "jobs", ident).rows] == ["mine"]
    assert state.get(cluster, "jobs", "yours").rows == []
    driver = {"job_id": "ffffffff", "type": "DRIVER", "status": "RUNNING"}
    cluster.answers["list_jobs"] = lambda no, argument: [driver] if no == 1 else []
    assert [row["submission_id"] for row in state.listing(cluster, "jobs", [("submission_id", "=", "mine")]).rows] == [
        "mine"
    ]


def test_all_tasks_are_summed_up_and_who_is_silent_is_named_once() -> None:
    def counts(no: int, argument: Any) -> Any:
        if no == 2:
            raise ConnectionError("it is away")
        return {"value": [("f", "job", 1_000_000, 3)], "off": ""}

    cluster = Cluster({"history_counts": counts, "tell": lambda no, argument: []})
    found, missing = state.summarize(cluster, "tasks")
    assert found["total_tasks"] == 1_000_003 and missing == ["node 2 (n2): it is away"]
    assert found["summary"]["f"] == {"func_or_class_name": "f", "state_counts": {"FINISHED": 1_000_000, "FAILED": 3}}


def test_lists_have_their_arguments_and_words(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in state.COLUMNS:
        listed = getattr(api, f"list_{kind.replace('-', '_')}")
        assert listed.__name__ in names_of.__all__ and "filters: " in listed.__doc__
        names = ["address", "filters", "limit", "timeout", "detail", "raise_on_missing_output"]
        assert list(inspect.signature(listed).parameters) == names
    monkeypatch.setattr(api, "observe", lambda address, timeout: None)
    monkeypatch.setattr(state, "listing", lambda *_: state.Listing([], 0, ["node 2 (b): away"]))
    monkeypatch.setattr(state, "summarize", lambda *_: ({}, ["node 2 (b): away"]))
    with pytest.raises(RuntimeError, match="node 2"):
        api.list_tasks()
    for asked in (api.list_tasks, api.summarize_tasks):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            asked(raise_on_missing_output=False)
        assert [warning.filename for warning in caught] == [__file__], "where it was asked"
    with pytest.raises(ValueError, match="there are no 'cats'"):
        api.StateApiClient().get("cats", "1")
