"""Who is killed when memory runs out, and how much is used, on the machine and in containers of both kinds."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, strategies as st

from skate.client.reasons import may_retry
from skate.client.submitter import TaskRecord
from skate.node.memory_monitor import machine_usage
from skate.node.memory_policy import ALIKE, WORTH_BYTES, Candidate, Usage, allowed, culprit
from skate.wire.messages import Death

MB = 1 << 20

candidates = st.lists(
    st.builds(
        Candidate,
        worker=st.integers(1, 1000),
        used=st.integers(0, 500 * MB),
        since=st.floats(0, 100),
        is_actor=st.booleans(),
    ),
    unique_by=lambda each: each.worker,
)


@given(candidates)
def test_the_culprit_is_large_a_task_and_new(workers: list[Candidate]) -> None:
    found = culprit(workers)
    worth = [each for each in workers if each.used >= WORTH_BYTES]
    if found is None:
        assert not worth
        return
    assert found in worth
    rivals = [each for each in worth if each.is_actor is found.is_actor]
    assert not found.is_actor or all(each.is_actor for each in worth)
    largest = max(each.used for each in rivals)
    assert found.used >= ALIKE * largest
    assert not any(each.since > found.since and each.used >= ALIKE * largest for each in rivals)


def test_a_small_new_task_is_innocent() -> None:
    old, new = Candidate(1, 400 * MB, 1.0, False), Candidate(2, 40 * MB, 9.0, False)
    assert culprit([old, new]) is old
    assert culprit([old, Candidate(3, 390 * MB, 2.0, False)]).worker == 3  # type: ignore[union-attr]
    assert culprit([Candidate(4, 900 * MB, 5.0, True), new]) is new, "an actor is spared as long as a task helps"


def test_the_higher_limit_counts() -> None:
    assert allowed(1000, 0.95, -1) == 950
    assert allowed(1000, 0.95, 10) == 990
    assert allowed(1000, 0.95, 100) == 950


def write(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return str(root)


MACHINE = {"proc/meminfo": "MemTotal:  1000 kB\nMemFree:  100 kB\nMemAvailable:  600 kB\n"}


def test_usage_of_a_machine_without_a_limit(tmp_path: Path) -> None:
    root = write(tmp_path, MACHINE | {"sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/memory.current": "5\n"})
    assert machine_usage(root) == Usage(400 * 1024, 1000 * 1024, "the machine")


def test_usage_in_a_container_of_version_2(tmp_path: Path) -> None:
    group = {"memory.max": "1000\n", "memory.current": "900\n", "memory.stat": "anon 700\ninactive_file 150\n"}
    root = write(tmp_path, MACHINE | {f"sys/fs/cgroup/{name}": text for name, text in group.items()})
    assert machine_usage(root) == Usage(750, 1000, "the container")


def test_usage_in_a_container_of_version_1(tmp_path: Path) -> None:
    group = {
        "memory.limit_in_bytes": "2000\n",
        "memory.usage_in_bytes": "1900\n",
        "memory.stat": "inactive_file 1\ntotal_inactive_file 100\n",
    }
    root = write(tmp_path, MACHINE | {f"sys/fs/cgroup/memory/{name}": text for name, text in group.items()})
    assert machine_usage(root) == Usage(1800, 2000, "the container")
    (tmp_path / "sys/fs/cgroup/memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert machine_usage(root) == Usage(400 * 1024, 1000 * 1024, "the machine")


def test_nothing_is_known_of_a_machine_without_proc(tmp_path: Path) -> None:
    assert machine_usage(str(tmp_path)) is None


def test_retries_for_want_of_memory_have_a_budget_of_their_own() -> None:
    task = TaskRecord(1, None, b"", None)
    task.retries_left = 1
    death = Death("killed", out_of_memory=True, oom_retries=2)
    for _ in range(2):
        assert may_retry(task, death)
        task.retries_left -= 1  # as the next attempt does
        assert task.retries_left == 1
    assert not may_retry(task, death)
    endless = Death("killed", out_of_memory=True, oom_retries=-1)
    assert all(may_retry(task, endless) for _ in range(100))
    assert may_retry(task, Death("killed"))
