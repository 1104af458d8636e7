"""F32: what another user of the machine can do to a session: nothing. The other user is `nobody`, in a child of the test.

Only root may become somebody else: for others these tests are skipped, and `test_start.py` checks the modes of all files.
"""

from __future__ import annotations

import os
import pickle
import pwd
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import skate
from skate.exceptions import RaySystemError
from skate.testing.leaks import session_processes

from .conftest import check_health

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")

OTHER = "nobody"
SECRET = "for the owner's eyes"


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that is open to all, as /tmp is: what protects the session in it is the session's own."""
    with tempfile.TemporaryDirectory(dir=tempfile.gettempdir(), prefix="skate-test-") as folder:
        os.chmod(folder, 0o1777)
        yield Path(folder)


def as_other(function: Callable[[], Any]) -> Any:
    """What a function returns that runs as another user, in a child that has nothing else of this process's rights."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        found: Any = None
        try:
            other = pwd.getpwnam(OTHER)
            os.setgroups([])
            os.setgid(other.pw_gid)
            os.setuid(other.pw_uid)
            found = function()
        except BaseException:
            found = traceback.format_exc()
        finally:
            with os.fdopen(writer, "wb") as out:
                pickle.dump(found, out)
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as source:
        found = pickle.load(source)
    os.waitpid(pid, 0)
    return found


def use(path: str | Path, mode: str = "rb") -> None:
    """Open a file, and read it if it is open for that."""
    with open(path, mode) as file:
        if mode == "rb":
            file.read(1)


def attempts(folder: Path, pids: list[int], files: list[str]) -> dict[str, Callable[[], Any]]:
    """What an attacker tries, by name."""
    tries: dict[str, Callable[[], Any]] = {
        "list the session": lambda: os.listdir(folder),
        "list its parent": lambda: os.listdir(folder.parent),
        "enter it": lambda: os.chdir(folder),
        "make a file in it": lambda: use(folder / "mine", "w"),
        "make a session": lambda: os.mkdir(folder.parent / "session-1-abc"),
        "move it away": lambda: os.rename(folder.parent, folder.parent.with_name("moved")),
        "replace it by a link": lambda: os.symlink("/etc", folder.parent),
        "remove it": lambda: os.rmdir(folder),
    }
    for file in files:
        tries[f"read {file}"] = lambda file=file: use(file)
        tries[f"write {file}"] = lambda file=file: use(file, "a")
    for pid in pids:
        tries[f"see the descriptors of {pid}"] = lambda pid=pid: os.listdir(f"/proc/{pid}/fd")
        tries[f"open a descriptor of {pid}"] = lambda pid=pid: use(f"/proc/{pid}/fd/3", "rb")
        tries[f"read the memory of {pid}"] = lambda pid=pid: use(f"/proc/{pid}/mem", "rb")
        tries[f"see the mappings of {pid}"] = lambda pid=pid: use(f"/proc/{pid}/maps")
        tries[f"see the environment of {pid}"] = lambda pid=pid: use(f"/proc/{pid}/environ")
        tries[f"stop {pid}"] = lambda pid=pid: os.kill(pid, signal.SIGSTOP)
    return tries


def test_f32_another_user_can_read_write_and_signal_nothing(start: Callable[..., str], shared_folder: Path) -> None:
    folder = Path(start(_temp_dir=str(shared_folder)))
    check_health()

    @skate.remote
    def say(text: str) -> int:
        print(text, flush=True)
        return os.getpid()

    held = skate.put(SECRET.encode() * 10_000)
    worker = skate.get(say.remote(SECRET))
    pids = [os.getpid(), *session_processes(str(folder))]
    assert worker in pids
    files = [str(path) for path in folder.rglob("*") if path.is_file()]
    assert files

    def attack() -> tuple[list[str], int]:
        done, refused = [], 0
        for name, attempt in attempts(folder, pids, files).items():
            try:
                attempt()
            except (PermissionError, FileExistsError):
                refused += 1
            else:
                done.append(name)
        return done, refused

    assert os.getuid() == 0 and as_other(os.getuid) != 0
    done, refused = as_other(attack)
    assert not done and refused == len(attempts(folder, pids, files)) > 20
    assert skate.get(held) == SECRET.encode() * 10_000
    check_health()


def test_f32_nothing_of_the_session_is_in_shared_folders(start: Callable[..., str], shared_folder: Path) -> None:
    """Objects lie in memory without a name; no command line and no name of a file says what they hold."""

    def names() -> set[str]:
        return {str(path) for place in ("/dev/shm", tempfile.gettempdir()) for path in Path(place).glob("*")}

    before = names()
    folder = start(_temp_dir=str(shared_folder))
    held = skate.put(SECRET * 100_000)
    check_health()
    assert not {name for name in names() - before if "skate" in name or "session" in name}
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in session_processes(folder)]
    assert lines and not any(SECRET.encode() in line for line in lines)
    assert len(skate.get(held)) == len(SECRET) * 100_000


def test_f32_a_folder_of_another_user_is_refused(shared_folder: Path) -> None:
    """Somebody was here first, and made the folder that would be ours, with the right mode."""
    base = shared_folder / f"skate-{os.getuid()}"
    assert as_other(lambda: base.mkdir(mode=0o700)) is None
    assert base.stat().st_uid == pwd.getpwnam(OTHER).pw_uid
    with pytest.raises(RaySystemError, match=str(base)):
        skate.init(num_cpus=1, _temp_dir=str(shared_folder))
    assert not skate.is_initialized()
    assert not list(base.iterdir()), "nothing of ours was put there"


def test_f32_each_user_has_a_folder(start: Callable[..., str], shared_folder: Path) -> None:
    """Two users share a temporary folder, and neither keeps the other from starting."""
    from skate.client.machine import make_session_dir

    start(_temp_dir=str(shared_folder))
    made = as_other(lambda: make_session_dir(str(shared_folder)))
    assert Path(made).parent.name == f"skate-{pwd.getpwnam(OTHER).pw_uid}"
    assert Path(made).stat().st_mode & 0o777 == 0o700
    check_health()
