"""What fills the object store, in words: for the error of whoever found no room in it.

Of objects that could not leave memory it is known which process has said so. What a process has and the node does not answer for
are results that it is about to hand over, and values that nobody else has seen.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .directory import SENDER, STORE, aligned
from .spilling import State

if TYPE_CHECKING:
    from .service import Node

TOLD = 4
"""So many reasons are told, those with most bytes first."""
FRESH_S = 1.0
LEAVING = {State.ASKED: "are about to leave it", State.WRITING: "are written to disk"}


def what_fills(node: Node) -> str:
    """Who keeps how much of a node's memory, and for what; as it was within the last second, as many may be refused at once."""
    until, text = node.spills.filled
    now = time.monotonic()
    if now >= until:
        text = _count(node)
        node.spills.filled = now + FRESH_S, text
    return text


def _count(node: Node) -> str:
    sums: dict[str, tuple[int, int]] = {}
    own = {client: ranges.total for client, ranges in node.directory.grants.items()}
    now = time.monotonic()
    for ident, entry in node.directory.entries.items():
        value = entry.value
        if value is None or not value.offset or value.id != ident:
            continue
        size = aligned(value.size)
        if entry.owner in own:
            own[entry.owner] -= size
        row = node.spills.logic.rows.get(ident)
        reader = node.spills.logic.reader(ident, now)
        if row is not None and row.state in LEAVING:
            reason = f"objects that {LEAVING[row.state]}"
        elif SENDER in entry.holders:
            reason = "objects that are sent to other nodes"
        elif reader:
            reason = f"objects that {_name(node, reader)} reads"
        else:
            holder = next((client for client in entry.holders if client in node.clients), b"")
            reason = f"objects that {_name(node, holder)} holds" if holder else "objects that nobody reads"
        count, total = sums.get(reason, (0, 0))
        sums[reason] = count + 1, total + size
    told = [(total, f"{count} {reason}, {total} bytes") for reason, (count, total) in sums.items()]
    for client, total in own.items():
        if total > 0:
            told.append((total, f"{_unknown(node, client)}, {total} bytes"))
    told.sort(reverse=True)
    return "; ".join(text for _, text in told[:TOLD]) or "nothing"


def _unknown(node: Node, owner: bytes) -> str:
    """What the memory is for that is of no object which the node answers for."""
    if owner == STORE:
        return "objects that are read from disk"
    if owner == node.spills.logic.copier:
        return "objects on their way from other nodes"
    return f"results and values of {_name(node, owner)}"


def _name(node: Node, ident: bytes) -> str:
    client = node.clients.get(ident)
    if client is not None:
        return f"{'worker' if client.worker else 'driver'} process {client.pid}"
    return "a process that has ended"
