"""F18, F31, F32: the clock, workers and nodes that cannot start, and who may enter the session's folder."""

from __future__ import annotations

import ast
import contextlib
import os
import shutil
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import skate
from skate.client import current
from skate.exceptions import NotRunningError, RayError, RaySystemError
from skate.testing import Snapshot, eventually
from skate.testing.nodes import private

from .conftest import check_health
from .drivers import Driver

GET_S = 20
PACKAGE = Path(skate.__file__).parent
SHOWN_TO_PEOPLE = {
    "node/history.py": "when events were",
    "node/jobs.py": "when jobs began and ended",
    "node/deaths.py": "when processes died",
    "node/farewells.py": "when tasks ended that their program has left",
    "client/endings.py": "how long ago that was",
    "client/recording.py": "when tasks began",
    "client/reasons.py": "when tasks began that have not ended",
    "client/state.py": "the same, by what their processes say",
    "cli/top_source.py": "how long tasks have run",
    "cli/top_app.py": "how old what is shown is",
    "dashboard/live.py": "when samples were taken",
    "worker/process.py": "when tasks ended",
    "data/sinks/tables.py": "when files were added to a table, as its format wants it",
}
"""The files that read the wall clock, and what for. Nothing is decided by it."""
WALL_CLOCKS = {("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow"), ("date", "today")}


def ask(what: str) -> Any:
    runtime: Any = current.runtime
    return runtime.ask(what)


# ------------------------------------------------------------ F18


def wall_clocks(path: Path) -> list[str]:
    """Where a file reads the wall clock."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
            if (name, node.attr) in WALL_CLOCKS:
                found.append(f"{path}:{node.lineno}: {name}.{node.attr}")
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            found += [f"{path}:{node.lineno}: {a.name}" for a in node.names if ("time", a.name) in WALL_CLOCKS]
    return found


def test_f18_the_wall_clock_is_read_only_to_be_shown() -> None:
    """What is never read cannot jump: every time limit is monotonic."""
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 30
    found = {str(path.relative_to(PACKAGE)): wall_clocks(path) for path in files}
    assert {path for path, places in found.items() if places} == set(SHOWN_TO_PEOPLE), found


def test_f18_the_check_finds_what_it_looks_for(tmp_path: Path) -> None:
    path = tmp_path / "guilty.py"
    path.write_text(
        "import time, datetime\nfrom time import time_ns\ntime.time()\ndatetime.datetime.now()\ntime.monotonic()\n"
    )
    assert len(wall_clocks(path)) == 3


def test_f18_a_jump_of_an_hour_changes_nothing(start: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    start()
    check_health()
    begun = time.monotonic()
    true = time.time
    for jump in (3600.0, -3600.0):
        monkeypatch.setattr(time, "time", lambda jump=jump: true() + jump)
        check_health()
        with pytest.raises(skate.exceptions.GetTimeoutError):
            skate.get(skate.remote(lambda: time.sleep(0.5)).remote(), timeout=0.1)
    assert time.monotonic() - begun < 5


# ------------------------------------------------------------ F31


@skate.remote(max_retries=0)
def pid() -> int:
    return os.getpid()


def test_f31_workers_that_cannot_start_are_an_error_and_not_a_spin(start: Callable[..., str]) -> None:
    """Without the folder of their logs no worker gets anywhere. It must not be tried for ever."""
    folder = Path(start())
    logs = folder / "logs"
    no_worker_can_start(logs)
    begun = time.monotonic()
    with pytest.raises(RayError) as caught:
        skate.get(pid.remote(), timeout=GET_S)
    assert not isinstance(caught.value, skate.exceptions.GetTimeoutError), f"nobody gave up: {caught.value}"
    assert str(logs) in str(caught.value) or "start" in str(caught.value), "the reason is in the error"
    assert time.monotonic() - begun < 15
    logs.mkdir(mode=0o700)
    eventually(lambda: works(), 15, "skate works again when the reason is gone")
    check_health()


def no_worker_can_start(logs: Path) -> None:
    """Remove the folder of the logs; the workers that `init` has started in advance, which are fine, are ended."""
    eventually(lambda: ask("workers") and all(worker["pid"] for worker in ask("workers")), 5)
    check_health()  # they have opened their logs
    shutil.rmtree(logs)
    pids = {worker["pid"] for worker in ask("workers")}
    for process in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    eventually(lambda: not pids & {worker["pid"] for worker in ask("workers")}, 5)


def works() -> bool:
    try:
        return bool(skate.get(pid.remote(), timeout=5))
    except RayError:
        return False


def test_f31_workers_that_cannot_start_do_not_use_up_the_machine(start: Callable[..., str]) -> None:
    """The number of attempts is bounded in time: a back-off, not a thousand forks a second."""
    folder = Path(start())
    no_worker_can_start(folder / "logs")
    ref = pid.remote()
    skate.wait([ref], timeout=1.5)
    last = max((worker["worker"] for worker in ask("workers")), default=0)
    (folder / "logs").mkdir(mode=0o700)
    eventually(works, 15)
    last = max(last, *(worker["worker"] for worker in ask("workers")))
    assert last < 50, f"{last} workers were started within 1.5 s"


def test_f31_an_actor_that_cannot_start(start: Callable[..., str]) -> None:
    folder = Path(start())
    no_worker_can_start(folder / "logs")

    @skate.remote
    class Unborn:
        def pid(self) -> int:
            return os.getpid()

    with pytest.raises(RayError) as caught:
        skate.get(Unborn.remote().pid.remote(), timeout=GET_S)
    assert not isinstance(caught.value, skate.exceptions.GetTimeoutError), f"nobody gave up: {caught.value}"


def test_f31_a_node_that_cannot_start_says_why(tmp_path: Path, drive: Callable[..., Driver]) -> None:
    """A module of the user's that shadows one of Python's keeps the node from starting."""
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    (shadow / "shutil.py").write_text("raise RuntimeError('not the shutil you expected')\n")
    driver = drive(
        """
