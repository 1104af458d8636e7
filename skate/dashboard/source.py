"""What the dashboard knows of a cluster: readings that the poller takes, and lists that a page asks for.

`ClusterSource` asks the nodes. Tests have another source behind the same interface, with as many tasks as they like.
All methods may be called by several threads at a time, and take up to some seconds.
"""

from __future__ import annotations

from typing import Any, Protocol

from ..client import state
from ..client.crashes import Crashes
from ..client.filters import Filter
from ..client.observing import Member, Observer, ask_all, ask_each, living, members, tell_all
from ..exceptions import RaySystemError
from .federation import Scraped, merged
from .flames import flame

ROWS_MAX = 10_000
"""So many rows of a kind are looked at: the last tasks, the largest objects."""
BARS_MAX = 3_000
EVENTS_MAX = 1_000
NAMES_MAX = 50
LINES_MAX = 5_000
PROFILE_SAMPLES_MAX = 100

Row = dict[str, Any]


class Source(Protocol):
    """A cluster to show."""

    def reading(self) -> dict[str, Any]:
        """What the overview shows: `counts` (see `Samples.add`), `nodes`, `names`, `waiting`, `failures`, `datasets`, `missing`.

        Raises:
            ConnectionError: nobody answers.
        """
        ...

    def rows(self, kind: str, filters: list[Filter]) -> dict[str, Any]:
        """`rows`, `total`, `missing` and `notes` of a kind of `state.COLUMNS`, or of `events`."""
        ...

    def get(self, kind: str, ident: str) -> list[Row]:
        """The thing with this id, or the attempts of a task, in all detail."""
        ...

    def summary(self, kind: str) -> dict[str, Any]:
        """`summary` of a kind of `state.SUMMARIES`, of all that there are, as Ray has it, and `missing`."""
        ...

    def metrics(self) -> str:
        """The metrics of all nodes, for Prometheus. Raises as `reading` does."""
        ...

    def timeline(self) -> list[Row]:
        """The last tasks that have ended: `name`, `start`, `end`, `node`, `pid`, `state`, `task_id`."""
        ...

    def logs(self, wish: dict[str, Any]) -> dict[str, Any]:
        """What workers have printed: `lines` of `{node, pid, whose, task, text, error}`, and `missing`.

        Args:
            wish: any of `task`, `actor`, `job`, `pid`, `node`, `errors`, `tail`.
        """
        ...

    def stacks(self, node: int, pid: int) -> list[Row]:
        """The threads of a process: `{name, frames: [text]}`, the innermost frame last.

        Raises:
            ConnectionError, ValueError: it does not say.
        """
        ...


