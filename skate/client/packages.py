"""A folder as one package: packed where a program is, unpacked where it runs.

A package is a zip, named by the hash of what is in it: the names of its files, whether they can be executed, and their bytes.
Equal folders are equal packages, whoever packs them and when, so a package travels once and is unpacked once. What `.gitignore`
and `.rayignore` leave out by git's rules, in every folder, is left out, and `.git` itself.

INV-1: a folder that was unpacked is there as a whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .package_files import PACKAGE_BYTES_MAX as PACKAGE_BYTES_MAX

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

FILES_MAX = 100_000
LARGEST_SHOWN = 5
IGNORE_FILES = (".gitignore", ".rayignore")
_EPOCH = (1980, 1, 1, 0, 0, 0)

Rules = tuple[tuple[str, "GitIgnoreSpec"], ...]
"""What to leave out, the outermost folder first: where it is said, and what."""


class Package(NamedTuple):
    """A folder, or a zip as it was given."""

    hash: str
    """In hexadecimal; it names the package."""
    data: bytes
    """A zip."""


def pack(path: str | os.PathLike[str], excludes: Sequence[str] = (), inside: str = "") -> Package:
    """Pack a folder or a single file.

    Args:
        path: the folder or file.
        excludes: what to leave out beside what ignore files say: patterns as in `.gitignore`, relative to the folder.
        inside: the folder of the package that the files are to be in; "" is its top.

    Raises:
        ValueError: there is nothing at the path, or it is too large; the message names the largest files.
    """
    root = Path(path)
    if root.is_file():
        files = [(root.name, root)]
    elif root.is_dir():
        files = list(_files(root, excludes))
    else:
        raise ValueError(f"There is no folder or file {os.fspath(path)!r}.")
    _check_size(root, files)
    digest = hashlib.sha256()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, file in files:
            _add(archive, digest, f"{inside}/{name}" if inside else name, file)
    return Package(digest.hexdigest(), buffer.getvalue())


def from_zip(path: str | os.PathLike[str]) -> Package:
    """A zip or wheel that exists already.

    Raises:
        ValueError: there is none at the path, or it is too large.
    """
    file = Path(path)
    if not file.is_file() or not zipfile.is_zipfile(file):
        raise ValueError(f"{os.fspath(path)!r} is not a zip file.")
    _check_size(file, [(file.name, file)])
    data = file.read_bytes()
    return Package(hashlib.sha256(data).hexdigest(), data)


def _add(archive: zipfile.ZipFile, digest: hashlib._Hash, name: str, file: Path) -> None:
    is_dir = name.endswith("/")
    runs = is_dir or bool(file.stat().st_mode & stat.S_IXUSR)
    data = b"" if is_dir else file.read_bytes()
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_STORED if is_dir else zipfile.ZIP_DEFLATED
    info.external_attr = ((stat.S_IFDIR if is_dir else stat.S_IFREG) | (0o755 if runs else 0o644)) << 16
    digest.update(f"{name}\0{runs:d}{len(data)}\0".encode("utf-8", "surrogateescape"))
    digest.update(data)
    archive.writestr(info, data)


def _check_size(root: Path, files: Sequence[tuple[str, Path]]) -> None:
    if len(files) > FILES_MAX:
        raise ValueError(f"{str(root)!r} has {len(files)} files; a package has at most {FILES_MAX}: {_ADVICE}")
    sizes = [(file.stat().st_size, name) for name, file in files if not name.endswith("/")]
    total = sum(size for size, _ in sizes)
    if total > PACKAGE_BYTES_MAX:
        largest = ", ".join(f"{name} ({_mib(size)})" for size, name in sorted(sizes, reverse=True)[:LARGEST_SHOWN])
        raise ValueError(
            f"{str(root)!r} has {_mib(total)}; a package has at most {_mib(PACKAGE_BYTES_MAX)}. The largest files: "
            f"{largest}. {_ADVICE.capitalize()}"
        )


_ADVICE = "leave out what is not needed with `excludes` or .gitignore, and give data to tasks by another way."


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"


# ---------------------------------------------------------------- what is left out


def _files(root: Path, excludes: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """The files of a folder by their names in the package, sorted; of folders only those that are empty."""
    from pathspec import GitIgnoreSpec

    always = GitIgnoreSpec.from_lines([*excludes, ".git/"])
    yield from _walk(root, "", always, (), frozenset())


def _walk(
    folder: Path, prefix: str, always: GitIgnoreSpec, rules: Rules, above: frozenset[tuple[int, int]]
) -> Iterator[tuple[str, Path]]:
    status = folder.stat()
    here = status.st_dev, status.st_ino
    if here in above:
        return  # a link back to a folder that this is in
    rules = _with_rules_of(folder, prefix, rules)
    is_empty = True
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        is_dir = entry.is_dir()
        if not is_dir and not entry.is_file():
            continue  # a socket or a device, or a link to nothing
        is_empty = False
        name = prefix + entry.name
        asked = f"{name}/" if is_dir else name
        if always.match_file(asked) or _is_ignored(asked, rules):
            continue
        if is_dir:
            yield from _walk(Path(entry.path), asked, always, rules, above | {here})
        else:
            yield name, Path(entry.path)
    if is_empty and prefix:
        yield prefix, folder


def _with_rules_of(folder: Path, prefix: str, rules: Rules) -> Rules:
    from pathspec import GitIgnoreSpec

    for each in IGNORE_FILES:
        file = folder / each
        if file.is_file():
            rules += ((prefix, GitIgnoreSpec.from_lines(file.read_text(errors="replace").splitlines())),)
    return rules


def _is_ignored(name: str, rules: Rules) -> bool:
    """The innermost rule that says anything counts."""
    for prefix, spec in reversed(rules):
        said = spec.check_file(name.removeprefix(prefix)).include
        if said is not None:
            return said
    return False


# ---------------------------------------------------------------- unpacking


def unpack(data: bytes | Path, folder: Path, strip_top: bool = False) -> None:
    """Unpack a zip into a new folder. If the folder is there already, nothing is done.

    Args:
        data: the zip, or the file that it is in.
        folder: where to.
        strip_top: if all is in one folder of the zip, leave out that folder, as archives of repositories have it.

    Raises:
        ValueError: it is not a zip, or not one that can be trusted.
    """
    if folder.exists():
        return
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700, parents=True)
    try:
        with zipfile.ZipFile(data if isinstance(data, Path) else io.BytesIO(data)) as archive:
            top = _only_folder(archive) if strip_top else ""
            _check_archive(archive)
            for info in archive.infolist():
                _extract(archive, info, partial, info.filename.removeprefix(top))
        os.rename(partial, folder)
    except zipfile.BadZipFile as error:
        raise ValueError(f"this is not a zip file, or it is damaged: {error}") from None
    except OSError:
        if not folder.is_dir():
            raise
        # another process was faster, with the same
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_archive(archive: zipfile.ZipFile) -> None:
    infos = archive.infolist()
    size = sum(info.file_size for info in infos)
    if len(infos) > FILES_MAX or size > 2 * PACKAGE_BYTES_MAX:
        raise ValueError(f"the zip has {len(infos)} files of {_mib(size)}: that is too much")
    for info in infos:
        parts = info.filename.split("/")
        if info.filename.startswith("/") or ".." in parts or "\\" in info.filename:
            raise ValueError(f"the zip has a file outside of its folder: {info.filename!r}")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise ValueError(f"the zip has a symbolic link, which is not followed: {info.filename!r}")


def _only_folder(archive: zipfile.ZipFile) -> str:
    tops = {name.split("/", 1)[0] for name in archive.namelist()}
    inside = all("/" in name for name in archive.namelist())
    return f"{tops.pop()}/" if len(tops) == 1 and inside else ""


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path, name: str) -> None:
    if not name:
        return
    target = folder / name
    if info.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(info) as source, open(target, "wb") as sink:
        shutil.copyfileobj(source, sink)
    if info.external_attr >> 16 & stat.S_IXUSR:
        target.chmod(0o755)
