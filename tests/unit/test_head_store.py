"""What the head keeps: rows come back as they were written, and damage is found, never taken for an answer."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from skate.head.actors import Actor, Actors, State
from skate.head.rows import Rows
from skate.head.store import FORMAT, RedisStore, SqliteStore, StoreError, open_store, seal, unseal
from skate.wire import cluster as c
from skate.wire.messages import INLINE, CreateActor, Death, Definition, Value


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "head.db")
    return f"{request.getfixturevalue('valkey')}?cluster={tmp_path.name}"


def test_rows_are_there_after_a_new_start(url: str) -> None:
    store = open_store(url)
    store.put("node", b"\x02", b"two")
    store.put("node", b"\x01", b"one")
    store.put("actor", b"\x01", b"an actor")
    store.put("node", b"\x02", b"TWO")
    store.delete("actor", b"\x01")
    store.delete("actor", b"never there")
    store.close()
    again = open_store(url)
    assert list(again.load("node")) == [(b"\x01", b"one"), (b"\x02", b"TWO")]
    assert list(again.load("actor")) == []
    again.close()


@given(st.dictionaries(st.binary(min_size=1, max_size=8), st.binary(max_size=100), max_size=20))
@settings(max_examples=30, deadline=None)
def test_any_rows(tmp_path_factory: pytest.TempPathFactory, rows: dict[bytes, bytes]) -> None:
    path = str(tmp_path_factory.mktemp("store") / "head.db")
    store = SqliteStore(path)
    for key, value in rows.items():
        store.put("kind", key, value)
    store.close()
    again = SqliteStore(path)
    assert list(again.load("kind")) == sorted(rows.items())
    again.remove()
    assert not os.path.exists(path)


@given(st.binary(max_size=50), st.integers(0, 53), st.integers(1, 255))
def test_a_changed_byte_is_found(value: bytes, at: int, change: int) -> None:
    sealed = bytearray(seal(value))
    sealed[at % len(sealed)] ^= change
    with pytest.raises(StoreError, match=r"is damaged: actor 6b"):
        unseal("actor", b"k", bytes(sealed), "here")


def test_f7_a_changed_row_is_refused_by_name(url: str) -> None:
    store = open_store(url)
    store.put("actor", b"\x07", b"state")
    if isinstance(store, SqliteStore):
        store._db.execute("UPDATE rows SET value = ? WHERE kind = 'actor'", (seal(b"state")[:-1] + b"!",))
    else:
        assert isinstance(store, RedisStore)
        store._redis.hset(store._key("actor"), b"\x07", seal(b"state")[:-1] + b"!")
    store.close()
    again = open_store(url)
    with pytest.raises(StoreError, match=r"actor 07 is not what was written. Restore a copy"):
        list(again.load("actor"))
    again.close()


def test_f7_a_damaged_page_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "head.db"
    store = SqliteStore(str(path))
    for number in range(200):
        store.put("actor", number.to_bytes(4, "big"), bytes(500))
    store.close()
    data = bytearray(path.read_bytes())
    assert len(data) > 3 * 4096
    data[2 * 4096 : 2 * 4096 + 100] = os.urandom(100)
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"head.db (is damaged|cannot be opened)"):
        list(SqliteStore(str(path)).load("actor"))


def test_f7_no_database_at_all_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "head.db"
    path.write_bytes(b"this is a letter, and no database" * 200)
    with pytest.raises(
        StoreError, match=r"cannot be opened: file is not a database. Restore a copy of it, or remove it"
    ):
        SqliteStore(str(path))
    with pytest.raises(StoreError, match=r"cannot be opened"):
        SqliteStore(str(tmp_path / "no folder" / "head.db"))


def test_f7_of_a_torn_tail_the_valid_prefix_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A machine that lost power in mid-write: the log's last page is there in part only."""
    live = tmp_path / "live.db"
    store = SqliteStore(str(live))
    for number in range(10):
        store.put("actor", bytes([number]), f"value {number}".encode())
    torn = tmp_path / "torn.db"
    shutil.copy(live, torn)
    log = bytearray(Path(f"{live}-wal").read_bytes())
    store.close()
    log[-2000:] = bytes(2000)  # the last page's second half never reached the disk
    Path(f"{torn}-wal").write_bytes(log)
    again = SqliteStore(str(torn))
    assert dict(again.load("actor")) == {bytes([n]): f"value {n}".encode() for n in range(9)}
    assert "was torn: 1 pages that were being written are left out" in capsys.readouterr().err
    again.close()


def test_another_versions_store_is_refused(url: str) -> None:
    store = open_store(url)
    store.put("format", b"version", b"0")
    store.close()
    with pytest.raises(StoreError, match=f"format 0, this is {FORMAT.decode()}"):
        open_store(url)


def test_a_file_is_only_for_its_owner(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "head.db"))
    store.put("a", b"b", b"c")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    store.close()


def test_redis_that_is_not_there() -> None:
    pytest.importorskip("redis")
    with pytest.raises(StoreError, match=r"localhost:1 .*does not answer"):
        open_store("redis://localhost:1")
    with pytest.raises(StoreError, match=r"unknown options .*: db"):
        open_store("redis://localhost:1?db=3")


def _spec(number: int, name: str = "", max_restarts: int = 0) -> CreateActor:
    definition = Definition(0, b"hash", Value(INLINE, b"code"), "Thing", 1)
    return CreateActor(
        bytes([number]) * 16, definition, Value(INLINE, b"args"), None, b"", name, "space", "Thing", False, {}, {},
        max_restarts, 1, {}, False, False, 0,
    )  # fmt: skip


def test_actors_come_back_as_they_were(url: str) -> None:
    actors = Actors()
    rows = Rows(open_store(url))
    for number in range(4):
        actors.create(b"client", "job", _spec(number, f"n{number}", -1))
    actors.placed(bytes([1]) * 16, 11, 111)
    actors.ready(11, b"")
    actors.placed(bytes([2]) * 16, 12, 112)
    actors.process_died(12, Death("killed", intended=False))
    actors.kill(bytes([3]) * 16, no_restart=True)
    for actor in actors.by_id.values():
        rows.keep(actor)
    info = c.JobInfo("job", "space", ["/code"], "/", False, "", True)
    rows.keep_job(info)
    rows.store.close()

    again = Actors()
    loaded = Rows(open_store(url))
    for actor in loaded.load():
        again.restore(actor)
    assert list(loaded.load_jobs()) == [("job", info)]
    loaded.store.close()
    again.validate()
    assert {ident: _seen(actor) for ident, actor in again.by_id.items()} == {
        ident: _seen(actor) for ident, actor in actors.by_id.items()
    }
    assert again.by_name == actors.by_name
    assert {actor.id for actor in again.waiting()} == {bytes([0]) * 16, bytes([2]) * 16}
    assert again.by_id[bytes([1]) * 16].state is State.ALIVE


def _seen(actor: Actor) -> tuple[object, ...]:
    death = actor.death and actor.death.reason
    return actor.spec, actor.job, actor.creator, actor.state, actor.restarts, actor.worker, actor.pid, death


def test_a_forgotten_actor_is_gone(tmp_path: Path) -> None:
    rows = Rows(SqliteStore(str(tmp_path / "head.db")))
    actors = Actors()
    actors.create(b"client", "job", _spec(1))
    rows.keep(actors.by_id[bytes([1]) * 16])
    assert len(list(rows.load())) == 1
    rows.forget(bytes([1]) * 16)
    assert list(rows.load()) == [] and list(rows.store.load("spec")) == []
    rows.store.close()
