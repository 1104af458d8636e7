"""The zygotes of environments, on a node that only remembers what it is told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from skate.node.environments import Environments
from skate.wire import forks
from skate.wire.environments import encode

TEXT = encode({"env_vars": {"A": "1"}})


def test_a_zygote_that_is_not_wanted_any_more_may_not_have_come_to_be(tmp_path: Path) -> None:
    """Its job has ended before the first zygote says that no process could be had; another may want the same by then."""
    failed: list[Any] = []
    ended: list[int] = []
    scheduler = SimpleNamespace(preparing=set(), wanted=lambda crew: True)
    logs = SimpleNamespace(paths=lambda number, job: ("", ""), started=lambda number, pid: None)
    pool = SimpleNamespace(number=iter(range(7, 9)).__next__, tell=lambda *_: None, zygote=None)
    nothing: Any = lambda *_: None  # noqa: E731
    node: Any = SimpleNamespace(
        parts=[], scheduler=scheduler, pool=pool, session_dir=tmp_path, watch=nothing, unwatch=nothing,
        decide_again=nothing, cannot_start=lambda *words: failed.append(words),
        output=SimpleNamespace(logs=logs, ended=ended.append),
    )  # fmt: skip
    environments = Environments(node)
    crew = environments.crew("job", TEXT)
    environments.prepare(crew)
    environments.job_gone("job")
    environments.on_time(1.0)
    assert not scheduler.preparing
    assert environments.crew("job", TEXT) == crew
    environments.prepare(crew)
    environments.forked(forks.Forked(7, 0, "no memory"))
    assert ended == [7] and not failed and crew in scheduler.preparing
    environments.forked(forks.Forked(8, 0, "no memory"))
    assert ended == [7, 8] and "no memory" in failed[0][1] and crew not in scheduler.preparing
