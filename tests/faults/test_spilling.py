"""F14 and F15: a disk that is full, and spill files that are damaged or gone: typed errors, never a wrong value."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import skate
from skate.client import current
from skate.exceptions import ObjectLostError, OutOfDiskError
from skate.testing import eventually

from .conftest import check_health

MB = 1 << 20
STORE = 64 * MB
GET_S = 20


def store() -> dict[str, Any]:
    runtime: Any = current.runtime
    state: dict[str, Any] = runtime.ask("store")
    return state


def value(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, 5 * MB, np.uint8)


def fill(count: int) -> list[Any]:
    return [skate.put(value(number)) for number in range(count)]


def fill_until_full(refs: list[Any]) -> None:
    with pytest.raises(OutOfDiskError) as caught:
        for _ in range(100):
            refs.append(skate.put(value(len(refs))))
    assert "free some room there" in str(caught.value) and f"objects that driver process {os.getpid()} holds, " in str(
        caught.value
    )


def assert_whole(refs: list[Any]) -> None:
    for number, ref in enumerate(refs):
        assert (skate.get(ref, timeout=GET_S) == value(number)).all(), number


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A disk of 100 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", folder], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no disk can be mounted here: {made.stderr.strip()}")
    yield folder
    skate.shutdown()
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def spilled(start: Callable[..., str], tmp_path: Path) -> Iterator[tuple[list[Any], list[Path]]]:
    """Objects, and the files that most of them are in."""
    start(object_store_memory=STORE, object_spilling_directory=str(tmp_path), _system_config={"min_spilling_size": 1})
    check_health()
    refs = fill(30)
    eventually(lambda: store()["on_disk_only"] >= 15, 10, "most are on the disk")
    yield refs, sorted(tmp_path.glob("skate-spilled-*/*"), key=lambda path: int(path.name))
    check_health()


def test_f14_the_disk_is_full_and_then_not(start: Callable[..., str], tmpfs: Path) -> None:
    ballast = tmpfs / "ballast"
    ballast.write_bytes(bytes(60 * MB))
    start(object_store_memory=STORE, object_spilling_directory=str(tmpfs))
    check_health()
    refs: list[Any] = []
    fill_until_full(refs)
    assert len(refs) * 5 * MB > STORE and store()["disk_full"]
    assert_whole(refs)
    ballast.unlink()
    refs += [skate.put(value(number)) for number in range(len(refs), len(refs) + 5)]
    assert not store()["disk_full"]
    assert_whole(refs)
    check_health()


def test_f14_a_quota(start: Callable[..., str]) -> None:
    start(object_store_memory=STORE, _system_config={"object_spilling_quota_bytes": 40 * MB})
    check_health()
    refs: list[Any] = []
    fill_until_full(refs)
    assert 0 < store()["disk_bytes"] <= 40 * MB
    assert_whole(refs)
    del refs[:6]
    eventually(lambda: not store()["disk_full"], 5, "room came free")
    skate.put(value(0))
    check_health()


def test_f15_a_corrupt_file(spilled: tuple[list[Any], list[Path]]) -> None:
    refs, files = spilled
    with open(files[0], "r+b") as file:
        file.seek(files[0].stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    assert _lost(refs, "corrupt") == 1


def test_f15_a_file_that_is_too_short(spilled: tuple[list[Any], list[Path]]) -> None:
    refs, files = spilled
    os.truncate(files[0], 1000)
    assert _lost(refs, "too short") >= 1


def test_f15_a_file_that_is_gone(spilled: tuple[list[Any], list[Path]]) -> None:
    refs, files = spilled
    files[0].unlink()
    assert _lost(refs, "cannot be opened") >= 1


def _lost(refs: list[Any], reason: str) -> int:
    """How many of them are lost: these for whatever reads them, in this process or another. The others are whole."""

    @skate.remote
    def reads(array: np.ndarray) -> int:
        return int(array[0])

    lost = 0
    for number, ref in enumerate(refs):
        try:
            assert (skate.get(ref, timeout=GET_S) == value(number)).all()
        except ObjectLostError as error:
            lost += 1
            assert reason in str(error)
            with pytest.raises(ObjectLostError, match=reason):
                skate.get(reads.remote(ref), timeout=GET_S)
            with pytest.raises(ObjectLostError, match=reason):
                skate.get(ref, timeout=GET_S)
    assert store()["lost_objects"] == lost
    return lost


def test_a_killed_node_leaves_files_that_the_next_one_removes(start: Callable[..., str], tmp_path: Path) -> None:
    stale = tmp_path / f"skate-spilled-{os.uname().nodename}-999999999-0"
    stale.mkdir()
    (stale / "1").write_bytes(b"x")
    start(object_store_memory=STORE, object_spilling_directory=str(tmp_path))
    refs = fill(20)
    assert not stale.exists()
    assert len(list(tmp_path.glob("skate-spilled-*"))) == 1
    del refs
    skate.shutdown()
    assert not list(tmp_path.glob("skate-spilled-*")), "and a node that ends removes its own"


def test_several_folders_take_turns(start: Callable[..., str], tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    config = {"type": "filesystem", "params": {"directory_path": [str(folder) for folder in folders]}}
    start(object_store_memory=STORE, _system_config={"object_spilling_config": config, "min_spilling_size": 1})
    refs = fill(40)
    for folder in folders:
        assert len(list(folder.glob("skate-spilled-*/*"))) >= 5
    assert_whole(refs)


def test_a_url(start: Callable[..., str]) -> None:
    pytest.importorskip("fsspec")
    config = {"type": "fsspec", "params": {"uri": "memory://spilled"}}
    start(object_store_memory=STORE, _system_config={"object_spilling_config": config})
    refs = fill(30)
    assert store()["spilled_bytes"] > 80 * MB
    assert_whole(refs)


def test_spilling_can_be_switched_off(start: Callable[..., str]) -> None:
    start(object_store_memory=STORE, _system_config={"automatic_object_spilling_enabled": False})
    refs: list[Any] = []
    with pytest.raises(skate.exceptions.ObjectStoreFullError, match="switched off"):
        for _ in range(20):
            refs.append(skate.put(value(len(refs))))
    assert_whole(refs)
