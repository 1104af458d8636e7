"""What a node knows of itself, for Prometheus. It is read when somebody asks: nothing is measured before.

All names begin with `skate_`. What the whole cluster has is said by one node, the head's, so that sums over nodes are right.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from ..head.actors import State
from ..store.arena import HEADER_BYTES
from ..version import __version__
from ..wire.metrics import COUNTER, GAUGE
from .exposition import Family, Labels, Sample
from .memory_monitor import PAGE, machine_usage, private_bytes
from .resources import own
from .vitals import processors

if TYPE_CHECKING:
    from .service import Node

OUTCOMES = ("finished", "failed", "cancelled", "crashed")


def families(node: Node) -> Iterator[Family]:
    """Everything that this node says of itself."""
    for name, (kind, text, read) in SYSTEM.items():
        yield Family(name, kind, text, read(node))


def _one(value: float) -> Iterable[Sample]:
    return (("", (), value),)


def _by(label: str, values: Iterable[tuple[str, float]]) -> Iterator[Sample]:
    for name, value in values:
        yield "", ((label, name),), value


def _info(node: Node) -> Iterable[Sample]:
    labels: Labels = (("version", __version__), ("node_id", node.node_id), ("node_no", str(node.node_no)))
    if node.cluster is not None:
        labels = (*labels, ("name", node.cluster.info.name))
    return (("", labels, 1),)


# ------------------------------------------------------------ the machine


def _cpu(node: Node) -> Iterator[Sample]:
    """Of all CPUs together, since the machine was started."""
    try:
        busy, total = processors()
    except OSError:
        return  # the machine does not say
    yield from _by("state", (("busy", busy), ("idle", total - busy)))


def _memory(node: Node) -> Iterator[Sample]:
    usage = machine_usage()
    return _by("state", () if usage is None else (("used", usage.used), ("limit", usage.limit)))


def _own_memory(node: Node) -> Iterable[Sample]:
    with open("/proc/self/statm") as file:
        return _one(int(file.read().split()[1]) * PAGE)


def _workers_memory(node: Node) -> Iterator[Sample]:
    """As many workers as a short pause of the node's loop allows; beyond, there is no figure rather than a wrong one."""
    pids = [client.pid for client in node.workers.values() if client.pid]
    if len(pids) <= WORKERS_READ_MAX:
        yield "", (), sum(map(private_bytes, pids))


WORKERS_READ_MAX = 500
"""Reading how much memory a process uses takes about 10 µs."""


# ------------------------------------------------------------ work


def _resources(of: str) -> Callable[[Node], Iterator[Sample]]:
    return lambda node: _by("resource", own(getattr(node.scheduler.pool, of)).items())


def _workers(node: Node) -> Iterator[Sample]:
    states = Counter({"idle": 0, "leased": 0, "actor": 0})
    for number in node.workers:
        actor, leased = node.actors.is_actor(number), number in node.scheduler.leases
        states["actor" if actor else "leased" if leased else "idle"] += 1
    return _by("state", states.items())


def _waiting(node: Node) -> Iterable[Sample]:
    waits = sum(node.queues.waits(demand) for demand in node.queues.waiting())
    return _one(waits + len(node.scheduler.actors))


def _drivers(node: Node) -> Iterable[Sample]:
    return _one(sum(not client.far for client in node.jobs.values()))


def _tasks(node: Node) -> Iterator[Sample]:
    for name, counts in list(node.metrics.sums.tasks.items()):
        for outcome, count in zip(OUTCOMES, counts, strict=True):
            if count:
                yield "", (("name", name), ("outcome", outcome)), count


def _actors(node: Node) -> Iterator[Sample]:
    """Those that this node hosts."""
    if node.cluster is None:
        states = Counter(actor.state for actor in node.actors.table.by_id.values() if actor.worker)
        return _by("state", ((each, states[each]) for each in (State.STARTING, State.ALIVE)))
    ready = sum(hosted.ready for hosted in node.actors.hosted.values())
    return _by("state", (("starting", len(node.actors.hosted) - ready), ("alive", ready)))


def _deaths(node: Node) -> Iterator[Sample]:
    return _by("cause", node.metrics.deaths.items())


# ------------------------------------------------------------ objects


def _store(node: Node) -> Iterator[Sample]:
    capacity = node.arena_bytes - HEADER_BYTES
    free = node.directory.free.total
    return _by("state", (("used", capacity - free), ("free", free)))


def _spills(node: Node) -> Iterator[Sample]:
    counts = node.spills.counts
    return _by("direction", (("spilled", counts["spilled_bytes"]), ("restored", counts["restored_bytes"])))


def _transfers(node: Node) -> Iterator[Sample]:
    found = node.transfers
    received = found.counts["received_bytes"] if found is not None else 0
    sent = found.serving.counts["sent_bytes"] if found is not None else 0
    return _by("direction", (("received", received), ("sent", sent)))


def _transfers_failed(node: Node) -> Iterable[Sample]:
    return _one(node.transfers.counts["failed"] if node.transfers is not None else 0)


# ------------------------------------------------------------ the node itself, and its head


