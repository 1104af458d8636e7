"""What is kept of a failure: the state of the driver that saw it, the stacks of all processes, and the logs of all nodes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from skate.client import asking, sessions

STACKS_MAX = 40
STACK_S = 20.0


def describe(runtime: Any) -> dict[str, Any]:
    """What a client waits for, in its own words and numbers."""
    with runtime.lock:
        return {
            "node": runtime.node_no,
            "lost": runtime.lost,
            "shapes": [_shape(shape) for shape in runtime.tasks.submitter.by_no if shape.queue or shape.workers],
            "later": [task.seq for _, _, task in runtime.tasks.retries.waiting],
            "dialled": list(runtime.tasks.submitter.coming),
            "actors": [_actor(actor) for actor in runtime.actors.by_id.values()],
            "links": {number: link.channel is not None for number, link in runtime.links._peers.items()},
            "dials": len(runtime.links._dials),
            "dead": dict(runtime.links.dead),
            "fetching": [ident.hex() for ident in runtime.objects.fetching],
            "pulls": [ident.hex() for ident in runtime.objects._pulls],
        }


def _shape(shape: Any) -> dict[str, Any]:
    return {
        "no": shape.no,
        "resources": shape.resources,
        "node": shape.node_id,
        "queue": [(task.seq, task.attempt) for task in shape.queue][:5],
        "queued": len(shape.queue),
        "asked": shape.asked,
        "elsewhere": shape.elsewhere,
        "workers": {
            f"{worker.no >> 32}:{worker.no & 0xFFFFFFFF}": (worker.pid, list(worker.inflight)[:5], worker.draining)
            for worker in shape.workers.values()
        },
    }


def _actor(actor: Any) -> dict[str, Any]:
    return {
        "id": actor.id.hex(),
        "state": actor.state,
        "restarts": actor.restarts,
        "node": actor.node,
        "pid": actor.pid,
        "creating": actor.creating is not None,
        "channel": type(actor.channel).__name__ if actor.channel is not None else None,
        "queue": [(task.seq, task.missing) for task in actor.queue][:5],
        "inflight": list(actor.inflight)[:5],
    }


def collect(out: Path, nodes: Iterable[sessions.Session], pids: Iterable[int]) -> None:
    """Write it all into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    for node in nodes:
        for log in Path(node.folder, "logs").glob("node*"):
            shutil.copy(log, out / f"node{node.node_no}-{log.name}")
        for question in ("cluster_status", "workers", "store", "named_actors"):
            try:
                answer = asking.ask(node, question)
            except (ConnectionError, OSError) as error:
                answer = str(error)
            with open(out / f"node{node.node_no}-state.json", "a") as file:
                file.write(json.dumps({question: answer}, default=str, indent=1) + "\n")
    with open(out / "stacks.txt", "w") as file:
        for pid in list(pids)[:STACKS_MAX]:
            file.write(f"---------------- {pid}\n{stack(pid)}\n")


def stack(pid: int) -> str:
    """Where a process is, if py-spy is installed."""
    beside = Path(sys.executable).with_name("py-spy")
    tool = str(beside) if beside.exists() else shutil.which("py-spy")
    if tool is None:
        return "install py-spy to see the stacks of nodes and workers"
    try:
        done = subprocess.run(
            [tool, "dump", "--nonblocking", "--pid", str(pid)], capture_output=True, text=True, timeout=STACK_S
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        return str(error)
    return done.stdout or done.stderr
