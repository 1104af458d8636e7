"""Placement groups, as the head and the nodes see them: the shell around `head/groups.py`.

The head (or a node that is in no cluster) decides; every node reserves what it is told to, in its pool of resources, and ends
what runs in bundles that it gives back.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..head.groups import Commit, Effect, Group, Groups, Reserve, Return, Tell
from ..wire import groups as g
from ..wire.cluster import NodeInfo
from .resources import from_units, to_units

if TYPE_CHECKING:
    from .client import Client
    from .service import Node


class GroupShell:
    """The placement groups of a head, and the bundles of a node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.table = Groups()

    # ------------------------------------------------------------ clients

    def on_create(self, client: Client, message: g.CreateGroup) -> None:
        """A client creates a group; it may say so again."""
        known = self.table.by_id.get(message.id)
        if known is None:
            other = self.table.find(message.namespace, message.name) if message.name else None
            if other is not None:
                reason = f"a placement group named {message.name!r} exists already in namespace {message.namespace!r}"
                self.node.send(client, g.GroupChanged(message.id, g.REMOVED, reason))
                return
            group = Group(message, client.job, [to_units(bundle) for bundle in message.bundles])
            group.watchers.add(client.id)
            self.node.actors.note_job(client)
            self.apply(self.table.create(group, self._view()))
        else:
            self.on_watch(client, g.WatchGroup(message.id))

    def on_remove(self, client: Client, message: g.RemoveGroup) -> None:
        """A client removes a group."""
        group = self.table.by_id.get(message.id)
        if group is None:
            self.node.send(client, g.GroupChanged(message.id, g.REMOVED))
            return
        group.watchers.add(client.id)
        self.apply(self.table.remove(message.id))

    def on_watch(self, client: Client, message: g.WatchGroup) -> None:
        """A client wants to know a group's state."""
        group = self.table.by_id.get(message.id)
        if group is None:
            self.node.send(client, g.GroupChanged(message.id, g.REMOVED))
            return
        group.watchers.add(client.id)
        self.node.send(client, g.GroupChanged(message.id, group.state, group.reason))

    def forget(self, client: Client) -> None:
        """A client has ended."""
        for group in self.table.by_id.values():
            group.watchers.discard(client.id)

    # ------------------------------------------------------------ the head

    def _view(self) -> dict[int, NodeInfo]:
        node = self.node
        if node.head is not None:
            return node.view
        pool = node.scheduler.pool
        return {0: NodeInfo(0, node.node_id, "", "", "", 0, pool.total, dict(pool.free))}

    def look(self) -> None:
        """Something may have become free."""
        if self.table.unsettled:
            self.apply(self.table.look(self._view()))

    def apply(self, effects: Iterable[Effect]) -> None:
        """Carry out what was decided."""
        head = self.node.head
        for effect in effects:
            group = effect.group
            ident = group.spec.id
            if isinstance(effect, Tell):
                self._tell(group)
            elif isinstance(effect, Reserve):
                amounts = {at: group.amounts[at] for at in effect.indices}
                self._to_node(effect.node, g.ReserveBundles(ident, group.attempt, amounts))
                self._guessed(effect.node)
            elif isinstance(effect, Commit):
                if head is not None:
                    head.rows.keep_group(group)
                self._to_node(effect.node, g.CommitBundles(ident))
            elif isinstance(effect, Return):
                self._will_be_free(effect)
                self._guessed(effect.node)
                self._to_node(effect.node, g.ReturnBundles(ident, effect.indices))

    def _will_be_free(self, effect: Return) -> None:
        """A hint for the next plan, as planning takes it; the node's next report says how it is."""
        info = self.node.view.get(effect.node)
        if info is not None:
            indices = range(len(effect.group.amounts)) if effect.indices is None else effect.indices
            for at in indices:
                if effect.indices is not None or effect.group.nodes[at] == effect.node:
                    for name, units in effect.group.amounts[at].items():
                        info.free[name] = info.free.get(name, 0) + units

    def _guessed(self, number: int) -> None:
        if self.node.head is not None:
            self.node.head.members.nodes.touch(number)

    def _tell(self, group: Group) -> None:
        head = self.node.head
        self.node.history.group_changed(group)
        if group.state == g.REMOVED:
            self.node.actors.group_removed(group.spec.id)
        if head is not None:
            if group.state == g.REMOVED:
                head.rows.forget_group(group.spec.id)
            else:
                head.rows.keep_group(group)
        for ident in group.watchers:
            client = self.node.clients.get(ident)
            if client is not None:
                self.node.send(client, g.GroupChanged(group.spec.id, group.state, group.reason))

    def _to_node(self, number: int, message: Any) -> None:
        if self.node.head is not None:
            self.node.head.send_to(number, message)
        else:
            self.from_head(message)

    def from_node(self, number: int, message: g.BundlesReserved) -> None:
        """A node has reserved its part, or cannot."""
        self.apply(self.table.answered(message.group, number, message.attempt, message.done))

    def node_joined(self, number: int, held: list[tuple[bytes, int]]) -> None:
        """A node is there, or is back, with these bundles."""
        bundles: dict[bytes, list[int]] = {}
        for group, index in held:
            bundles.setdefault(group, []).append(index)
        self.apply(self.table.node_has(number, bundles))
        self.look()

    # ------------------------------------------------------------ a node

    def from_head(self, message: Any) -> None:
        """The head wants something of the bundles here."""
        pool = self.node.scheduler.pool
        if self.node.cluster is not None:
            self.node.cluster.report_anew()
        if isinstance(message, g.ReserveBundles):
            self._reserve(message)
        elif isinstance(message, g.CommitBundles):
            pool.commit(message.group)
            self.node.decide_again()
        else:
            held = [index for group, index in pool.bundles if group == message.group]
            indices = held if message.indices is None else message.indices
            self._end(message.group, [index for index in indices if index in held])

    def _reserve(self, message: g.ReserveBundles) -> None:
        pool = self.node.scheduler.pool
        done: list[int] = []
        for index, amounts in message.bundles.items():
            if not pool.reserve(message.group, index, amounts):
                for each in done:
                    pool.give_back(message.group, each)
                break
            done.append(index)
        answer = g.BundlesReserved(message.group, message.attempt, len(done) == len(message.bundles))
        if self.node.cluster is not None:
            self.node.cluster.send_to_head(answer)
        else:
            self.from_node(0, answer)

    def _end(self, group: bytes, indices: list[int]) -> None:
        """Give bundles back; the workers that use them end."""
        pool = self.node.scheduler.pool
        names = {name for index in indices for name in pool.bundles[group, index].names}
        for worker, lease in list(self.node.scheduler.leases.items()):
            if not names.isdisjoint(lease.amounts):
                self.node.pool.kill(worker, signal.SIGKILL)
        for index in indices:
            pool.give_back(group, index)
        self.node.decide_again()

    def held_now(self) -> list[tuple[bytes, int]]:
        """What the head should know of the bundles here, whatever it has heard."""
        return list(self.node.scheduler.pool.bundles)

    # ------------------------------------------------------------ questions

    def show(self) -> list[dict[str, Any]]:
        """All groups, for tables."""
        view = self._view()
        return [
            {
                "placement_group_id": group.spec.id.hex(),
                "name": group.spec.name,
                "namespace": group.spec.namespace,
                "creator_job_id": group.job,
                "bundles": {at: from_units(amounts) for at, amounts in enumerate(group.amounts)},
                "bundles_to_node_id": {
                    at: view[no].id if no in view and not group.waiting else "" for at, no in enumerate(group.nodes)
                },
                "strategy": group.spec.strategy,
                "state": group.state,
                "stats": {"scheduling_state": group.reason},
            }
            for group in self.table.by_id.values()
        ]