class ClusterSource:
    """The cluster behind an observer."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer

    # ------------------------------------------------------------ the overview

    def reading(self) -> dict[str, Any]:
        """See `Source`."""
        known = self.observer.nodes()
        nodes = living(known)
        missing: list[str] = []
        vitals = {member.no: value for member, value in ask_each(self.observer, "vitals", None, missing, nodes)}
        names, ended = self._names(nodes, missing)
        said, silent = tell_all(self.observer, "tasks", {"limit": 0}, nodes)
        counts = _counts(vitals, {node.get("No", 0): node["NodeManagerAddress"] for node in known})
        counts["ended"] = ended
        counts["unfinished"] = sum(told["value"]["count"] for _, told in said)
        status = self._status(missing)
        return {
            "counts": counts,
            "nodes": [_node(node, vitals.get(node.get("No", 0))) for node in known],
            "names": names,
            "waiting": status.get("demand", [])[:NAMES_MAX],
            "failures": status.get("failures", [])[-NAMES_MAX:],
            "datasets": self._datasets(nodes),
            "missing": [*missing, *silent],
        }

    def _names(self, nodes: list[Member], missing: list[str]) -> tuple[list[Row], int]:
        """By function: how many have ended, the most frequent first; and how many in all."""
        found: dict[str, Row] = {}
        ended = 0
        for name, _, finished, failed in state.counts(self.observer, nodes, missing):
            row = found.setdefault(name, {"name": name, "finished": 0, "failed": 0})
            row["finished"] += finished
            row["failed"] += failed
            ended += finished + failed
        rows = sorted(found.values(), key=lambda row: -(row["finished"] + row["failed"]))
        return rows[:NAMES_MAX], ended

    def _status(self, missing: list[str]) -> dict[str, Any]:
        try:
            return dict(self.observer.ask_head("cluster_status"))
        except (ConnectionError, ValueError, RaySystemError) as error:
            missing.append(f"the head: {error}")
            return {}

    def _datasets(self, nodes: list[Member]) -> list[Row]:
        """What programs say of the datasets that they carry out; those that have none do not know the question."""
        said, _ = tell_all(self.observer, "datasets", None, nodes)
        return [{**each, "pid": told["pid"], "node": member.no} for member, told in said for each in told["value"]]

    # ------------------------------------------------------------ lists

    def rows(self, kind: str, filters: list[Filter]) -> dict[str, Any]:
        """See `Source`."""
        if kind == "events":
            rows, missing = state.events(self.observer, {}, EVENTS_MAX)
            return {"rows": rows[::-1], "total": len(rows), "missing": missing, "notes": []}
        found = state.listing(self.observer, kind, filters, ROWS_MAX, detail=True)
        return {"rows": found.rows, "total": found.total, "missing": found.missing, "notes": found.notes}

    def get(self, kind: str, ident: str) -> list[Row]:
        """See `Source`."""
        return state.get(self.observer, kind, ident).rows

    def summary(self, kind: str) -> dict[str, Any]:
        """See `Source`."""
        found, missing = state.summarize(self.observer, kind)
        return {"summary": found, "missing": missing}

    def metrics(self) -> str:
        """See `Source`."""
        return merged(
            Scraped(f"{at.host}:{at.port}" if at.port else at.name, at.name, at.no, word.value)
            for word in ask_all(self.observer, "metrics")
            for at in (word.member,)
        )

    def timeline(self) -> list[Row]:
        """See `Source`."""
        nodes = members(self.observer)
        tell_all(self.observer, "tasks", {"limit": 0}, nodes)  # so that the histories hear of all that has ended
        missing: list[str] = []
        bars: list[Row] = []
        for member in nodes:
            count = 0
            for row in state.ended_tasks(self.observer, member, [], missing):
                if row["start_time"] is None:
                    continue  # it has never begun
                bars.append(
                    {
                        "task_id": row["task_id"],
                        "name": row["name"],
                        "state": row["state"],
                        "start": row["start_time"],
                        "end": row["end_time"],
                        "node": row["node_no"],
                        "pid": row["worker_pid"],
                    }
                )
                count += 1
                if count >= BARS_MAX:
                    break
        return sorted(bars, key=lambda bar: -bar["end"])[:BARS_MAX]

    # ------------------------------------------------------------ processes

    def logs(self, wish: dict[str, Any]) -> dict[str, Any]:
        """See `Source`."""
        node = wish.get("node")
        nodes = [each for each in members(self.observer) if node is None or each.no == node]
        question = {name: value for name, value in wish.items() if name != "node"}
        lines: list[Row] = []
        missing: list[str] = []
        for member, value in ask_each(self.observer, "printed", question, missing, nodes):
            for file in value["files"]:
                about = {"node": member.no, "pid": file["pid"], "error": file["is_error"]}
                lines += [{**about, "whose": whose, "task": task, "text": text} for whose, task, text in file["lines"]]
        if wish.get("task"):
            lines += self._crashes(wish, nodes, missing)
        return {"lines": lines[-LINES_MAX:], "missing": missing}

    def _crashes(self, wish: dict[str, Any], nodes: list[Member], missing: list[str]) -> list[Row]:
        return [
            {"node": at.no, "pid": pid, "error": True, "whose": name, "task": task, "text": text}
            for at, pid, task, name, texts in Crashes(self.observer, wish["task"]).new(nodes, missing)
            if wish.get("pid", pid) == pid
            for text in texts[-wish.get("tail", LINES_MAX) :]
        ]

    def stacks(self, node: int, pid: int) -> list[Row]:
        """See `Source`."""
        found = [each for each in members(self.observer) if each.no == node]
        if not found:
            raise ValueError(f"there is no node {node} that lives")
        for stack in self.observer.ask(found[0], "stacks", {"pids": [pid]}):
            if stack["pid"] == pid:
                if stack["error"]:
                    raise ValueError(f"process {pid}: {stack['error']}")
                return [_thread(each) for each in stack["threads"]]
        raise ValueError(f"process {pid} does not run on node {node}")


def profile(source: Source, node: int, pid: int, samples: int) -> dict[str, Any]:
    """A flame graph of a process: so many looks at its stacks. Raises as `Source.stacks` does."""
    stacks = []
    for _ in range(max(1, min(samples, PROFILE_SAMPLES_MAX))):
        stacks += [thread["frames"] for thread in source.stacks(node, pid) if thread["frames"]]
    return flame(stacks)


def _thread(thread: Any) -> Row:
    """A thread as the page shows it. Nodes give frames with the innermost first."""
    frames = [f"{name} ({file}:{line})" for file, line, name, _ in reversed(thread["frames"])]
    return {"name": thread["thread"], "frames": frames}


def _counts(vitals: dict[int, Row], hosts: dict[int, str]) -> dict[str, float]:
    """What all nodes have together. What they say of their machine counts once if several of them are on it."""
    nodes = vitals.values()
    machines = {hosts.get(number, ""): each for number, each in vitals.items()}.values()
    of_machine = ("cpu_busy_s", "cpu_s", "cpu_count", "memory_used", "memory_total")
    of_node = ("store_used", "store_total", "spilled", "objects", "workers", "actors")
    found: dict[str, float] = {name: sum(each[name] for each in machines) for name in of_machine}
    found |= {name: sum(each[name] for each in nodes) for name in of_node}
    found["cpus_total"] = sum(each["total"].get("CPU", 0.0) for each in nodes)
    free = sum(min(each["free"].get("CPU", 0.0), each["total"].get("CPU", 0.0)) for each in nodes)
    found["cpus_used"] = max(0.0, found["cpus_total"] - free)
    return found


def _node(node: Row, vitals: Row | None) -> Row:
    about = vitals or {}
    total = {name: amount for name, amount in node["Resources"].items() if not name.startswith("node:")}
    return {
        "no": node.get("No", 0),
        "node_id": node["NodeID"],
        "name": node["NodeName"],
        "host": node["NodeManagerAddress"],
        "port": node.get("NodeManagerPort", 0),
        "state": str(node["State"]).upper(),
        "reason": node.get("DeathReasonMessage") or "",
        "labels": node["Labels"],
        "total": total,
        "free": {name: about.get("free", {}).get(name, 0.0) for name in total},
        **{name: about.get(name, 0) for name in ("memory_used", "memory_total", "store_used", "store_total")},
        **{name: about.get(name, 0) for name in ("spilled", "objects", "workers", "actors")},
    }
