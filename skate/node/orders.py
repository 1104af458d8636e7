"""What whoever looks at a node may have it do, and what it says of its machine while they look: behind `skate top`.

An actor is killed by whoever decides about it: the head, or a node that is in no cluster. A worker is killed by its node.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from ..head.actors import State
from ..wire import messages as m
from .memory_monitor import machine_usage, private_bytes
from .vitals import processors

if TYPE_CHECKING:
    from .service import Node

BY_HAND = "it was killed by hand, with `skate top`"


def machine(node: Node, argument: dict[str, Any]) -> dict[str, Any]:
    """CPU time since the machine was started, and its memory; with `{"workers": True}` also that of each worker.

    Raises:
        ValueError: the machine does not say.
    """
    usage = machine_usage()
    try:
        busy, total = processors()
    except OSError as error:
        raise ValueError(f"how busy the CPUs are is not known: {error}") from None
    wanted = node.workers.values() if (argument or {}).get("workers") else ()
    return {
        "cpu_busy_s": busy,
        "cpu_idle_s": total - busy,
        "memory_used": 0 if usage is None else usage.used,
        "memory_total": 0 if usage is None else usage.limit,
        "workers": [[client.pid, private_bytes(client.pid)] for client in wanted],
    }


def kill(node: Node, argument: dict[str, Any]) -> dict[str, Any]:
    """`{"actor": id}`: it is not started again. `{"pid": pid}`: a worker; what it ran is tried again as after any death.

    Raises:
        ValueError: there is none that lives.
    """
    if "actor" in argument:
        return _kill_actor(node, str(argument["actor"]))
    pid = int(argument["pid"])
    for number, client in node.workers.items():
        if client.pid == pid:
            client.leaving = m.Leaving(BY_HAND, intended=False)
            node.pool.kill(number, signal.SIGKILL)
            return {"pid": pid}
    raise ValueError(f"no worker of this node has the process id {pid}")


def _kill_actor(node: Node, ident: str) -> dict[str, Any]:
    actor = node.actors.table.by_id.get(bytes.fromhex(ident))
    if actor is None or actor.state is State.DEAD:
        raise ValueError(f"no actor that lives has the id {ident}")
    node.actors.apply(node.actors.table.kill(actor.id, True, BY_HAND))
    return {"actor": ident}


ORDERS: dict[str, Any] = {"machine": machine, "kill": kill}
