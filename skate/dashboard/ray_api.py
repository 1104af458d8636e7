"""The shapes of Ray's REST routes for nodes and state, made of what the dashboard has read. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any

from ..client.filters import Filter
from ..client.parameters import seconds, whole, yes
from ..client.state import COLUMNS, DETAILS

LIMIT = 100
LIMIT_MAX = 10_000
QUERY = (
    "limit: how many rows, 100 if it is not said",
    "detail: 1 or true for all columns",
    "filter_keys: a column, may be repeated",
    "filter_predicates: = or !=, as many as filter_keys",
    "filter_values: as many as filter_keys",
    "timeout: Ray's clients send it; nodes have 5 seconds to answer",
    "exclude_driver: Ray's clients send it; there are no tasks of drivers",
)


def kind_of(word: str, kinds: Iterable[str] = COLUMNS) -> str:
    """The kind that a route names, in either spelling.

    Raises:
        ValueError: there is none.
    """
    kind = word.replace("_", "-")
    if kind not in kinds:
        raise ValueError(f"there are no {word!r} here; there are {', '.join(kinds)}")
    return kind


def wish(query: Iterable[tuple[str, str]]) -> tuple[list[Filter], int, bool]:
    """Conditions, limit, and whether details are wanted.

    Raises:
        ValueError: they make no sense.

    Example:
        >>> wish([("limit", "5"), ("filter_keys", "state"), ("filter_predicates", "="), ("filter_values", "FAILED")])
        ([('state', '=', 'FAILED')], 5, False)
    """
    said: dict[str, list[str]] = {}
    for name, value in query:
        said.setdefault(name, []).append(value)
    parts = [said.get(f"filter_{name}", []) for name in ("keys", "predicates", "values")]
    if len({len(part) for part in parts}) != 1:
        counts = ", ".join(str(len(part)) for part in parts)
        raise ValueError(
            f"filter_keys, filter_predicates and filter_values come in equal numbers, not {counts} of them"
        )
    last = {name: values[-1] for name, values in said.items()}
    seconds(last, "timeout", inf)
    yes(last, "exclude_driver")
    return list(zip(*parts, strict=True)), whole(last, "limit", 1, LIMIT_MAX, LIMIT), yes(last, "detail")


def listed(kind: str, found: dict[str, Any], limit: int, detail: bool) -> dict[str, Any]:
    """The answer of a list."""
    columns = [*COLUMNS[kind], *(DETAILS[kind] if detail else ())]
    rows = [{name: row.get(name) for name in columns} for row in found["rows"][:limit]]
    total = found["total"] if found["total"] >= 0 else len(found["rows"])
    return _answer(
        {
            "total": total,
            "num_after_truncation": len(found["rows"]),
            "num_filtered": len(found["rows"]),
            "result": rows,
            "partial_failure_warning": "; ".join(found["missing"]) or None,
            "warnings": found["notes"] or None,
        }
    )


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """The answer of a summary."""
    warning = "; ".join(found["missing"]) or None
    sums = {"node_id_to_summary": {"cluster": found["summary"]}}
    return _answer({"result": sums, "partial_failure_warning": warning})


def nodes(reading: dict[str, Any]) -> dict[str, Any]:
    """The answer of `/nodes`."""
    rows = [
        {
            "hostname": node["name"],
            "ip": node["host"],
            "cpu_total": node["total"].get("CPU", 0),
            "mem": [node["memory_total"], node["memory_total"] - node["memory_used"]],
            "objectStoreUsedMemory": node["store_used"],
            "objectStoreAvailableMemory": node["store_total"] - node["store_used"],
            "raylet": {
                "nodeId": node["node_id"],
                "nodeName": node["name"],
                "state": "DEAD" if node["state"] in ("DEAD", "DRAINED") else "ALIVE",
                "stateMessage": node["reason"],
                "resourcesTotal": node["total"],
                "labels": node["labels"],
                "isHeadNode": node["no"] <= 1,
            },
        }
        for node in reading["nodes"]
    ]
    return {"result": True, "msg": "Node summary fetched.", "data": {"summary": rows}}


def cluster_status(reading: dict[str, Any]) -> dict[str, Any]:
    """The answer of `/api/cluster_status`."""
    usage: dict[str, list[float]] = {}
    for node in reading["nodes"]:
        for name, total in node["total"].items():
            used = usage.setdefault(name, [0.0, 0.0])
            used[0] += max(0.0, total - node["free"].get(name, 0.0))
            used[1] += total
    demand = [[each["request"], each["count"]] for each in reading["waiting"]]
    report = {"usage": usage, "resourceDemand": demand, "failures": reading["failures"]}
    status = {"loadMetricsReport": report, "autoscalerReport": None}
    return {
        "result": True,
        "msg": "Got cluster status.",
        "data": {"clusterStatus": status, "autoscalingStatus": None, "autoscalingError": None},
    }


def _answer(data: dict[str, Any]) -> dict[str, Any]:
    return {"result": True, "msg": "", "data": {"result": data}}
