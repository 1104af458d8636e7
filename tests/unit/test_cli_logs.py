"""Following what workers print, on nodes that only this test knows."""

from __future__ import annotations

from typing import Any

import click
import pytest

from skate.cli.logs import Reader, _follow, _nothing
from skate.cli.main import cli
from skate.client.observing import members
from skate.client.parameters import DECODE_ERRORS

WISH: dict[str, Any] = {"task": "", "actor": "", "job": "", "pid": 0, "errors": False, "tail": 10}


class Cluster:
    """Nodes, and the files that each has: names, and how many lines."""

    def __init__(self) -> None:
        self.files: dict[int, dict[str, int]] = {1: {"a": 1, "b": 1}}
        self.silent: set[int] = set()
        self.cut = False
        self.asked: list[dict[str, Any]] = []

    def nodes(self) -> list[dict[str, Any]]:
        if not self.files:
            raise ConnectionError("the head is gone")
        keys = ("NodeID", "NodeName", "NodeManagerAddress", "NodeManagerPort")
        return [{**dict.fromkeys(keys, f"n{no}"), "No": no, "Alive": True} for no in self.files]

    def ask(self, member: Any, what: str, argument: Any = None) -> Any:
        self.asked.append(argument)
        if member.no in self.silent:
            raise ConnectionError("it does not answer")
        files = [
            {
                "name": name,
                "pid": 7,
                "place": [lines],
                "is_error": False,
                "job": "",
                "actor": "",
                "lines": [["f", "", name]] * (lines - argument["since"].get(name, [0])[0]),
            }
            for name, lines in self.files[member.no].items()
        ]
        return {"files": files[1:] if self.cut else files, "cut": self.cut}

    ask_head = ask


def test_whoever_follows_hears_of_new_nodes_and_forgets_files_that_are_gone(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = Cluster()
    reader = Reader(cluster, members(cluster), WISH, False)
    reader.read()
    assert capsys.readouterr().out.split() == ["(f", "pid=7,", "node", "1)", "a", "(f", "pid=7,", "node", "1)", "b"]
    cluster.cut = True
    reader.read()
    reader.read()
    assert set(cluster.asked[-1]["since"]) == {"a", "b"}, "what was not in a short answer is remembered"
    cluster.cut = False
    for number in range(100):
        cluster.files = {1: {f"c{number}": 1}, 2: {"d": 1}}
        reader.look()
        reader.read()
        assert all(len(asked["since"]) <= 1 for asked in cluster.asked[-1:])
    out = capsys.readouterr().out
    assert out.count("node 2) d") == 1 and out.count("c99") == 1 and out.count("c5") == 11


def test_the_command_knows_all_that_may_be_done_about_bytes() -> None:
    (option,) = [each for each in cli.commands["logs"].params if each.name == "encoding_errors"]
    assert isinstance(option.type, click.Choice) and tuple(option.type.choices) == DECODE_ERRORS


def test_it_is_looked_for_more_as_often_as_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    cluster = Cluster()
    with pytest.raises(KeyboardInterrupt):
        _follow(Reader(cluster, members(cluster), WISH, False), True, 1.5)
    assert slept == [1.5] * 3 and len(cluster.asked) == 2


def test_a_node_that_does_not_answer_is_named_once_and_asked_again(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = Cluster()
    cluster.files[2] = {"d": 1}
    reader = Reader(cluster, members(cluster), WISH, False)
    cluster.silent = {2}
    for _ in range(3):
        reader.read()
        reader.look()
    assert capsys.readouterr().err.count("node 2 (n2): it does not answer") == 1
    reader.read()
    with pytest.raises(click.ClickException, match="others do not answer"):
        _nothing(reader, cluster)
    reader.look()
    cluster.silent = set()
    reader.read()
    assert "node 2) d" in capsys.readouterr().out
    cluster.silent, cluster.files = {1, 2}, {}
    reader.look()
    with pytest.raises(click.ClickException, match="no node answers"):
        reader.read()
