"""F5, F28, F29: Ctrl-C in the driver, and the violent end of the driver, the node, the zygote, and of all at once."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from skate.testing import eventually

from .drivers import Driver, alive, command_line, gone, parent

PROMPT_S = 0.2
"""A `KeyboardInterrupt` arrives within this time."""
BUSY_MACHINE_S = 0.8
"""What a start of Python's own shutdown may add on a machine that others use too."""

Drive = Callable[..., Driver]

BUSY = """
@skate.remote
def work(seconds=0.0):
    time.sleep(seconds)
    return os.getpid()

@skate.remote
class Keeper:
    def pid(self):
        return os.getpid()
    def sleep(self, seconds):
        time.sleep(seconds)

@skate.remote
def begets(path):
    child = subprocess.Popen(["sleep", "60"])
    open(path, "a").write(f"{child.pid}\\n")
    time.sleep(60)

cluster()
keeper = Keeper.remote()
say("actor", skate.get(keeper.pid.remote(), timeout=10))
child = begets.options(num_cpus=0).remote(sys.argv[1])
wait_for(sys.argv[1])
held = [skate.put(b"x" * 1_000_000) for _ in range(3)]
"""

WAITS = {
    "get": "skate.get(work.remote(60))",
    "wait": "skate.wait([work.remote(60)])",
    "actor": "skate.get(keeper.sleep.remote(60))",
    "sleep": "time.sleep(60)",
    "compute": "while True: sum(range(1000))",
    "submit": "while True: work.remote()",
    "sync": "while True: skate.get(work.remote())",
    "put": "while True: skate.put(b'x' * 200_000)",
    "actors": "while True: skate.get(Keeper.options(num_cpus=0).remote().pid.remote())",
}


def interrupt(driver: Driver, children: Path) -> float:
    """Ctrl-C; checks the exit code, the traceback, and that nothing is left. Returns the seconds that it took."""
    began = [int(pid) for pid in children.read_text().split()] if children.exists() else []
    others = driver.processes()
    sent = time.monotonic()
    driver.kill(signal.SIGINT)
    code = driver.wait(10)
    assert code in (130, -signal.SIGINT), f"exit code {code}\n{driver.err}"
    assert "KeyboardInterrupt" in driver.err
    took = time.monotonic() - sent
    driver.nothing_left()
    assert gone(*others, *began) < 5
    return took


@pytest.mark.parametrize("kind", WAITS)
def test_f28_ctrl_c(drive: Drive, tmp_path: Path, kind: str) -> None:
    children = tmp_path / "children"
    body = f"""
say("busy")
try:
    inside = True  # CPython 3.11 takes an interrupt at the head of a loop for one before it, here outside of the try
    {WAITS[kind]}
except KeyboardInterrupt:
    say("interrupted", time.monotonic())
    raise
"""
    driver = drive(BUSY + body, str(children))
    driver.said("busy")
    time.sleep(0.1)  # let it be in the middle of what it does: this is the moment, not a result that is waited for
    sent = time.monotonic()
    interrupt(driver, children)
    arrived = float(driver.said("interrupted"))
    assert arrived - sent < PROMPT_S + BUSY_MACHINE_S


@pytest.mark.parametrize("seed", range(6))
def test_f28_ctrl_c_at_a_random_moment(drive: Drive, tmp_path: Path, seed: int) -> None:
    """Start, tasks, actors, objects: all are struck. (Before skate's start it would be Python's own import.)"""
    body = (
        BUSY
        + """
for _ in range(1000):
    refs = [work.remote() for _ in range(50)]
    skate.get(refs)
    skate.get([skate.put(b"x" * 100_000), keeper.pid.remote()])
"""
    )
    delay = random.Random(seed).uniform(0.0, 0.5)
    driver = drive(body.replace("\ncluster()", "\nsay('begun')\ncluster()"), str(tmp_path / "children"))
    driver.said("begun")
    time.sleep(delay)
    took = interrupt(driver, tmp_path / "children")
    assert took < PROMPT_S + 2, f"seed {seed}, after {delay:.3f} s: it took {took:.2f} s"


def test_f28_the_program_goes_on_after_ctrl_c(drive: Drive, tmp_path: Path) -> None:
    driver = drive(
        BUSY
        + """
for _ in range(3):
    try:
        say("busy")
        skate.get(work.options(num_cpus=0).remote(60))
    except KeyboardInterrupt:
        assert len(skate.get([work.options(num_cpus=0).remote() for _ in range(20)], timeout=10)) == 20
        say("again", _)
skate.shutdown()
""",
        str(tmp_path / "children"),
    )
    for number in range(3):
        eventually(lambda number=number: driver.out.count("busy") == number + 1, 10)
        driver.kill(signal.SIGINT)
        driver.said(f"again {number}")
    assert driver.wait() == 0, driver.err
    driver.nothing_left()