def _loop(of: str) -> Callable[[Node], Iterator[Sample]]:
    def read(node: Node) -> Iterator[Sample]:
        head = node.metrics.of_head
        yield "", (("process", "node"),), getattr(node.metrics.loop.now(), of)
        if head is not None:
            yield "", (("process", "head"),), getattr(head.loop, of)

    return read


def _cluster_actors(node: Node) -> Iterator[Sample]:
    head = node.metrics.of_head
    if head is not None:
        return _by("state", head.actors.items())
    return _by("state", actor_states(node).items() if node.cluster is None else ())


def actor_states(node: Node) -> dict[str, int]:
    """How many actors are in each state, where that is decided."""
    states = Counter(str(actor.state) for actor in node.actors.table.by_id.values())
    return {str(state): states[str(state)] for state in State}


def _nodes(node: Node) -> Iterator[Sample]:
    if node.cluster is None or node.cluster.host is None:
        return _by("state", ())
    states = Counter(info.state for info in node.view.values())
    return _by("state", states.items())


def _faults(node: Node) -> Iterator[Sample]:
    return _by("part", node.faults.counts.items())


def _refused(node: Node) -> Iterable[Sample]:
    return _one(sum(node.gate.refused.values()) if node.gate is not None else 0)


def _leases(node: Node) -> Iterable[Sample]:
    return _one(len(node.scheduler.leases))


def _memory_kills(node: Node) -> Iterable[Sample]:
    return _one(node.monitor.kills)


def _objects(node: Node) -> Iterable[Sample]:
    return _one(len(node.directory.entries))


def _disk(node: Node) -> Iterable[Sample]:
    return _one(node.spills.logic.disk_bytes)


def _series(node: Node) -> Iterable[Sample]:
    return _one(node.metrics.sums.series)


def _dropped(node: Node) -> Iterable[Sample]:
    return _one(node.metrics.sums.dropped)


SYSTEM: dict[str, tuple[str, str, Callable[[Node], Iterable[Sample]]]] = {
    "skate_node_info": (GAUGE, "Who this node is; the value is 1.", _info),
    "skate_machine_cpu_seconds_total": (COUNTER, "Seconds of all CPUs of the machine, busy and idle.", _cpu),
    "skate_machine_cpus": (GAUGE, "CPUs of the machine.", lambda node: _one(os.cpu_count() or 1)),
    "skate_machine_memory_bytes": (GAUGE, "Memory of the machine, or its container: used, and its limit.", _memory),
    "skate_node_memory_bytes": (GAUGE, "Memory of the node's own process.", _own_memory),
    "skate_workers_memory_bytes": (GAUGE, "Memory of all workers that they share with nobody.", _workers_memory),
    "skate_resource_limit": (GAUGE, "What tasks and actors may ask for.", _resources("total")),
    "skate_resource_free": (GAUGE, "What of it nobody has.", _resources("free")),
    "skate_workers": (GAUGE, "Worker processes: idle, leased for tasks, or actors.", _workers),
    "skate_leases": (GAUGE, "Workers that were given to somebody.", _leases),
    "skate_requests_waiting": (GAUGE, "Requests for workers, and actors, that wait for resources.", _waiting),
    "skate_drivers": (GAUGE, "Drivers that are attached to this node.", _drivers),
    "skate_tasks_total": (COUNTER, "Tasks and calls of actors that ended here, by name and outcome.", _tasks),
    "skate_actors": (GAUGE, "Actors that have a process here.", _actors),
    "skate_worker_deaths_total": (COUNTER, "Workers that ended, by cause.", _deaths),
    "skate_memory_kills_total": (
        COUNTER,
        "Workers that were killed because memory ran out.",
        _memory_kills,
    ),
    "skate_store_bytes": (GAUGE, "Shared memory for objects, used and free.", _store),
    "skate_objects": (GAUGE, "Objects that this node answers for.", _objects),
    "skate_spill_disk_bytes": (GAUGE, "Bytes of objects on the disk.", _disk),
    "skate_spill_bytes_total": (
        COUNTER,
        "Bytes of objects that left memory for the disk, or came back.",
        _spills,
    ),
    "skate_transfer_bytes_total": (COUNTER, "Bytes of objects from and to other nodes.", _transfers),
    "skate_transfers_failed_total": (COUNTER, "Objects that could not be fetched.", _transfers_failed),
    "skate_loop_rounds_total": (COUNTER, "Rounds of the loop of the node, and of the head.", _loop("rounds")),
    "skate_loop_busy_seconds_total": (COUNTER, "How long the loop was busy.", _loop("busy_s")),
    "skate_loop_longest_seconds": (GAUGE, "The longest round within the last minute or two.", _loop("longest_s")),
    "skate_cluster_actors": (GAUGE, "All actors, by state. Only the head's node says this.", _cluster_actors),
    "skate_cluster_nodes": (GAUGE, "All nodes, by state. Only the head's node says this.", _nodes),
    "skate_node_faults_total": (COUNTER, "Errors in the node's own code that it went on after.", _faults),
    "skate_connections_refused_total": (COUNTER, "Connections of strangers that were refused.", _refused),
    "skate_metric_series": (GAUGE, "Series of users' metrics.", _series),
    "skate_metric_series_dropped_total": (
        COUNTER,
        "Values of users' metrics that had no room, or did not fit.",
        _dropped,
    ),
}
"""By name: kind, meaning, and how it is read."""
