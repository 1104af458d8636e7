"""What the head keeps of the files of jobs, and for how long."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skate.head.jobs import Jobs
from skate.head.store import SqliteStore
from skate.node import job_packages
from skate.node.job_packages import UNUSED_S, Packages
from skate.wire.jobs import JobSpec, WantPackage, packages_of

NAME = "ab" * 32


def packages(store: SqliteStore, jobs: Jobs | None = None) -> Packages:
    head: Any = SimpleNamespace(node=SimpleNamespace(parts=[]), jobs=SimpleNamespace(table=jobs or Jobs()))
    found = Packages(head, store)
    found.restore(time.monotonic())
    return found


def test_a_package_is_there_when_all_parts_are(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "head.db"))
    first = packages(store)
    assert first.put({"hash": NAME, "number": 0, "data": b"one"}) and not first.has(NAME)
    second = packages(store)  # the head was killed meanwhile
    second.put({"hash": NAME, "number": 0, "data": b"one"})
    second.put({"hash": NAME, "number": 1, "data": b"two", "last": True})
    third = packages(store)
    assert third.has(NAME) and third.rows[NAME].parts == 2
    parts = [third.part(WantPackage("job", NAME, number)) for number in range(3)]
    assert [(part.data, part.last) for part in parts[:2]] == [(b"one", False), (b"two", True)]
    assert "does not have its files" in parts[2].error
    store.close()


def test_what_a_runtime_environment_names() -> None:
    given = {"working_dir": f"package://{NAME}", "py_modules": [f"package://{'cd' * 32}/module", "https://x/y.zip"]}
    assert packages_of(given) == [NAME, "cd" * 32]
    assert packages_of({"working_dir": None, "py_modules": None}) == []


def test_what_no_job_needs_is_removed(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "head.db"))
    jobs = Jobs()
    found = packages(store, jobs)
    assert found.next_due(0.0) is None
    found.put({"hash": NAME, "number": 0, "data": b"one", "last": True})
    now = time.monotonic()
    jobs.submit(JobSpec("a", "true", "n", {"py_modules": [f"package://{NAME}/module"]}), 1)
    found.on_time(now + UNUSED_S * 2)
    assert NAME in found.rows
    jobs.stop("a", 2)
    found.on_time(now + UNUSED_S * 2.9)
    assert NAME in found.rows
    found.on_time(now + UNUSED_S * 4)
    assert not found.has(NAME) and not list(store.load("package")) and not list(store.load(f"package:{NAME}"))
    store.close()


@pytest.mark.parametrize(
    "part",
    [
        {"hash": "../up", "number": 0, "data": b""},
        {"hash": NAME, "number": -1, "data": b""},
        {"hash": NAME, "number": 0, "data": b"x" * ((1 << 20) + 1)},
    ],
)
def test_what_is_no_part_is_refused(tmp_path: Path, part: dict[str, Any]) -> None:
    store = SqliteStore(str(tmp_path / "head.db"))
    with pytest.raises(ValueError, match="no part of a package"):
        packages(store).put(part)
    store.close()


def test_there_is_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_packages, "BYTES_MAX", 2 << 20)
    store = SqliteStore(str(tmp_path / "head.db"))
    found = packages(store)
    for number in range(2):
        found.put({"hash": f"{number}" * 64, "number": 0, "data": bytes(1 << 20)})
    with pytest.raises(ValueError, match="wait for jobs to end"):
        found.put({"hash": NAME, "number": 0, "data": b"x"})
    store.close()