def test_f28_ctrl_c_of_the_whole_group(drive: Drive, tmp_path: Path) -> None:
    """A terminal sends SIGINT to the whole foreground group: workers and node are not in it, and end in order."""
    driver = drive(BUSY + "say('busy')\nskate.get(work.remote(60))", str(tmp_path / "children"))
    driver.said("busy")
    os.killpg(driver.process.pid, signal.SIGINT)
    assert driver.wait(10) in (130, -signal.SIGINT)
    driver.nothing_left()
    assert "Traceback" in driver.err
    assert driver.err.count("\nKeyboardInterrupt") == 1, driver.err


def begun(drive: Drive, tmp_path: Path) -> tuple[Driver, list[int]]:
    """A busy driver, and the pids of everything that it has started."""
    heard = "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # it is ignored by what `nohup` starts
    work = "refs = [work.remote(60) for _ in range(4)]\nsay('busy')\nskate.get(refs)"
    driver = drive(heard + BUSY + work, str(tmp_path / "children"))
    driver.said("busy")
    started = driver.processes() + [int(pid) for pid in (tmp_path / "children").read_text().split()]
    assert len(started) >= 5, [command_line(pid) for pid in started]
    return driver, started


def node_and_zygote(driver: Driver) -> tuple[int, int]:
    processes = driver.processes()
    (node,) = [pid for pid in processes if parent(pid) == driver.process.pid]
    (zygote,) = [pid for pid in processes if parent(pid) == node]
    return node, zygote


