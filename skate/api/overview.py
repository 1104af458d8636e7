"""What `skate.cluster()` returns: the state of the cluster in words, as text or as tables of a notebook."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

_MEGABYTE = 1e6
_IN_BYTES = ("memory", "object_store_memory")


class Overview:
    """The state of a cluster at one moment.

    Attributes:
        state: the same as plain data: "nodes", "demand", "groups", "jobs" and "failures", each a list of dicts.
    """

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    @property
    def title(self) -> str:
        """How many nodes live, and where the head is."""
        alive = sum(node["Alive"] for node in self.state["nodes"])
        head = f" {self.state['head']}" if self.state["head"] else ""
        return f"cluster{head} of {alive} node{'s' * (alive != 1)}"

    def __repr__(self) -> str:
        rows = [
            f"{no:>3}  {name}  {address}  {state}  {', '.join(filter(None, [used, stored]))}"
            for no, name, address, state, used, stored in self._rows()
        ]
        return "\n".join([self.title, *rows, *self._news()])

    def _repr_html_(self) -> str:
        import html

        from ..client.display import grid

        table = grid(self.title, ("Node", "Name", "Address", "State", "In use", "Objects"), self._rows())
        news = "".join(f"<li>{html.escape(each)}</li>" for each in self._news())
        return f"{table}<ul>{news}</ul>" if news else table

    def _rows(self) -> Iterator[tuple[str, str, str, str, str, str]]:
        for node in self.state["nodes"]:
            address = node["NodeManagerAddress"]
            where = f"{address}:{node['NodeManagerPort']}" if node["NodeManagerPort"] else address
            used = ", ".join(use(*each) for each in uses(node))
            objects = "" if node["Store"] is None else stored(node["Store"])
            yield str(node["No"]), node["NodeName"], where, node["State"], used, objects

    def _news(self) -> list[str]:
        """What waits, and what has failed."""
        waits = [f"waiting: {each['count']} x ({each['wants']}): {each['reason']}" for each in self.state["demand"]]
        groups = [
            f"placement group {group['name'] or group['id'][:8]} is {group['state']}: {group['reason']}"
            for group in self.state["groups"]
        ]
        jobs = [f"job {job['id']}: {job['reason']}" for job in self.state["jobs"]]
        return waits + groups + jobs + [f"failed: {each['text']}" for each in failures(self.state)]


def failures(state: dict[str, Any]) -> list[dict[str, Any]]:
    """What has failed, the last at the end; what has failed several times is there once, and says how often."""
    last: dict[str, dict[str, Any]] = {}
    count = Counter(each["text"] for each in state["failures"])
    for each in state["failures"]:
        last.pop(each["text"], None)
        last[each["text"]] = each
    times = {text: f" ({number} times)" if number > 1 else "" for text, number in count.items()}
    return [{**each, "text": text + times[text]} for text, each in last.items()]


def uses(node: dict[str, Any]) -> list[tuple[str, float, float]]:
    """(name, in use, in total) of what users ask for."""
    return [
        (name, max(0.0, total - node["Free"].get(name, 0.0)), total)
        for name, total in sorted(node["Resources"].items())
        if not name.startswith("node:") and name != "object_store_memory"
    ]


def use(name: str, used: float, total: float) -> str:
    """A resource and how much of it is in use."""
    if name in _IN_BYTES:
        return f"{used / _MEGABYTE:.0f}/{total / _MEGABYTE:.0f} MB {name}"
    return f"{used:g}/{total:g} {name}"


def stored(store: dict[str, int]) -> str:
    """How full an object store is."""
    spilled = f", {store['spilled'] / _MEGABYTE:.0f} MB on disk" if store["spilled"] else ""
    return f"{store['used'] / _MEGABYTE:.0f}/{store['total'] / _MEGABYTE:.0f} MB objects{spilled}"
