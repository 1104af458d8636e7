"""What whoever looks at a node may have it do: behind `skate top`.

An actor is killed by whoever decides about it: the head, or a node that is in no cluster. A worker is killed by its node.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from ..head.actors import State
from ..wire import messages as m

if TYPE_CHECKING:
    from .service import Node

BY_HAND = "it was killed by hand, with `skate top`"


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


ORDERS: dict[str, Any] = {"kill": kill}
