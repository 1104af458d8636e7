"""After the load: nothing is in use, nothing has grown, nothing is left."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil

from skate.client import asking, sessions
from skate.testing import session_processes

from .cluster import Nodes

REST_S = 30.0
"""When everything must be free: nodes keep what others may hold for some seconds, and workers of ended drivers end."""
MEMORY_BYTES_MAX = 150_000_000
DESCRIPTORS_MAX = 100
TRACEBACK = "Traceback (most recent call last)"
TEXT_MAX = 3000


def _busy(nodes: Nodes) -> list[str]:
    out = []
    status = asking.ask(nodes.head, "cluster_status")
    for node in status["nodes"]:
        if node["Alive"] and {**node["Resources"], **node["Free"]} != node["Resources"]:
            out.append(f"node {node['No']}: {node['Free']} of {node['Resources']} are free")
    out += [f"waiting: {demand}" for demand in status["demand"]]
    for each in nodes.living:
        store = asking.ask(each, "store")
        if store["objects"]:
            out.append(f"node {each.node_no} has {store['objects']} objects")
        if store["free"] != store["capacity"]:
            out.append(f"node {each.node_no}: {store['free']} of {store['capacity']} bytes are free")
        workers = [worker for worker in asking.ask(each, "workers") if worker["state"] != "idle"]
        if workers:
            out.append(f"node {each.node_no}: {workers}")
    alive = sum(node["Alive"] for node in status["nodes"])
    if alive != len(nodes.living):
        out.append(f"{alive} nodes live, and {len(nodes.living)} should")
    return out


def at_rest(nodes: Nodes) -> list[str]:
    """Wait until everything is free on every node; what is not, in words."""
    found: list[str] = []

    def calm() -> bool:
        try:
            found[:] = _busy(nodes)
        except ConnectionError as error:
            found[:] = [str(error)]
        return not found

    end = time.monotonic() + REST_S
    while not calm() and time.monotonic() < end:
        time.sleep(0.2)
    for node in nodes.living:
        try:
            asking.ask(node, "validate")
        except ConnectionError as error:
            found.append(f"node {node.node_no} contradicts itself: {error}")
    return found


def sizes(nodes: Nodes) -> dict[str, tuple[int, int]]:
    """Memory of its own in bytes, and descriptors, of each node and of the head."""
    processes = {f"node {node.node_no}": psutil.Process(node.pid) for node in nodes.living if nodes.lives(node)}
    head = nodes.head_process()
    if head is not None:
        processes["head"] = head
    return {name: (_own_memory(process.pid), process.num_fds()) for name, process in processes.items()}


def _own_memory(pid: int) -> int:
    """What a process has allocated; what it has mapped of the arena is the objects' memory."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return 1024 * next(int(line.split()[1]) for line in file if line.startswith("Anonymous:"))
    except OSError:
        raise psutil.NoSuchProcess(pid) from None


def bounded(nodes: Nodes) -> list[str]:
    """What has grown beyond its bounds."""
    return [
        f"{name} has {memory / 1e6:.0f} MB and {fds} descriptors"
        for name, (memory, fds) in sizes(nodes).items()
        if memory > MEMORY_BYTES_MAX or fds > DESCRIPTORS_MAX
    ]


def complaints(nodes: Nodes, drivers: Path) -> list[str]:
    """Exceptions that nobody caught, in what nodes, heads, workers and drivers have printed."""
    logs = [drivers, *(log for node in nodes.living for log in Path(node.folder, "logs").iterdir())]
    texts = {log: log.read_text(errors="replace") for log in logs}
    return [
        f"{log} has an exception: {text[text.index(TRACEBACK) :][:TEXT_MAX]}"
        for log, text in texts.items()
        if TRACEBACK in text
    ]


def shared_memory() -> set[str]:
    """What lies in /dev/shm."""
    return set(os.listdir("/dev/shm"))


def nothing_left(nodes: Nodes, home: Path, before: set[str]) -> list[str]:
    """Stop the cluster; what is there afterwards, in words."""
    processes = nodes.processes()
    killed = sessions.stop(nodes.living)
    out = [f"node {node.node_no} did not end when asked" for node in killed]
    _, alive = psutil.wait_procs(processes, timeout=5)
    out += [f"process {process.pid}: {' '.join(process.cmdline())[-200:]}" for process in alive]
    out += [f"process {pid}" for pid in session_processes(str(home))]
    numbers = {node.folder: node.node_no for node in (*nodes.all, *nodes.living)}
    for folder in home.glob("skate-*/*"):
        if folder.name == "history":
            continue  # it is kept on purpose
        files = [str(path.relative_to(folder)) for path in folder.rglob("*")]
        out.append(f"{folder} of node {numbers.get(str(folder))}: {', '.join(files)}")
    out += [f"/dev/shm/{name}" for name in shared_memory() - before]
    return out
