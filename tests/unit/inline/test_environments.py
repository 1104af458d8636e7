"""Runtime environments where everything is one process: variables, while a task or a call runs."""

from __future__ import annotations

import os
from typing import Any

import pytest

import skate
from skate.exceptions import UnsupportedError


@pytest.fixture(autouse=True)
def _inline() -> Any:
    skate.shutdown()
    skate.init(mode="inline", runtime_env={"env_vars": {"SPAM_JOB": "1"}})
    yield
    skate.shutdown()
    assert "SPAM_JOB" not in os.environ and "SPAM" not in os.environ


def names() -> tuple[str | None, str | None]:
    return os.environ.get("SPAM_JOB"), os.environ.get("SPAM")


@skate.remote
def task() -> Any:
    return names()


@skate.remote
def outer() -> Any:
    return skate.get(task.remote()), skate.get_runtime_context().runtime_env


MINE = {"env_vars": {"SPAM": "2"}}


def test_tasks_have_their_variables_and_children_inherit_them() -> None:
    assert skate.get(task.remote()) == ("1", None)
    inner, context = skate.get(outer.options(runtime_env=MINE).remote())
    assert inner == ("1", "2") and context == {"env_vars": {"SPAM": "2", "SPAM_JOB": "1"}}
    assert names() == ("1", None)


def test_variables_may_name_those_that_the_process_had_before(monkeypatch: pytest.MonkeyPatch) -> None:
    skate.shutdown()
    monkeypatch.setenv("EGGS", "3")
    with skate.init(mode="inline", runtime_env={"env_vars": {"EGGS": "${EGGS}4", "SPAM_JOB": "1"}}):
        wanted = {"env_vars": {"SPAM": "${EGGS} ${NOWHERE}."}}
        assert skate.get(task.options(runtime_env=wanted).remote()) == ("1", "3 .")
        assert os.environ["EGGS"] == "34"
    assert os.environ["EGGS"] == "3"


def test_streams_and_actors_have_them_too() -> None:
    @skate.remote
    def stream() -> Any:
        yield names()

    @skate.remote
    class Actor:
        def __init__(self) -> None:
            self.then = names()

        def both(self) -> Any:
            return self.then, names()

    assert [skate.get(ref) for ref in stream.options(runtime_env=MINE).remote()] == [("1", "2")]
    actor = Actor.options(runtime_env=MINE).remote()
    assert skate.get(actor.both.remote()) == (("1", "2"), ("1", "2"))
    assert names() == ("1", None)


def test_what_one_process_cannot_do_says_so() -> None:
    with pytest.raises(UnsupportedError, match="only env_vars"):
        task.options(runtime_env={"working_dir": "."}).remote()

    @skate.remote
    class Async:
        async def call(self) -> None:
            return None

    with pytest.raises(UnsupportedError, match="async actor Async"):
        Async.options(runtime_env=MINE).remote()
