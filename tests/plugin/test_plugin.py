"""The pytest plugin, as the tests of another project use it: each test here runs pytest on a small project of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

DOCS = Path(__file__).parents[2] / "docs" / "testing.md"
CONFTEST = """
import pytest


@pytest.fixture(scope="session")
def keeper(skate_session):
    import skate

    @skate.remote
    class Keeper:
        def __init__(self):
            self.values = []

        def add(self, value):
            self.values.append(value)
            return len(self.values)

    return Keeper.remote()
"""
WORKS = """
import os

import pytest
import skate
from skate.testing import eventually


class Own(Exception):
    pass


@skate.remote
def who(value):
    return value, os.getpid()


@skate.remote
def fails():
    raise Own("on purpose")


def test_session(skate_session, skate_no_leaks):
    value, pid = skate.get(who.remote(1))
    assert value == 1 and pid != os.getpid()
    assert skate.cluster_resources()["CPU"] == 3 and skate.cluster_resources()["blue"] == 2


def test_errors_are_those_of_the_file(skate_session, skate_no_leaks):
    with pytest.raises(Own):
        skate.get(fails.remote())


def test_inline(skate_inline):
    assert skate.get(who.remote(1)) == (1, os.getpid())


def test_faults(skate_session, skate_faults, skate_no_leaks, tmp_path):
    @skate.remote(max_retries=1)
    def waits(path):
        with open(path, "a") as file:
            file.write("x")
        while len(open(path).read()) < 2:
            pass
        return os.getpid()

    ref = waits.remote(str(tmp_path / "runs"))
    eventually((tmp_path / "runs").exists)
    pid = skate_faults.kill_worker()
    assert skate.get(ref) != pid

    @skate.remote
    class Actor:
        def pid(self):
            return os.getpid()

    actor = Actor.remote()
    pid = skate.get(actor.pid.remote())
    with skate_faults.frozen(actor):
        ref = actor.pid.remote()
        assert skate.wait([ref], timeout=0.1) == ([], [ref])
    assert skate.get(ref) == pid
    assert skate_faults.kill_worker(actor) == pid
    with pytest.raises(skate.exceptions.RayActorError):
        skate.get(actor.pid.remote())
    with pytest.raises(ValueError, match="skate_cluster"):
        skate_faults.kill_head()
    with pytest.raises(TypeError, match="an actor's handle"):
        skate_faults.pid_of("nonsense")
"""
KEEPER = """
import skate
from skate.testing import eventually, session_processes


@skate.remote
def who(value):
    return value


def test_an_actor_of_the_session(keeper):
    assert skate.get(keeper.add.remote(1)) == 1


def test_nodes(skate_cluster, skate_faults):
    skate_cluster.add_node()
    there = skate_cluster.add_node(num_cpus=2, resources={"there": 1}, labels={"kind": "far"})
    skate_cluster.connect()
    assert skate.cluster_resources()["CPU"] == 3
    assert skate.get(who.options(resources={"there": 1}).remote(1)) == 1
    assert skate_faults.cut(there) > 0
    assert skate.get(who.options(resources={"there": 1}).remote(3), timeout=20) == 3
    skate_faults.kill_head()
    skate_faults.kill_node(there)
    eventually(lambda: not session_processes(there.folder), what="what ran on the node has ended")
    assert skate.get(who.remote(2)) == 2


def test_the_session_has_stayed(keeper):
    assert skate.get(keeper.add.remote(2)) == 2
"""
LEAKS = """
import threading
import time

import pytest
import skate
from skate.testing import eventually

kept = []


@pytest.fixture(autouse=True)
def nothing_kept():
    kept.clear()


@skate.remote
def takes(refs):
    pass


def test_keeps_an_object(skate_session, skate_no_leaks):
    kept.append(skate.put(b"x" * 1_000_000))
    skate.get(takes.remote(kept[:]))


def test_keeps_what_it_has_only_put(skate_session, skate_no_leaks):
    kept.append(skate.put(b"x" * 1_000_000))