@pytest.mark.parametrize("signo", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_f29_the_driver_is_killed(drive: Drive, tmp_path: Path, signo: int) -> None:
    driver, started = begun(drive, tmp_path)
    driver.kill(signo)
    assert driver.wait() == -signo
    assert gone(*started) < 5
    driver.nothing_left()


def test_f29_the_driver_is_killed_while_it_starts(drive: Drive) -> None:
    for delay in (0.0, 0.03, 0.06, 0.09, 0.12):
        driver = drive("say('begun')\ncluster()\nsay('ready')\ntime.sleep(60)")
        driver.said("begun")
        time.sleep(delay)
        driver.kill()
        driver.wait()
        driver.nothing_left(folders=False)
    driver = drive("cluster()\nskate.shutdown()")
    assert driver.wait() == 0, driver.err
    driver.nothing_left()


def test_f29_a_driver_that_ends_before_it_has_said_a_word(drive: Drive) -> None:
    """As one does that is killed, or gets Ctrl-C, within `init()`: when the node runs, and has not been greeted."""
    driver = drive("""
import skate.client.start as start
start._hello = lambda *_: os._exit(9)
cluster()
""")
    assert driver.wait() == 9
    driver.nothing_left()


def test_f28_ctrl_c_within_init(drive: Drive) -> None:
    """The program goes on, and the start that was interrupted has left nothing."""
    driver = drive("""
import skate.client.start as start
whole = start._welcome
def interrupted(channel):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)
start._welcome = interrupted
try:
    cluster()
except KeyboardInterrupt:
    say("interrupted")
assert not skate.is_initialized()
say("wait")
wait_for(os.environ["TMPDIR"] + "/continue")
start._welcome = whole
cluster()
skate.shutdown()
""")
    driver.said("interrupted")
    driver.said("wait")
    driver.nothing_left()
    (driver.root / "continue").touch()
    assert driver.wait() == 0, driver.err
    driver.nothing_left()


def test_f29_after_a_total_kill_the_next_start_cleans_up(drive: Drive, tmp_path: Path) -> None:
    driver, started = begun(drive, tmp_path)
    node, zygote = node_and_zygote(driver)
    folder = driver.said("session")
    for pid in (driver.process.pid, node, zygote, *started):
        with contextlib.suppress(ProcessLookupError):  # it has ended with its parent, a moment ago
            os.kill(pid, signal.SIGKILL)
    driver.wait()
    gone(*started)
    assert os.path.isdir(folder), "everything was killed: nobody can have removed the folder"
    other = drive("cluster()\nskate.shutdown()")
    assert other.wait() == 0, other.err
    assert not os.path.exists(folder)
    other.nothing_left()


def test_f29_a_start_leaves_the_sessions_of_others_alone(drive: Drive) -> None:
    first = drive("cluster()\nsay('ready')\ntime.sleep(60)")
    first.said("ready")
    folder = first.said("session")
    second = drive("cluster()\nskate.shutdown()")
    assert second.wait() == 0, second.err
    assert os.path.isdir(folder)
    first.kill()
    first.nothing_left()


LOST = """
@skate.remote
def work(seconds=0.0):
    say("working")
    time.sleep(seconds)

@skate.remote
class Keeper:
    def pid(self):
        return os.getpid()

cluster()
keeper = Keeper.remote()
skate.get(keeper.pid.remote(), timeout=10)
refs = [work.remote(60) for _ in range(2)]
def attempt(name, function):
    start = time.monotonic()
    try:
        function()
        say("result", name, "no error", 0)
    except BaseException as error:
        ours = isinstance(error, skate.exceptions.RayError)
        say("result", name, type(error).__name__, ours, time.monotonic() - start)
say("busy")
attempt("get", lambda: skate.get(refs[0]))
say("lost", time.monotonic())
attempt("again", lambda: skate.get(refs[1], timeout=5))
attempt("wait", lambda: skate.get(skate.wait(refs, timeout=5)[0][0], timeout=5))
attempt("submit", lambda: skate.get(work.remote(), timeout=5))
attempt("actor", lambda: skate.get(keeper.pid.remote(), timeout=5))
attempt("create", lambda: skate.get(Keeper.remote().pid.remote(), timeout=5))
attempt("put", lambda: skate.put(b"x" * 50_000_000))
attempt("state", lambda: skate.available_resources())
skate.shutdown()
cluster()
assert len(skate.get([work.remote() for _ in range(20)], timeout=10)) == 20
skate.shutdown()
say("healthy")
"""


@pytest.mark.parametrize("signo", [signal.SIGKILL, signal.SIGSEGV])
def test_f5_the_node_alone_is_killed(drive: Drive, signo: int) -> None:
    driver = drive(LOST)
    driver.said("busy")
    eventually(lambda: len(driver.processes()) >= 4, 10)  # node, zygote, the actor and a task's worker
    node, zygote = node_and_zygote(driver)
    workers = [pid for pid in driver.processes() if pid != node]
    assert zygote in workers
    killed = time.monotonic()
    os.kill(node, signo)
    assert gone(*workers) < 2, "its workers end within 2 s"
    assert float(driver.said("lost")) - killed < 2
    driver.said("healthy", 25)
    assert driver.wait() == 0, driver.err
    results = [line.split() for line in driver.out.splitlines() if line.startswith("result")]
    assert [line[1] for line in results] == ["get", "again", "wait", "submit", "actor", "create", "put", "state"]
    wrong = [line for line in results if line[3] != "True"]
    assert not wrong, f"each of them raises an error of skate's: {wrong}"
    driver.nothing_left()


def test_f5_the_zygote_is_killed(drive: Drive) -> None:
    """The parent of all workers is gone: either the node makes another, or it ends, and the driver is told."""
    driver = drive(LOST)
    driver.said("busy")
    eventually(lambda: len(driver.processes()) >= 4, 10)
    node, zygote = node_and_zygote(driver)
    workers = [pid for pid in driver.processes() if pid not in (node, zygote)]
    os.kill(zygote, signal.SIGKILL)
    assert gone(zygote, *workers) < 2
    driver.said("lost", 10)
    driver.said("healthy", 25)
    assert driver.wait() == 0, driver.err
    results = [line.split() for line in driver.out.splitlines() if line.startswith("result")]
    assert results[0][3] == "True", results[0]
    driver.nothing_left()


def test_f29_a_frozen_worker_ends_with_its_driver(drive: Drive, tmp_path: Path) -> None:
    driver, started = begun(drive, tmp_path)
    frozen = int(driver.said("actor"))
    os.kill(frozen, signal.SIGSTOP)
    driver.kill()
    driver.wait()
    assert gone(*started, frozen) < 5
    driver.nothing_left()


def test_f29_a_task_that_ignores_everything_ends_with_its_driver(drive: Drive) -> None:
    driver = drive("""
@skate.remote
def deaf():
    for signo in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signo, signal.SIG_IGN)
    say("deaf")
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass

cluster()
ref = deaf.remote()
time.sleep(0.5)
say("workers", len(__import__("skate.client.current", fromlist=["x"]).runtime.ask("workers")))
""")
    assert driver.wait() == 0, driver.err
    driver.nothing_left()


def test_a_driver_that_does_not_shut_down_leaves_nothing(drive: Drive, tmp_path: Path) -> None:
    driver = drive(BUSY, str(tmp_path / "children"))
    assert driver.wait() == 0, driver.err
    gone(*[int(pid) for pid in (tmp_path / "children").read_text().split()])
    driver.nothing_left()
    assert "Traceback" not in driver.err, driver.err


def test_a_driver_that_ends_at_once_by_exit_leaves_nothing(drive: Drive, tmp_path: Path) -> None:
    driver = drive(BUSY + "os._exit(7)", str(tmp_path / "children"))
    assert driver.wait() == 7
    gone(*[int(pid) for pid in (tmp_path / "children").read_text().split()])
    driver.nothing_left()


def test_skate_run_passes_ctrl_c_on(tmp_path: Path) -> None:
    """Under `skate run` too the exit code is 130."""
    script = tmp_path / "script.py"
    script.write_text("import ray, time\nray.init(num_cpus=1)\nprint('busy', flush=True)\ntime.sleep(60)\n")
    with subprocess.Popen(
        [sys.executable, "-m", "skate.cli", "run", str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"busy\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(10) in (130, -signal.SIGINT)
        finally:
            if alive(process.pid):
                process.kill()
