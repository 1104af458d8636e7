"""F25: pickles run code when they are opened. Neither a node nor the head ever opens one, whatever passes through them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import skate
from skate.exceptions import RayError
from skate.testing import eventually

from .conftest import Nodes, on
from .test_head import head_process, kill_head

GUARD = """
import os, sys
if any("skate.node." in word for word in sys.orig_argv):
    PID, LOG = os.getpid(), os.environ["GUARD_LOG"]
    def note(what):
        with open(LOG, "a") as log:
            log.write(f"{PID} {what}\\n")
    def hook(event, arguments):
        if event == "pickle.find_class" and os.getpid() == PID:  # the zygote and workers are forks: theirs to open
            note(f"opened {arguments}")
    sys.addaudithook(hook)
    note("guarded")
"""
"""Looks in each node's and head's own process whether a pickle that could do anything is opened."""


class Guard:
    def __init__(self, log: Path) -> None:
        self.log = log

    def said(self, what: str) -> list[tuple[int, str]]:
        """The processes in which something has happened."""
        lines = [line.partition(" ") for line in self.log.read_text().splitlines()]
        return [(int(pid), text) for pid, _, text in lines if text.startswith(what)]


@pytest.fixture
def guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Guard:
    (tmp_path / "sitecustomize.py").write_text(GUARD)
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("GUARD_LOG", str(tmp_path / "log"))
    return Guard(tmp_path / "log")


def note_and_fail(path: str, why: str) -> Any:
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    if why:
        raise KeyError(why)


class Hostile:
    """What runs when its pickle is opened."""

    def __init__(self, path: str, why: str = "") -> None:
        self.path, self.why = path, why

    def __reduce__(self) -> Any:
        return note_and_fail, (self.path, self.why)


class HostileError(Exception):
    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __reduce__(self) -> Any:
        return note_and_fail, (self.path, "an error that does not load")


def test_f25_the_guard_sees_what_it_looks_for(guard: Guard) -> None:
    code = "import pickle, collections; pickle.loads(pickle.dumps(collections.OrderedDict())); 'skate.node.'"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)
    assert [text for _, text in guard.said("opened")] == ["opened ('collections', 'OrderedDict')"]


@skate.remote
def takes(*values: Any) -> int:
    return len(values)


@skate.remote(max_retries=0)
def fails(path: str) -> None:
    raise HostileError(path)


@skate.remote
class Actor:
    def __init__(self, *values: Any) -> None:
        self.values = values

    def gives(self, path: str, size: int) -> Any:
        return Hostile(path), bytes(size)

    def takes(self, *values: Any) -> int:
        return len(values)


def test_f25_neither_head_nor_node_opens_a_pickle(nodes: Nodes, guard: Guard, tmp_path: Path) -> None:
    head = nodes.add(2)
    nodes.add(2, there=1)
    skate.init(address=nodes.address, namespace="f25")
    opened = str(tmp_path / "opened")
    closure = Hostile(opened)
    kept = []
    for options in ({}, on("there")):
        hostile = [Hostile(opened), skate.put(Hostile(opened)), skate.put((Hostile(opened), bytes(1 << 20)))]
        actor = Actor.options(name=f"kept {options}", **options).remote(*hostile)
        kept.append(actor)
        given = [actor.gives.remote(opened, size) for size in (0, 1 << 20)]
        assert skate.get(actor.takes.remote(*hostile, *given), timeout=20) == 5
        assert skate.get(takes.options(**options).remote(*hostile, *given, given), timeout=20) == 6
        captures = skate.remote(lambda: closure)
        assert skate.get(captures.options(**options).remote(), timeout=20) is None
        for unloadable in (takes.options(**options).remote(Hostile(opened, "on purpose")), fails.remote(opened)):
            with pytest.raises((RayError, KeyError)):
                skate.get(unloadable, timeout=20)
        with pytest.raises(RayError):
            skate.get(Actor.options(**options).remote(Hostile(opened, "on purpose")).takes.remote(), timeout=20)
    first = head_process(head).pid
    kill_head(head)  # the next one reads what the actors were made of
    assert skate.get(skate.get_actor("kept {}").takes.remote(Hostile(opened)), timeout=20) == 1
    assert skate.get([actor.takes.remote() for actor in kept], timeout=20) == [0, 0]
    own = {node.pid for node in nodes.started} | {first, head_process(head).pid}
    eventually(lambda: own <= {pid for pid, _ in guard.said("guarded")}, 5, "all of them are looked at")
    assert guard.said("opened") == []
    found = {int(pid) for pid in Path(opened).read_text().split()}
    assert len(found) >= 4 and not found & own, "only workers, and this program"
