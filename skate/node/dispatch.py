"""Which part of the node carries out which message of a client."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..wire import messages as m

if TYPE_CHECKING:
    from .service import Node


def handlers(node: Node) -> dict[type, Callable[..., None]]:
    """Who carries out which message."""
    return {
        m.Hello: node.on_hello,
        m.WantWorkers: node.leasing.on_want_workers,
        m.ReturnWorker: node.leasing.on_return_worker,
        m.Blocked: node.leasing.on_blocked,
        m.CreateActor: node.actors.on_create,
        m.ConnectActor: node.actors.on_connect,
        m.KillActor: node.actors.on_kill,
        m.FindActor: node.actors.on_find,
        m.ActorReady: node.actors.on_ready,
        m.Interrupt: node.leasing.on_interrupt,
        m.HeldUp: node.leasing.on_held_up,
        m.WantMemory: node.memory.on_want,
        m.ReturnMemory: node.memory.on_return,
        m.Register: node.objects.on_register,
        m.Deliver: node.objects.on_deliver,
        m.Hold: node.objects.on_hold,
        m.Fetch: node.objects.on_fetch,
        m.Lost: node.objects.on_lost,
        m.Ask: node.on_ask,
        m.CallerGone: node.objects.on_caller_gone,
        m.Leaving: node.on_leaving,
        m.Flushed: node.metrics.on_flushed,
        m.Ready: node.on_ready,
        m.Dial: node.abroad.on_dial,
        m.Pull: node.heirs.on_pull,
        m.Hurry: node.heirs.on_hurry,
        m.Prepare: node.environments.on_prepare,
        m.CreateGroup: node.groups.on_create,
        m.RemoveGroup: node.groups.on_remove,
        m.WatchGroup: node.groups.on_watch,
        m.Evicted: node.spills.on_evicted,
        m.Offered: node.spills.on_offered,
        m.Told: node.inquiries.on_told,
        m.Talks: node.inquiries.on_talks,
        m.Counted: node.metrics.on_counted,
        m.Recorded: node.history.on_recorded,
        m.Farewell: node.farewells.on_farewell,
    }


WITH_FDS = {m.CreateActor, m.ConnectActor}
"""Messages with descriptors, which their handlers take over."""
