"""The zygotes of environments, on a node that only remembers what it is told."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from skate.node.environments import LOADED_MAX, TEXTS_MAX, UNUSED_S, Environments
from skate.node.resources import Pool
from skate.node.scheduler import Scheduler
from skate.wire import forks
from skate.wire.environments import encode

TEXT = encode({"env_vars": {"A": "1"}})


def of(folder: Path, scheduler: Scheduler, failed: list[Any], ended: list[int]) -> Environments:
    logs = SimpleNamespace(paths=lambda number, job: ("", ""), started=lambda number, pid: None)
    pool = SimpleNamespace(number=count(7).__next__, tell=lambda *_: None, zygote=None)
    nothing: Any = lambda *_: None  # noqa: E731
    node: Any = SimpleNamespace(
        parts=[], scheduler=scheduler, pool=pool, session_dir=folder, watch=nothing, unwatch=nothing,
        decide_again=nothing, hello_of=nothing, cannot_start=lambda *words: failed.append(words),
        output=SimpleNamespace(logs=logs, ended=ended.append),
    )  # fmt: skip
    return Environments(node)


def end(environments: Environments) -> None:
    environments.job_gone("job")
    environments.on_time(1.0)
    assert not environments._texts and not environments._zygotes


def test_a_zygote_that_is_not_wanted_any_more_may_not_have_come_to_be(tmp_path: Path) -> None:
    """Its job has ended before the first zygote says that no process could be had; another may want the same by then."""
    failed: list[Any] = []
    ended: list[int] = []
    scheduler = Scheduler(Pool({"CPU": 1.0}))
    environments = of(tmp_path, scheduler, failed, ended)
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


def test_environments_that_nobody_wants_any_more_are_forgotten(tmp_path: Path) -> None:
    scheduler = Scheduler(Pool({"CPU": 1.0}))
    environments = of(tmp_path, scheduler, [], [])

    def want(number: int, wanted: int) -> str:
        crew = environments.crew("job", encode({"env_vars": {"A": str(number)}}))
        scheduler.want(b"client", crew, number, {}, wanted, 0)
        return crew

    first = want(0, 1)
    for number in range(1, 4 * TEXTS_MAX):
        want(number, 1)
        want(number, 0)
        assert len(environments._texts) <= TEXTS_MAX
    environments.prepare(first)
    assert first in scheduler.preparing, "what is still wanted is still known"
    many = [want(number, 1) for number in range(3 * TEXTS_MAX)]
    assert set(many) <= set(environments._texts), "a limit is no reason to lose what is wanted"
    end(environments)


def test_workers_lost_with_their_zygote_are_had_again(tmp_path: Path) -> None:
    """All that the client wanted, it had: it does not say again what it wants."""
    scheduler = Scheduler(Pool({"CPU": 1.0}))
    environments = of(tmp_path, scheduler, [], [])
    crew = environments.crew("job", TEXT)
    scheduler.want(b"client", crew, 1, {}, 1, 0)
    environments.prepare(crew)
    zygote = environments._zygotes[crew]
    environments.on_message(zygote.channel, forks.Prepared())
    scheduler.worker_idle(5, crew)
    assert len(scheduler.decide()[0]) == 1
    environments.node.pool.parent_ended = lambda crew, death: scheduler.release(5)
    environments._ended(zygote)
    assert crew not in scheduler.idle
    assert scheduler.decide()[2] == {crew: 1}
    environments.prepare(crew)
    assert crew in scheduler.preparing
    end(environments)


def test_what_has_imported_something_stays_until_its_job_ends_if_it_was_used_lately(tmp_path: Path) -> None:
    environments = of(tmp_path, Scheduler(Pool({"CPU": 1.0})), [], [])

    def used(now: float, **asked: Any) -> str:
        crew = environments.crew("job", encode(asked))
        environments.prepare(crew)
        environments.on_message(environments._zygotes[crew].channel, forks.Prepared())
        environments.on_time(now)
        return crew

    light = used(1.0, env_vars={"A": "1"})
    heavy = [used(2.0 + number, imports=[f"module{number}"]) for number in range(LOADED_MAX + 1)]
    assert environments.next_due(5.0) == 1.0 + UNUSED_S - 5.0
    environments.on_time(100.0)
    assert light not in environments._zygotes
    assert list(environments._zygotes) == heavy[1:]
    assert environments.next_due(100.0) is None
    end(environments)
