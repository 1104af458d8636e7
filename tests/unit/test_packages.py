"""Folders as packages: what is in them, that they are equal when the folders are, and that nothing gets out of them."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest

from skate.client import packages
from skate.client.packages import from_zip, pack, unpack


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("DOT", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def names(data: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(data)).namelist()


def test_equal_folders_are_equal_packages(tmp_path: Path) -> None:
    one = write(tmp_path / "one", b="2", a__c="1")
    two = write(tmp_path / "two", a__c="1", b="2")
    os.utime(two / "b", (1, 1))
    assert pack(one) == pack(two)
    (two / "b").chmod(0o755)
    assert pack(one).hash != pack(two).hash


def test_every_difference_is_another_package(tmp_path: Path) -> None:
    found = {
        pack(write(tmp_path / str(at), **files)).hash
        for at, files in enumerate([{"a": "1"}, {"a": "2"}, {"b": "1"}, {"a": "1", "b": ""}, {"a__b": "1"}])
    }
    assert len(found) == 5


def test_ignore_files_count_in_every_folder(tmp_path: Path) -> None:
    write(
        tmp_path,
        DOTgitignore="*.log\nbuild/\n/top.txt\n!keep.log",
        aDOTlog="",
        keepDOTlog="",
        topDOTtxt="",
        build__x="",
        src__topDOTtxt="",
        src__DOTgitignore="!b.log\ninner/",
        src__bDOTlog="",
        src__inner__y="",
        src__DOTrayignore="secret",
        src__secret="",
        DOTgit__config="",
    )
    assert names(pack(tmp_path).data) == [
        ".gitignore", "keep.log", "src/.gitignore", "src/.rayignore", "src/b.log", "src/top.txt",
    ]  # fmt: skip


def test_excludes_count_for_the_whole_folder(tmp_path: Path) -> None:
    write(tmp_path, a="", data__b="", deep__data__c="", deep__d="")
    assert names(pack(tmp_path, ["/data", "deep/d"]).data) == ["a", "deep/data/c"]


def test_links_are_followed_but_not_round_and_round(tmp_path: Path) -> None:
    write(tmp_path / "away", x="1")
    folder = write(tmp_path / "folder", a="1")
    (folder / "empty").mkdir()
    (folder / "away").symlink_to(tmp_path / "away")
    (folder / "back").symlink_to(folder)
    (folder / "nothing").symlink_to(tmp_path / "nothing")
    assert names(pack(folder).data) == ["a", "away/x", "empty/"]


def test_what_is_too_large_says_what_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, small="1", large="x" * 3000, larger="x" * 4000)
    monkeypatch.setattr(packages, "PACKAGE_BYTES_MAX", 5000)
    with pytest.raises(ValueError, match=r"largest files: larger \(0\.0 MiB\), large .*excludes"):
        pack(tmp_path)
    assert names(pack(tmp_path, ["larger"]).data) == ["large", "small"]


def test_a_package_is_unpacked_as_it_was(tmp_path: Path) -> None:
    folder = write(tmp_path / "folder", a__run="#!/bin/sh", b="text")
    (folder / "a" / "run").chmod(0o750)
    (folder / "none").mkdir()
    unpack(pack(folder, inside="top").data, tmp_path / "out")
    assert (tmp_path / "out/top/b").read_text() == "text"
    assert (tmp_path / "out/top/none").is_dir()
    assert os.access(tmp_path / "out/top/a/run", os.X_OK) and not os.access(tmp_path / "out/top/b", os.X_OK)
    unpack(b"not looked at", tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["folder", "out"]


def test_the_only_folder_of_an_archive_can_be_left_out(tmp_path: Path) -> None:
    write(tmp_path / "zipped", a="1", b__c="2")
    archive = tmp_path / "x.zip"
    archive.write_bytes(pack(tmp_path / "zipped", inside="repo-main").data)
    unpack(archive, tmp_path / "out", strip_top=True)
    assert sorted(os.listdir(tmp_path / "out")) == ["a", "b"]
    unpack(pack(tmp_path / "zipped").data, tmp_path / "all", strip_top=True)
    assert sorted(os.listdir(tmp_path / "all")) == ["a", "b"]


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "a\\..\\x", "link"])
def test_nothing_gets_out_of_a_package(tmp_path: Path, name: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(name)
        if name == "link":
            info.external_attr = 0o120777 << 16
        archive.writestr("fine", "1")
        archive.writestr(info, "x")
    with pytest.raises(ValueError, match="zip has"):
        unpack(buffer.getvalue(), tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_what_is_no_zip_is_refused(tmp_path: Path) -> None:
    write(tmp_path, file="text")
    with pytest.raises(ValueError, match="not a zip"):
        unpack(b"text", tmp_path / "out")
    with pytest.raises(ValueError, match="not a zip"):
        from_zip(tmp_path / "file")
    with pytest.raises(ValueError, match="no folder or file"):
        pack(tmp_path / "nothing")
