"""Commands are given things as people write them; what cannot be meant is said, with an exit code of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import skate
from skate.testing import eventually
from skate.util import state

from .commands import shell


@skate.remote
class Counter:
    """An actor."""

    def add(self) -> int:
        print("counted", flush=True)
        return os.getpid()


@skate.remote(num_cpus=0)
def hold(path: str) -> None:
    """Until a file is there."""
    while not os.path.exists(path):
        time.sleep(0.01)


@skate.remote(num_cpus=0)
def broken(*_: str) -> None:
    raise ValueError("no such thing\nor so")


@pytest.fixture(scope="module", autouse=True)
def things(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One node, and things with names."""
    path = str(tmp_path_factory.mktemp("naming") / "go")
    skate.init(num_cpus=2)
    actors = [Counter.options(name=name, num_cpus=0).remote() for name in ("tally", "other", "gone")]
    skate.get([actor.add.remote() for actor in actors])
    skate.kill(actors[2])
    refs = [hold.options(name=name).remote(path) for name in ("one", "many", "many")]
    failed = broken.remote()
    skate.wait([failed])
    eventually(lambda: {row.state for row in state.list_tasks(filters=[("name", "=", "many")])} == {"RUNNING"})
    yield
    Path(path).touch()
    skate.get(refs, timeout=20)
    skate.shutdown()


def of(name: str) -> state.StateRow:
    """A task by its name."""
    return state.list_tasks(filters=[("name", "=", name)])[0]


def test_a_name_a_part_of_an_id_or_a_process_is_enough() -> None:
    one = of("one")
    for word in ("one", "ONE", one.task_id, one.task_id[12:], one.task_id[-4:]):
        assert [row["task_id"] for row in shell("get", "tasks", word, "--json")["rows"]] == [one.task_id]
    (tally,) = state.list_actors(filters=[("name", "=", "tally")])
    for word in ("tally", str(tally.pid)):
        assert [row["actor_id"] for row in shell("get", "actor", word, "--json")["rows"]] == [tally.actor_id]
    assert shell("get", "workers", str(tally.pid), "--json")["rows"][0]["state"] == "ACTOR"
    assert shell("get", "jobs", str(os.getpid()), "--json")["rows"][0]["job_id"] == one.job_id
    (node,) = state.list_nodes()
    for word in (node.node_name, node.node_id[:6]):
        assert shell("get", "nodes", word, "--json")["rows"][0]["node_id"] == node.node_id


def test_who_may_be_meant_is_said_when_there_are_several() -> None:
    said = shell("get", "tasks", "many", code=1)
    assert "'many' may be one of several things" in said and said.count("task many ") == 2
    assert shell("why", "many", code=1).count("task many ") == 2
    assert shell("get", "actors", "Counter", code=1).count("ALIVE") == 2, "the dead are left out"
    assert "one" in shell("get", "tasks", of("one").task_id[:16], code=1)


def test_of_what_has_ended_several_times_the_last_is_meant() -> None:
    for word in ("first", "second"):
        said = broken.options(name="again").remote(word)
        skate.wait([said])
    last = shell("why", "again")
    assert f"again ({said.hex()}) failed" in last and "1 other of this name ended before it" in last
    ref = hold.options(name="again").remote(os.devnull)
    skate.get(ref)
    assert f"again ({ref.hex()}) is done" in shell("why", "again")
    assert f"{ref.hex()}: FINISHED, began 0 s ago, ended " in (several := shell("get", "tasks", "again", code=1))
    assert f"ago, of job {skate.get_runtime_context().get_job_id()}" in several


def test_what_is_there_under_another_kind_is_said() -> None:
    assert "'tally' is not among the tasks that are known; there is actor Counter tally" in shell(
        "get", "tasks", "tally", code=1
    )
    assert "'xyz' is not among the actors that are known\n" in shell("get", "actors", "xyz", code=1)


def test_why_takes_names_and_programs() -> None:
    assert "one runs on worker process" in shell("why", "one")
    assert "'gone'" in (said := shell("why", "gone")) and "is dead: it was killed by skate.kill" in said
    said = shell("why", "broken")
    assert "broken (" in said and "s ago, in process" in said and "ValueError: no such thing | or so" in said
    said = shell("why", str(os.getpid()))
    assert f"(process {os.getpid()}) has 3 unfinished tasks -> " in said
    assert "ALIVE" in shell("why", state.list_nodes()[0].node_name)


