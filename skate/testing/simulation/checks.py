"""What must hold: while a history goes on, and when it is over.

`left_over` names whatever is still there when nothing is wanted any more. An empty list is quiescence.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from ...client.actor_client import ACTOR_DEAD
from ...client.head_link import HeadLink
from ...head.actors import State
from ...wire.cluster import HEAD
from ...wire.groups import CREATED
from .workers import Worker

if TYPE_CHECKING:
    from ...node.head_process import HeadProcess
    from .cluster import Cluster, DriverRun, NodeRun


# ---------------------------------------------------------------- at any moment


def actor_is_alone(cluster: Cluster, worker: Worker) -> None:
    """An actor that runs a call is the one that the head knows, unless its node is fenced."""
    head, be = cluster.head_node, worker.actor
    number = worker.machine.node.number
    if head is None or be is None or number not in head.members.nodes.heard:
        return
    actor = head.node.actors.table.by_id.get(be.spec.id)
    assert actor is not None, f"{worker.name} runs a call, and the head does not know its actor"
    mine, known = f"incarnation {be.restarts} on node {number}", f"{actor.restarts} on node {actor.node}"
    alone = actor.restarts == be.restarts and actor.node in (0, number)
    assert alone, f"{worker.name} runs a call as {mine} of actor {actor.id.hex()}; the head has {known}"


def something_was_lost(faults: int) -> None:
    """Arguments are missed only if something has happened to them."""
    assert faults, "an argument is missed, and nothing accounts for it"


def nothing_was_forgotten(head: HeadProcess, drivers: list[DriverRun]) -> None:
    """A head that was started again knows all that drivers were told."""
    table, groups = head.node.actors.table, head.node.groups.table
    for driver in drivers:
        runtime = driver.runtime
        if not driver.alive or runtime is None:
            continue
        link = runtime.links._peers.get(HEAD)
        unheard: Collection[bytes] = link._created if isinstance(link, HeadLink) else ()
        for ident, client in runtime.actors.by_id.items():
            actor = table.by_id.get(ident)
            if client.creating is None and ident not in unheard:
                assert actor is not None, f"{driver.name} was told of actor {ident.hex()}, and the head was not"
                dead = client.state == ACTOR_DEAD
                assert not dead or actor.state is State.DEAD, f"{driver.name} was told that actor {ident.hex()} is dead"
        for ident, group in runtime.groups._states.items():
            if group.state == CREATED and not group.removing:
                assert ident in groups.by_id, f"{driver.name} was told of group {ident.hex()}, and the head was not"


# ---------------------------------------------------------------- when it is over


def left_over(cluster: Cluster, drivers: list[DriverRun], gone: bool) -> list[str]:
    """What is still there; `gone`: the drivers have ended, too."""
    out = [f"{run.name}: {what}" for run in cluster.nodes() for what in _of_node(run, gone)]
    head = cluster.head_node
    if head is None:
        return [*out, "the head does not run"]
    out += [f"head: {what}" for what in _of_head(cluster, head, gone)]
    out += [f"{driver.name}: {what}" for driver in drivers if driver.alive for what in _of_driver(driver)]
    return out


def _of_node(run: NodeRun, gone: bool) -> Iterator[str]:
    node, scheduler = run.node, run.node.scheduler
    pool = scheduler.pool
    if node.cluster is None or not node.cluster.connected:
        yield "it is not connected to the head"
    if scheduler.leases:
        yield f"leases {list(scheduler.leases)}"
    if pool.free != pool.total or pool.total != {"CPU": int(node.total["CPU"]) * 10_000}:
        yield f"free is {pool.free} of {pool.total}"
    if pool.bundles:
        yield f"bundles {[(group.hex(), at) for group, at in pool.bundles]}"
    if any(demand.count for demand in scheduler.demands.values()):
        yield f"demands {[(d.client.hex(), d.shape, d.count) for d in scheduler.demands.values() if d.count]}"
    if scheduler.actors or node.actors.hosted:
        yield f"actors {[ident.hex() for ident in node.actors.hosted]}, {len(scheduler.actors)} of them wait"
    if node.directory.entries:
        yield f"objects {[ident.hex() for ident in node.directory.entries]}"
    if node.abroad._keys or any(node.abroad._told.values()):
        yield f"keys {len(node.abroad._keys)}, told {node.abroad._told}"
    if gone:
        if node.directory.grants:
            yield f"memory of {[client.hex() for client in node.directory.grants]}"
        if node.workers or node.jobs:
            yield f"workers {list(node.workers)} of jobs {list(node.jobs)}"
        if node.clients or scheduler.demands or scheduler.starting:
            yield f"clients {[ident.hex() for ident in node.clients]}, demands {len(scheduler.demands)}, {scheduler.starting}"
        others = [channel for number, channel in node.claims._channels.items() if channel is not None]
        if others:
            yield f"{len(others)} links to homes of objects"


def _of_head(cluster: Cluster, head: HeadProcess, gone: bool) -> Iterator[str]:
    node = head.node
    alive = [actor for actor in node.actors.table.by_id.values() if actor.state is not State.DEAD]
    if alive:
        yield f"actors {[(actor.id.hex(), str(actor.state)) for actor in alive]}"
    if node.groups.table.by_id:
        yield f"groups {[ident.hex() for ident in node.groups.table.by_id]}"
    if node.directory.entries:
        yield f"objects {[(ident.hex(), e.holders) for ident, e in node.directory.entries.items()]}"
    members = sorted(head.members.nodes.heard)
    if members != sorted(run.number for run in cluster.nodes()):
        yield f"its members are {members}"
    for info in head.view.values():
        if info.no in head.members.nodes.heard and info.free != info.total:
            yield f"it believes that of node {info.no} {info.free} is free, of {info.total}"
    if gone:
        if node.clients or head.awaited or node.actors.jobs or node.jobs:
            yield f"clients {len(node.clients)}, awaited {head.awaited}, jobs {list(node.actors.jobs)} {list(node.jobs)}"
        kinds = sorted({kind for kind, _ in cluster.store.rows} & {"job", "group"})
        if kinds:
            yield f"rows of {kinds}"


def _of_driver(driver: DriverRun) -> Iterator[str]:
    runtime = driver.runtime
    if runtime is None or runtime.closed:
        return
    tasks = runtime.tasks
    if tasks.submitter.workers or tasks.submitter.coming or tasks.retries.waiting:
        workers, coming = list(tasks.submitter.workers), list(tasks.submitter.coming)
        yield f"workers {workers}, {coming} being dialled, {len(tasks.retries.waiting)} tasks"
    asked = {shape.no: (shape.asked, shape.told) for shape in tasks.submitter.by_no if shape.asked or shape.told}
    if asked:
        yield f"asked for {asked}"
    link = runtime.links._peers.get(HEAD)
    if isinstance(link, HeadLink) and (link._held or link._created or link._requests):
        yield f"it holds {[i.hex() for i in link._held]}, has created {len(link._created)}, asks {len(link._requests)}"
    runtime.rebuild.lineage.settle()
    if runtime.rebuild.lineage.used or runtime.rebuild.lineage.published:
        yield f"{runtime.rebuild.lineage.used} bytes of lineage, {len(runtime.rebuild.lineage.published)} published"
    if runtime.actors.by_id:
        yield f"actors {[ident.hex() for ident in runtime.actors.by_id]}"
