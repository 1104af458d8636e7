"""What a node of this machine is started with: its folder and log, and what the machine has.

It imports little, as the commands that start and find nodes are judged by how soon they answer.
"""

from __future__ import annotations

import glob
import os
import re
import resource
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO

from ..exceptions import RaySystemError
from ..store.arena import PAGE
from .init_options import InitOptions

STORE_SHARE = 0.3
"""The share of the machine's memory that objects may take, by default."""
STORE_BYTES_MIN = 75 << 20
START_TIMEOUT_S = 60.0
CGROUP = "/sys/fs/cgroup"
SECRETS = ("SKATE_TOKEN", "RAY_AUTH_TOKEN", "SKATE_STORAGE", "RAY_REDIS_ADDRESS")
"""What the environment may hold that no worker is to see."""
BOOT = "import sys; sys.path[:] = sys.argv[3].split('\\n'); from skate.node.main import main; main()"


def without_secrets() -> dict[str, str]:
    """The environment of a node: what it has to keep secret it is told by other means, and its workers run the users' code."""
    return {name: value for name, value in os.environ.items() if name not in SECRETS}


def open_log(session_dir: str) -> BinaryIO:
    """The log of a session's node, to write."""
    path = os.path.join(session_dir, "logs", "node.log")
    return open(path, "wb", opener=lambda path, flags: os.open(path, flags, 0o600))


def allow_files() -> None:
    """Raise the limit of open files: two for each worker and actor that this process calls are soon more than 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def make_session_dir(temp_dir: str | None) -> str:
    """A folder that only this user can enter, for logs and sockets; stale ones of ended sessions are removed."""
    base = os.path.join(temp_dir or os.environ.get("SKATE_TEMP_DIR") or tempfile.gettempdir(), f"skate-{os.getuid()}")
    os.makedirs(base, mode=0o700, exist_ok=True)
    status = os.lstat(base)
    if status.st_uid != os.getuid() or status.st_mode & 0o077 or os.path.islink(base):
        raise RaySystemError(
            f"{base} must be a folder of yours with mode 0700; remove it, or give init another _temp_dir"
        )
    _remove_stale(base)
    session = os.path.join(base, f"session-{os.getpid()}-{secrets.token_hex(4)}")
    os.mkdir(session, 0o700)
    os.mkdir(os.path.join(session, "logs"), 0o700)
    return session


def began(pid: int) -> str:
    """When a process began, in the kernel's ticks, or "" if there is none, or only what its parent has not collected."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _remove_stale(base: str) -> None:
    """Sessions whose driver and node are both gone were killed: nobody else removes their folders."""
    for name in os.listdir(base):
        parts = name.split("-")
        if len(parts) != 3 or parts[0] != "session" or not parts[1].isdigit():
            continue
        pid = parts[1]
        try:
            with open(os.path.join(base, name, "pid")) as file:  # a standalone node outlives who has started it
                pid = file.read().strip() or pid
        except OSError:
            pass  # it is a driver's
        if not pid.isdigit() or not began(int(pid)):
            shutil.rmtree(os.path.join(base, name), ignore_errors=True)


def resources(options: InitOptions) -> tuple[dict[str, float], int]:
    """What the node offers, and the size of its object store in bytes."""
    memory = _machine_memory()
    store = options.object_store_memory or max(STORE_BYTES_MIN, int(memory * STORE_SHARE))
    store = -(-store // PAGE) * PAGE
    cpus = options.num_cpus if options.num_cpus is not None else _cpus()
    total: dict[str, float] = {"CPU": float(cpus)} if cpus else {}
    if options.num_gpus:
        total["GPU"] = float(options.num_gpus)
    total["memory"] = float(options.memory if options.memory is not None else max(0, memory - store))
    total["object_store_memory"] = float(store)
    total["node:127.0.0.1"] = 1.0
    for name, amount in options.resources.items():
        if amount:
            total[name] = float(amount)
    return total, store


def own_labels(options: InitOptions) -> dict[str, str]:
    """The labels that a node gets by itself: the kind of its GPUs, if it has any and the driver says what they are."""
    kinds: set[str] = set()
    for path in glob.glob("/proc/driver/nvidia/gpus/*/information") if options.num_gpus else ():
        try:
            with open(path) as file:
                kinds.update(line.partition(":")[2].strip() for line in file if line.startswith("Model"))
        except OSError:
            continue
    if len(kinds) != 1:
        return {}
    kind = re.sub(r"[^-._a-zA-Z0-9]+", "-", kinds.pop().removeprefix("NVIDIA ")).strip("-._")
    return {"ray.io/accelerator-type": kind, "skate.io/accelerator-type": kind}


def _cpus() -> int:
    cpus = len(os.sched_getaffinity(0))
    try:
        quota, period = Path(CGROUP, "cpu.max").read_text().split()
        if quota != "max":
            cpus = min(cpus, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        return cpus
    return cpus


def _machine_memory() -> int:
    """Of the container, if that may use less than the machine has; under cgroup 2, or 1."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            text = Path(CGROUP, name).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            memory = min(memory, int(text))
    return memory