def test_of_what_nobody_knows_anything_the_exit_code_tells() -> None:
    assert shell("why", "1", code=1) == "process 1 is no worker and no program\n"
    assert "is not known" in shell("why", "ab" * 16, code=1)
    assert "is no id and no name" in shell("why", "nonsense", "one", code=1)
    assert [step["unknown"] for step in shell("why", "1", "--json", code=1)[0]["steps"]] == [True]


def test_words_that_cannot_be_are_wrong_use() -> None:
    said = shell("list", "taks", code=2)
    assert "there is no kind 'taks': did you mean tasks?" in said
    assert "There are tasks, actors" in shell("get", code=2)
    assert "no state of tasks is 'FAILD': did you mean FAILED? There are" in shell(
        "list", "tasks", "-f", "state=FAILD", code=2
    )
    assert "no 'stat' to filter by: did you mean state?" in shell("list", "tasks", "-f", "stat=x", code=2)
    assert "is not KEY=VALUE" in shell("list", "tasks", "-f", "state", code=2)
    assert "is not HOST:PORT" in shell("list", "tasks", "--address", "nowhere", code=2)
    assert shell("list", "placement_group", "--json")["rows"] == []
    assert state.list_tasks(filters=[("state", "=", "GETTING_AND_PINNING_ARGS")]) == [], "a word of Ray's"
    with pytest.raises(ValueError, match="1 or more"):
        state.list_tasks(limit=0)
    with pytest.raises(ValueError, match="did you mean ALIVE"):
        state.list_actors(filters=[("state", "=", "ALVE")])


def test_ids_answer_to_what_those_of_ray_do() -> None:
    ref = hold.options(name="idle").remote(os.devnull)
    skate.get(ref)
    task = ref.task_id()
    assert task == task.hex() == ref.hex() and type(task.hex()) is str and bytes.fromhex(task) == task.binary()
    assert not task.is_nil() and ref.job_id().hex() == skate.get_runtime_context().get_job_id()
    assert state.get_task(task).name == "idle"  # type: ignore[union-attr]
    assert "is done: it finished" in skate.why(task)


PROGRAM = """
import skate
skate.init(num_cpus=1)
@skate.remote
def broken():
    raise ValueError("no such thing")
ref = broken.remote()
skate.wait([ref])
print(ref.hex())
"""


def test_what_has_failed_is_explained_when_its_session_is_over(tmp_path: Path) -> None:
    where = {**os.environ, "TMPDIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=where, capture_output=True, text=True, timeout=30, check=True
    )
    ident = run.stdout.strip()
    (folder,) = tmp_path.iterdir()
    options = ("--session", "last", "--temp-dir", str(tmp_path))
    assert json.loads(json.dumps(shell("history", "--temp-dir", str(tmp_path), "--json")))[0]["state"] == "ended", (
        folder
    )
    for word in (ident, "broken"):
        assert f"broken ({ident}) failed" in (said := shell("why", word, *options)) and "no such thing" in said
    assert "is not known" in shell("why", "ab" * 16, *options, code=1)
    assert "may be one of" not in shell("get", "tasks", "broken", *options)


def test_stacks_and_lines_by_name() -> None:
    said = shell("stack", "one")
    assert "worker (leased)" in said and "hold" in said and __file__ in said
    (one,) = state.list_tasks(filters=[("name", "=", "one")])
    assert "hold" in shell("stack", one.task_id)
    assert "actor Counter 'tally'" in shell("stack", "tally")
    assert "gone" in (said := shell("stack", "gone", code=1)) and "nothing of it runs; `skate why" in said
    assert "is not among the actors and tasks and jobs" in shell("stack", "nonsense", code=1)
    (tally,) = state.list_actors(filters=[("name", "=", "tally")])
    assert f"(Counter pid={tally.pid}) counted" in shell("logs", "--actor", "tally")
    assert "is not among the actors" in shell("logs", "--actor", "nonsense", code=1)
    assert "may be one of several" in shell("logs", "--task", "many", code=1)


def test_what_cannot_be_written_is_an_error_of_one_line(tmp_path: Path) -> None:
    assert "x.json cannot be written: No such file" in shell("timeline", str(tmp_path / "none" / "x.json"), code=1)
    assert "is dead" not in shell("events", "--severity", "error")


def test_of_very_many_that_have_ended_no_wrong_number_is_said() -> None:
    refs = [broken.options(name="very many").remote("") for _ in range(25)]
    skate.wait(refs, num_returns=len(refs), timeout=20)
    assert "others of this name ended before it: `skate list tasks -f name='very many'` has them" in (
        last := shell("why", "very many")
    )
    assert not any(f"{count} others" in last for count in range(30)), last
