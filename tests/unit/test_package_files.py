"""The folder of a machine: built once by whoever comes first, kept while it is used, and bounded."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from skate.client.package_files import Busy, Cache
from skate.client.packages import pack


def test_an_entry_is_built_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    built = []
    started = threading.Barrier(4)

    def build(path: Path) -> None:
        built.append(path)
        path.mkdir()

    def use() -> None:
        started.wait()
        _, fd = cache.entry("it", build)
        os.close(fd)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert built == [tmp_path / "it"]


def test_what_failed_leaves_nothing_and_is_tried_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def fails(path: Path) -> None:
        path.mkdir()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.entry("it", fails)
    assert os.listdir(tmp_path) == []
    path, fd = cache.entry("it", lambda path: path.mkdir())
    os.close(fd)
    assert path.is_dir()


def test_what_a_killed_process_had_begun_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "half").touch()
    (tmp_path / "it.lock").touch()
    cache = Cache(tmp_path)
    assert cache.find("it") is None
    path, fd = cache.entry("it", lambda path: path.mkdir())
    os.close(fd)
    assert os.listdir(path) == []


def test_who_waits_for_another_gives_up_in_time(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def build(path: Path) -> None:
        with pytest.raises(Busy, match="still building"):
            cache.entry("it", lambda path: path.mkdir(), timeout_s=0.0)
        assert cache.is_locked("it") and not cache.is_locked("other")
        path.mkdir()

    _, fd = cache.entry("it", build)
    assert not cache.is_locked("it")
    os.close(fd)


def test_what_nobody_has_used_for_longest_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, bytes_max=250)
    held = cache.entry("held", lambda path: path.write_text("x" * 100))[1]
    for at, name in enumerate(["old", "new"]):
        os.close(cache.entry(name, lambda path: path.write_text("x" * 100))[1])
        os.utime(tmp_path / f"{name}.lock", (at, at))
    os.close(cache.entry("newest", lambda path: path.write_text("x" * 100))[1])
    assert sorted(path.name for path in tmp_path.glob("*.lock")) == ["held.lock", "new.lock", "newest.lock"]
    assert not (tmp_path / "old").exists()
    os.close(held)


def test_a_package_is_kept_and_unpacked(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a").write_text("1")
    cache = Cache.of_session(str(tmp_path / "session"))
    package = pack(tmp_path / "code")
    first = cache.keep(package)
    path, second = cache.unpacked(package.hash, 5.0)
    assert (path / "a").read_text() == "1"
    assert cache.folder.stat().st_mode & 0o777 == 0o700
    os.close(first)
    os.close(second)
