"""The most memory that a process and all of its descendants have had: their own, and the store that they share.

A process of its own looks every 50 ms, so that it takes nothing from whoever is measured but a little of the processor. What is
private is counted as PSS without shared memory; shared memory (`memfd`, `/dev/shm`) by the pages that its files have, each
file once: pages of a store that no process has mapped at the moment count, too.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

EVERY_S = 0.05
LIMIT_S = 30.0


def peak_mb(run: Callable[[], object]) -> float:
    """The most memory in MB while `run` runs."""
    command = [sys.executable, "-m", __name__, str(os.getpid())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        watcher.stdout.readline()  # it looks
        run()
        out, _ = watcher.communicate(timeout=LIMIT_S)
    return float(out)


def _family(root: int) -> list[int]:
    """A process and its descendants, without this one."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        children.setdefault(int(after_name[1]), []).append(int(entry.parent.name))
    found, left = [], [root]
    while left:
        pid = left.pop()
        if pid != os.getpid():
            found.append(pid)
            left.extend(children.get(pid, []))
    return found


def _own_bytes(pid: int) -> int:
    """PSS without shared memory."""
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value, *_ = line.split()
        sizes[name] = int(value) << 10
    return sizes["Pss:"] - sizes.get("Pss_Shmem:", 0)


def _shared(pid: int, files: dict[tuple[int, int], int]) -> None:
    """Add the files of shared memory that a process has open."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        if os.readlink(entry).startswith(("/memfd:", "/dev/shm/")):
            about = entry.stat()
            files[about.st_dev, about.st_ino] = about.st_blocks * 512


def used_bytes(root: int) -> int:
    """What a process and its descendants use now."""
    own = 0
    files: dict[tuple[int, int], int] = {}
    for pid in _family(root):
        try:
            own += _own_bytes(pid)
            _shared(pid, files)
        except (OSError, ValueError):
            continue  # it has ended meanwhile
    return own + sum(files.values())


def main(root: int) -> None:
    """Look until standard input ends; print the most."""
    peak = used_bytes(root)
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], EVERY_S)[0]:
        peak = max(peak, used_bytes(root))
    print(max(peak, used_bytes(root)) / 1e6, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
