"""Why something is not done, from inside and with the command, of real processes on one node."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import skate
from skate.client.telling import SUBMITTED
from skate.exceptions import GetTimeoutError
from skate.testing import eventually
from skate.util import state

GET_S = 20


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One node with something that only one task at a time may have."""
    skate.shutdown()
    skate.init(num_cpus=2, resources={"lock": 1}, object_store_memory=100 << 20)
    yield
    skate.shutdown()


def command(*words: str) -> str:
    """What `skate why` says of this program."""
    run = subprocess.run(
        [sys.executable, "-m", "skate.cli", "why", *words, "--address", str(os.getpid())],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return run.stdout.strip()


def said(what: Any, *parts: str) -> str:
    """The reason, once it has all these parts."""
    text = ""

    def there() -> bool:
        nonlocal text
        text = skate.why(what)
        return all(part in text for part in parts)

    try:
        eventually(there, 10)
    except AssertionError:
        raise AssertionError(f"{parts} not in: {text}") from None
    assert "\n" not in text
    return text


def untimed(text: str) -> str:
    """Without what changes from look to look."""
    return re.sub(r"for \d+ s", "for some time", text)


@skate.remote(resources={"lock": 1})
def hold(path: str) -> None:
    """Until a file is there."""
    while not os.path.exists(path):
        time.sleep(0.01)


@skate.remote
def use(_: Any) -> None:
    """Needs an argument."""


@skate.remote(resources={"lock": 1})
def outer(path: str) -> None:
    """Waits for what can only run when it is over."""
    skate.get(hold.remote(path))


@skate.remote
class Peer:
    """Calls another."""

    def meet(self, other: Any) -> None:
        self.other = other

    def call(self) -> None:
        skate.get(self.other.call.remote())

    def pid(self) -> int:
        return os.getpid()

    def crash(self) -> None:
        print("about to crash", flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)

    def busy(self, path: str) -> None:
        while not os.path.exists(path):
            sum(range(1000))


@skate.remote
class AsyncPeer:
    """Calls another, and can do more meanwhile."""

    async def meet(self, other: Any) -> None:
        self.other = other

    async def call(self) -> None:
        await self.other.call.remote()

    async def still_here(self) -> bool:
        return True


def test_a_chain_from_an_argument_to_who_holds_the_resource(tmp_path: Path) -> None:
    go = str(tmp_path / "go")
    first, second = hold.remote(go), hold.remote(go)
    last = use.remote(second)
    busy = "the only worker for such tasks is busy"  # that the first has its worker this process hears a little later
    text = said(last, "use waits for 1 of its arguments -> hold is queued", busy, "0 of 1 lock free; held by hold (pid")
    assert text.count("1 lock") == 2 and "needs 1 CPU, 1 lock; " in text, "what is needed is said once"
    assert re.search(r"; 0 of 1 lock free; held by hold \(pid \d+\) for \d+ s -> hold \(pid \d+\) runs$", text)
    assert untimed(command(last.task_id())) == untimed(text)
    assert "hold runs on worker process" in skate.why(first)
    (tmp_path / "go").touch()
    skate.get([first, last], timeout=GET_S)
    assert "done" in skate.why(last)


def test_an_actor_that_holds_a_resource_is_named(tmp_path: Path) -> None:
    keeper = Peer.options(resources={"lock": 1}, name="keeper").remote()
    skate.get(keeper.pid.remote(), timeout=GET_S)
    waiting = Peer.options(resources={"lock": 1}).remote()
    call = waiting.pid.remote()
    text = said(call, "held by actor Peer 'keeper' (pid")
    assert "is pending: it needs 1 lock; 0 of 1 lock free" in text and "DEADLOCK" not in text
    assert skate.why(waiting) in text
    skate.kill(keeper)
    skate.get(call, timeout=GET_S)


def test_a_task_that_holds_what_its_child_needs_is_a_deadlock(tmp_path: Path) -> None:
    ref = outer.remote(str(tmp_path / "go"))
    circle = r"DEADLOCK: outer \(\w{32}\) waits for hold \(\w{32}\) waits for outer \(\w{32}\): none"
    eventually(
        lambda: re.search(circle, skate.why(ref)), 10
    )  # that it has its worker this process hears a little later
    assert "DEADLOCK" in command(ref.task_id())
    (found,) = json.loads(command(ref.task_id(), "--json"))
    assert [each.split()[0] for each in found["deadlock"]] == ["outer", "hold"]
    skate.cancel(ref, force=True)


def test_a_task_that_waits_for_its_children_is_no_deadlock(tmp_path: Path) -> None:
    """More of them than CPUs: whoever waits has lent its own."""
    go = str(tmp_path / "go")

    @skate.remote
    def parent() -> None:
        skate.get([child.remote() for _ in range(4)])

    @skate.remote
    def child() -> None:
        while not os.path.exists(go):
            time.sleep(0.01)

    refs = [parent.remote() for _ in range(4)]
    for ref in refs:
        assert "DEADLOCK" not in said(ref, "child")
    (tmp_path / "go").touch()
    skate.get(refs, timeout=GET_S)


@pytest.mark.parametrize("second", [Peer, AsyncPeer], ids=["plain", "async"])
def test_actors_that_call_each_other_in_a_circle(second: Any) -> None:
    one, two = Peer.remote(), second.remote()
    skate.get([one.meet.remote(two), two.meet.remote(one)], timeout=GET_S)
    call = one.call.remote()
    name = "AsyncPeer" if second is AsyncPeer else "Peer"
    text = said(call, f"DEADLOCK: Peer.call ({call.hex()}) waits for {name}.call")
    assert text.count(" waits for ") >= 3
    assert "none of them can go on until one is cancelled or killed; in detail: Peer.call" in text
    with pytest.raises(GetTimeoutError, match="DEADLOCK"):
        skate.get(call, timeout=1)
    if second is AsyncPeer:
        other = two.still_here.remote()
        assert skate.get(other, timeout=GET_S)
    with pytest.raises(GetTimeoutError, match="Peer") as caught:  # nobody is asked when nobody has waited
        skate.get(call, timeout=0)
    assert "DEADLOCK" not in str(caught.value)
    skate.kill(one)
    skate.kill(two)


def test_a_call_behind_one_that_does_not_listen(tmp_path: Path) -> None:
    peer = Peer.remote()
    skate.get(peer.pid.remote(), timeout=GET_S)
    busy, behind = peer.busy.remote(str(tmp_path / "go")), peer.pid.remote()
    said(busy, "Peer.busy runs on actor process")
    (pid,) = {row.pid for row in state.list_actors(filters=[("class_name", "=", "Peer"), ("state", "=", "ALIVE")])}
    assert f"actor Peer (pid {pid}) runs Peer.busy" in command(str(pid))
    said(behind, "Peer.pid waits behind 1 earlier call of")
    (tmp_path / "go").touch()
    skate.get([busy, behind], timeout=GET_S)


@skate.remote
class Threads:
    """Runs several calls at a time."""

    def wait(self, path: str) -> None:
        eventually(lambda: os.path.exists(path), GET_S)

    def nothing(self) -> None:
        """Is never begun while the others wait."""


@skate.remote
class Loop:
    """As `Threads`, in one thread."""

    async def wait(self, path: str) -> None:
        while not os.path.exists(path):
            await asyncio.sleep(0.01)

    async def nothing(self) -> None:
        """Is never begun while the others wait."""


@pytest.mark.parametrize("kind", [Threads, Loop])
def test_calls_that_run_beside_each_other(tmp_path: Path, kind: Any) -> None:
    actor = kind.options(max_concurrency=3).remote()
    refs = [actor.wait.remote(str(tmp_path / "go")) for _ in range(3)]
    for ref in refs:
        assert re.search(r"\.wait runs on actor process \d+ for \d", said(ref, "wait runs on", " for "))
    last = actor.nothing.remote()
    assert "nothing waits behind 3 earlier calls of this process on actor process" in said(last, ", which runs ")
    found = {row.task_id: row for row in state.list_tasks(filters=[("state", "!=", "FINISHED")], detail=True)}
    assert {found[ref.hex()].state for ref in refs} == {"RUNNING"} and found[last.hex()].state == SUBMITTED
    assert all(found[ref.hex()].start_time_ms for ref in refs)
    (tmp_path / "go").touch()
    skate.get([*refs, last], timeout=GET_S)


def test_a_call_that_its_own_actor_makes_waits_there() -> None:
    @skate.remote
    class Selfish:
        def meet(self, me: Any) -> None:
            self.me = me

        def first(self) -> None:
            skate.get(self.me.second.remote())

        def second(self) -> None:
            """Never runs."""

    actor = Selfish.remote()
    skate.get(actor.meet.remote(actor), timeout=GET_S)
    text = said(actor.first.remote(), "Selfish.second")
    assert re.search(r"Selfish\.second waits at actor process \d+, which runs \S*Selfish\.first", text)
    skate.kill(actor)


def test_how_long_a_task_has_run_that_does_not_listen(tmp_path: Path) -> None:
    @skate.remote
    def spin(path: str) -> None:
        while not os.path.exists(path):
            sum(range(1000))

    ref = spin.remote(str(tmp_path / "go"))
    assert re.search(r"spin runs on worker process \d+ for \d", said(ref, "spin runs on", " for "))
    (tmp_path / "go").touch()
    skate.get(ref, timeout=GET_S)


def test_a_segfault_is_explained_by_one_command(tmp_path: Path) -> None:
    @skate.remote(max_retries=1)
    def crash() -> None:
        print("reading the mesh", flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)

    ref = crash.remote()
    skate.wait([ref])
    text = command(ref.task_id())
    assert re.search(
        r"^task \S*crash failed in attempt 2, in process \d+: killed by signal 11 \(SIGSEGV\) in crash, "
        rf"{re.escape(__file__)}:\d+; \d+ MB of memory in use; "
        "its last output: reading the mesh$",
        text,
    )
    assert "killed by signal 11 (SIGSEGV)" in skate.why(ref) and "on each of 2 attempts" in skate.why(ref)


def test_how_an_actor_and_its_process_ended() -> None:
    peer = Peer.remote()
    pid = skate.get(peer.pid.remote(), timeout=GET_S)
    skate.wait([peer.crash.remote()])
    said(peer, "Peer (", "is dead: killed by signal 11 (SIGSEGV)", "its last output: about to crash")
    assert re.search(rf"^actor Peer, process {pid}, died \d+ s ago: killed by signal 11", command(str(pid)))


def test_a_long_get_says_why_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("skate.client.waiting.SLOW_GET_S", 0.3)
    go = tmp_path / "go"
    refs = [hold.remote(str(go)), hold.remote(str(go))]
    heard: list[str] = []

    def watch() -> None:
        def there() -> bool:
            heard.append(capfd.readouterr().err)
            return "still waiting" in "".join(heard)

        eventually(there, 10)
        go.touch()

    thread = threading.Thread(target=watch)
    thread.start()
    skate.get(refs[1], timeout=GET_S)
    thread.join()
    (line,) = [line for line in "".join(heard).splitlines() if "still waiting" in line]
    assert re.match(r"skate: still waiting after 0 s: hold is queued: .*held by hold \(pid \d+\)", line)


def test_what_is_asked_for_is_checked() -> None:
    with pytest.raises(TypeError, match="why"):
        skate.why(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="32 hexadecimal digits"):
        skate.why("nonsense")
    assert "is not known" in skate.why("0" * 32)
