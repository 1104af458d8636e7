"""What is pure, and the poller: who is polled for, and what is kept."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from skate.client.dashboards import Settings
from skate.dashboard.flames import flame
from skate.dashboard.live import LISTS_MAX, VIEWERS_MAX, Lists, Live, TooManyViewers
from skate.dashboard.patches import apply, patch, without_nulls
from skate.dashboard.peers import is_own
from skate.dashboard.samples import Samples
from skate.dashboard.serve import guard_for, listen
from skate.dashboard.tables import page
from skate.exceptions import AuthenticationError
from skate.testing import eventually

from .fakes import FakeSource

STATES = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=4),
    max_leaves=6,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.text(max_size=2), STATES), st.dictionaries(st.text(max_size=2), STATES))
def test_a_patch_makes_the_new_state_of_the_old(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert apply(old, patch(old, new)) == new
    assert patch(new, new) == {}
    assert json.loads(json.dumps(without_nulls(new))) == new


def test_samples_are_bounded_and_rates_are_differences() -> None:
    counts = dict.fromkeys(
        ("memory_used", "memory_total", "store_used", "store_total", "cpus_used", "cpus_total", "unfinished", "ended"),
        0,
    )
    samples = Samples(3)
    for second, (ended, busy) in enumerate([(10, 0.0), (30, 1.0), (20, 1.5), (25, 9.0)]):
        samples.add(float(second), {**counts, "ended": ended, "cpu_busy_s": busy, "cpu_s": 2.0 * second})
    assert [sample["no"] for sample in samples.after(0)] == [2, 3, 4]
    assert [sample["tasks"] for sample in samples.after(0)] == [20, None, 5]
    assert [sample["cpu"] for sample in samples.after(0)] == [50, 25, None]
    assert samples.after(3)[0]["no"] == 4 and samples.after(3)[0]["memory"] is None


def test_tables_sort_what_is_not_alike() -> None:
    rows = [{"a": "x"}, {"a": 2}, {"a": None}, {"a": 1}, {"a": "B"}, {}]
    assert [row.get("a") for row in page(rows, sort="a")[0]] == [1, 2, "B", "x", None, None]
    assert [row.get("a") for row in page(rows, sort="-a")[0]] == ["x", "B", 2, 1, None, None]
    assert page(rows, "X")[1] == 1 and page(rows, offset=-1, limit=-1)[0] == []


def test_a_flame_graph_has_no_thin_branches_and_no_depth_without_end() -> None:
    root = flame([["f", "rare"], *[["f", "often"]] * 1999, ["f"] * 5000])
    assert [child["name"] for child in root["children"][0]["children"]] == ["often"]


def test_the_cluster_is_read_only_while_somebody_looks() -> None:
    source = FakeSource(1, 1)
    live = Live(source, 0.001)
    assert source.calls == []
    woken = threading.Event()
    first, second = live.enter(woken.set), live.enter(lambda: None)
    assert woken.wait(5) and live.state["counts"]["ended"] >= 100
    live.leave(first)
    seen = live.readings
    eventually(lambda: live.readings > seen, 5, "the other viewer is still polled for")
    live.leave(second)
    eventually(lambda: not live.polls, 5, "the poller has ended")
    calls = len(source.calls)
    assert threading.active_count() == 1 or not [t for t in threading.enumerate() if t.name == "skate-dashboard-poll"]
    live.leave(second)
    assert len(source.calls) == calls


def test_a_cluster_that_stops_answering_keeps_its_last_state() -> None:
    source = FakeSource(1, 1)
    live = Live(source, 0.001)
    live.enter(lambda: None)
    eventually(lambda: "counts" in live.state, 5, "there is a state")
    source.trouble = "it has gone"
    eventually(lambda: live.state["error"] == "it has gone", 5, "the trouble is said")
    assert live.state["counts"]
    source.trouble = ""
    eventually(lambda: live.state["error"] == "", 5, "it is over")
    live.close()
    assert not live.polls


def test_an_answer_that_makes_no_sense_is_said_and_the_poller_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    source = FakeSource(1, 1)
    live = Live(source, 0.001)
    with monkeypatch.context() as patched:
        patched.setattr(source, "reading", dict)
        live.enter(lambda: None)
        eventually(lambda: live.state.get("error") == "KeyError: 'counts'", 5, "the trouble is said")
    eventually(lambda: live.state["error"] == "", 5, "it is over")
    live.close()
    assert not live.polls


def test_viewers_and_lists_are_bounded() -> None:
    live = Live(FakeSource(1, 1), 1000.0)
    for _ in range(VIEWERS_MAX):
        live.enter(lambda: None)
    with pytest.raises(TooManyViewers):
        live.enter(lambda: None)
    live.close()
    lists = Lists()
    for number in range(3 * LISTS_MAX):
        lists.get(str(number), lambda: 1)
    with pytest.raises(ConnectionError):
        lists.get("another", fail)
    assert len(lists._kept) == LISTS_MAX and "another" in lists._kept


def test_a_list_is_read_once_and_not_again_for_longer_than_it_took() -> None:
    now = [0.0]
    reads = []

    def read() -> int:
        reads.append(now[0])
        now[0] += 0.5
        return len(reads)

    lists = Lists(1.0, lambda: now[0])
    assert lists.get("a", read) == 1
    now[0] = 10.4
    assert lists.get("a", read) == 1, "it took 0.5 s, so it is good for 10"
    now[0] = 10.6
    assert lists.get("a", read) == 2


def fail() -> int:
    raise ConnectionError("gone")


def test_an_error_is_not_kept() -> None:
    lists = Lists()
    with pytest.raises(ConnectionError):
        lists.get("a", fail)
    assert lists.get("a", lambda: 5) == 5


def test_off_loopback_a_token_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("SKATE_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.delenv("SKATE_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    assert guard_for(Settings("", "127.0.0.1")).token == "" == guard_for(Settings("", "::1")).token
    for wanted in (Settings("", "0.0.0.0"), Settings("", "::"), Settings("", require_token=True)):
        with pytest.raises(AuthenticationError, match="token"):
            guard_for(wanted)
    monkeypatch.setenv("SKATE_TOKEN", "secret")
    assert guard_for(Settings("", "0.0.0.0")).token == "secret"
    with pytest.raises(ValueError, match="IP address"):
        guard_for(Settings("", "evil.example"))


def test_a_port_that_was_said_is_had_or_nothing() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(OSError, match=f"port {port} of 127.0.0.1"):
            listen("127.0.0.1", port)


def test_whose_a_connection_is(tmp_path: Any) -> None:
    folder = tmp_path / "proc" / "net"
    folder.mkdir(parents=True)
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

    def socket(number: int, local: int, remote: int, user: int) -> str:
        return f"  {number}: 0100007F:{local:04X} 0100007F:{remote:04X} 01 0:0 0:0 0 {user} 0 1\n"

    own = os.getuid()
    (folder / "tcp").write_text(head + socket(0, 5000, 8265, own) + socket(1, 5001, 8265, own + 1))
    assert is_own(5000, 8265, str(tmp_path))
    assert not is_own(5001, 8265, str(tmp_path)) and not is_own(5002, 8265, str(tmp_path))
    (folder / "tcp6").write_text(head + socket(0, 5000, 8265, own + 1))
    assert not is_own(5000, 8265, str(tmp_path)), "who cannot be told apart is not let in"
    assert not is_own(5000, 8265, str(tmp_path / "nothing"))