import shutil
sys.path.insert(0, sys.argv[1])
start = time.monotonic()
try:
    cluster()
except skate.exceptions.RaySystemError as error:
    say("error", "did not start" in str(error), "not the shutil you expected" in str(error), time.monotonic() - start)
assert not skate.is_initialized()
sys.path.pop(0)
cluster()
skate.shutdown()
""",
        str(shadow),
    )
    started, reason, took = driver.said("error").split()
    assert (started, reason) == ("True", "True"), driver.out
    assert float(took) < 10
    assert driver.wait() == 0, driver.err
    driver.nothing_left()


# ------------------------------------------------------------ F32


def test_f32_the_session_is_the_users_alone(start: Callable[..., str], tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        folder = Path(start(_temp_dir=str(tmp_path)))
        check_health()
    finally:
        os.umask(old)
    for path in [folder.parent, folder, *(p for p in folder.rglob("*") if p.is_dir())]:
        assert stat.S_IMODE(path.lstat().st_mode) == 0o700, path
    for path in (p for p in folder.rglob("*") if not p.is_dir()):
        assert not path.lstat().st_mode & 0o077, f"{path} has mode {path.lstat().st_mode:o}"


def test_f32_nothing_listens_but_a_socket_in_the_folder(start: Callable[..., str]) -> None:
    """No process of the session has a port, or a socket with a name that other users could connect to."""
    from skate.testing.leaks import session_processes

    folder = start()
    check_health()
    inodes = set()
    for process in [os.getpid(), *session_processes(folder)]:
        for fd in Path(f"/proc/{process}/fd").iterdir():
            try:
                target = os.readlink(fd)
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    assert inodes
    for table in ("tcp", "tcp6", "udp", "udp6"):
        lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:] if os.path.exists(f"/proc/net/{table}") else []
        assert not [line for line in lines if line.split()[9] in inodes], table
    named = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    ours = {line[7] for line in named if line[6] in inodes and len(line) > 7 and "skate" in line[7]}
    assert ours == {f"{folder}/node.sock"}
    assert os.stat(folder).st_mode & 0o777 == 0o700 and os.stat(f"{folder}/node.sock").st_mode & 0o077 == 0


@pytest.mark.parametrize("kind", ["symbolic link", "open to others", "file"])
def test_f32_a_folder_that_somebody_else_prepared_is_refused(tmp_path: Path, kind: str) -> None:
    base = tmp_path / f"skate-{os.getuid()}"
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    if kind == "symbolic link":
        base.symlink_to(target)
    elif kind == "open to others":
        base.mkdir()
        base.chmod(0o777)
    else:
        base.write_text("")
    with pytest.raises((RaySystemError, OSError), match=str(base)):
        skate.init(num_cpus=1, _temp_dir=str(tmp_path))
    assert not skate.is_initialized()
    assert not list(target.iterdir()), "nothing was made behind the link"


def test_f32_a_stale_session_that_is_a_link_is_not_followed(start: Callable[..., str], tmp_path: Path) -> None:
    base = tmp_path / f"skate-{os.getuid()}"
    base.mkdir(mode=0o700)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "data").write_text("do not remove")
    (base / "session-999999999-abc").symlink_to(precious)
    inner = base / "session-999999998-abc"
    inner.mkdir()
    (inner / "link").symlink_to(precious)
    start(_temp_dir=str(tmp_path))
    assert (precious / "data").read_text() == "do not remove"
    assert not inner.exists()


# ------------------------------------------------------------ after the end


def test_use_after_shutdown(start: Callable[..., str]) -> None:
    start()

    @skate.remote
    class Keeper:
        def pid(self) -> int:
            return os.getpid()

    keeper = Keeper.remote()
    ref, pending = skate.put(1), keeper.pid.remote()
    skate.shutdown()
    skate.shutdown()
    assert not skate.is_initialized()
    for use in (lambda: skate.get(ref, timeout=5), lambda: skate.get(pending, timeout=5), lambda: keeper.pid.remote()):
        with pytest.raises(RayError):
            use()
    start()
    for use in (lambda: skate.get(pid.remote(ref), timeout=5), lambda: skate.get(keeper.pid.remote(), timeout=5)):
        with pytest.raises((NotRunningError, RayError, ValueError, TypeError)):
            use()
    check_health()


def test_a_second_init(start: Callable[..., str]) -> None:
    folder = start()
    with pytest.raises(RuntimeError, match="shutdown"):
        skate.init(num_cpus=1)
    assert skate.init(ignore_reinit_error=True)
    assert current.runtime is not None
    assert current.runtime.context().session_dir == folder
    check_health()


def test_an_init_that_fails_leaves_nothing(tmp_path: Path) -> None:
    skate.shutdown()
    (tmp_path / "no.zip").write_text("nothing that can be unpacked")
    before = Snapshot.take()
    with pytest.raises(ValueError, match="is not a zip file"):
        skate.init(num_cpus=1, runtime_env={"working_dir": str(tmp_path / "no.zip")}, _temp_dir=str(tmp_path))
    before.check()
    assert not list(tmp_path.glob("skate-*/session-*"))


def test_a_cluster_whose_machine_is_not_known_is_an_error_of_the_connection(tmp_path: Path) -> None:
    skate.shutdown()
    with private(str(tmp_path)):
        (tmp_path / "token").touch(0o600)
        (tmp_path / "token").write_text("ab" * 32)
        with pytest.raises(
            ConnectionError, match=r"address='nowhere\.invalid:6379': there is no head at nowhere\.invalid"
        ):
            skate.init(address="nowhere.invalid:6379")


def test_many_sessions_one_after_another(start: Callable[..., str]) -> None:
    for _ in range(5):
        start()
        check_health()
        skate.shutdown()