@pytest.fixture(scope="module")
def runs(skate_session):
    ref = takes_long.remote()
    eventually(lambda: skate.available_resources().get("CPU", 0) < skate.cluster_resources()["CPU"])
    yield ref
    skate.cancel(ref, force=True)


@skate.remote
def takes_long():
    time.sleep(60)


def test_finds_a_task_that_may_stay(runs, skate_no_leaks):
    pass


def test_keeps_a_task(skate_session, skate_no_leaks):
    kept.append(takes_long.options(name="forgotten", num_cpus=0).remote())


def test_keeps_a_group(skate_session, skate_no_leaks):
    from skate.util.placement_group import placement_group

    kept.append(placement_group([{"CPU": 0.5}], name="reserved"))


def test_keeps_an_actor(skate_session, skate_no_leaks):
    class Idle:
        pass

    kept.append(skate.remote(Idle).remote())


def test_fails_and_leaves_nothing(skate_session, skate_no_leaks):
    class Idle:
        pass

    actor = skate.remote(Idle).remote()
    assert not actor


def test_keeps_a_thread(skate_inline):
    thread = threading.Thread(target=time.sleep, args=(3,), name="left-behind", daemon=True)
    thread.start()


def test_cannot_start_another(skate_session):
    skate.init()
"""


def project(pytester: pytest.Pytester, *options: str, **files: str) -> pytest.RunResult:
    """Run pytest on these files."""
    pytester.makepyfile(**files)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *options, timeout=60)


def test_what_works_in_two_processes_at_a_time(pytester: pytest.Pytester) -> None:
    """The tests that share an actor are a file: groups of xdist 3.8 have no effect with pytest 9.2, where nobody reads the
    `_nodeid` to which it adds them."""
    pytester.makeini("[pytest]\nfilterwarnings = error\nskate_cpus = 2\nskate_resources = blue=2\n")
    options = "--skate-cpus=3", "-n2", "--dist=loadfile", "-v"
    result = project(pytester, *options, conftest=CONFTEST, test_works=WORKS, test_keeper=KEEPER)
    result.assert_outcomes(passed=7)
    ran = set(re.findall(r"\[(gw\d)\].* PASSED (test_\w+)\.py", result.stdout.str()))
    assert sorted(file for _, file in ran) == ["test_keeper", "test_works"] and len({worker for worker, _ in ran}) == 2


def test_what_is_left_is_an_error_of_its_test(pytester: pytest.Pytester) -> None:
    result = project(pytester, "--skate-leak-seconds=0.5", test_leaks=LEAKS)
    result.assert_outcomes(passed=7, failed=2, errors=6)
    result.stdout.re_match_lines_random(
        [
            r"E .*1 object in the store, 0 before",
            r"E .*left over after 0.5 s: task forgotten .*",
            r"E .*placement group reserved; resources in use: .*",
            r"E .*left over after 0.5 s: .*actor ",
            r"E .*thread left-behind",
            r"E .*skate runs already in this process",
        ]
    )
    errors = re.findall(r"ERROR at teardown of (\w+)", result.stdout.str())
    kept = "an_object", "what_it_has_only_put", "a_task", "a_group", "an_actor", "a_thread"
    assert errors == [f"test_keeps_{what}" for what in kept]


def test_a_wrong_setting_is_named(pytester: pytest.Pytester) -> None:
    result = project(pytester, "--skate-cpus=many", test_one="def test_one(skate_inline):\n    pass\n")
    result.assert_outcomes(errors=1)
    assert "many" in result.stdout.str()


def test_the_page_about_testing_is_true(pytester: pytest.Pytester) -> None:
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", DOCS.read_text(), re.DOTALL | re.MULTILINE))
    result = project(pytester, test_page=code)
    result.assert_outcomes(passed=len(re.findall(r"^def test_", code, re.MULTILINE)))


def test_a_project_that_does_not_use_it_pays_nothing() -> None:
    """What pytest loads in every project: this file, and nothing of skate that does anything."""
    code = "import sys, skate.testing.plugin; print(*sorted(name for name in sys.modules if name.startswith('skate')))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert loaded.split() == ["skate", "skate.testing", "skate.testing.plugin", "skate.version"]
