"""The state of a cluster on the screen: plain lines for a pipe, tables and bars for a terminal."""

from __future__ import annotations

import os
from typing import Any

import click

from ..api.overview import failures, stored as _store, use as _use, uses as _uses

BAR = 10
Style = dict[str, Any]
"""Arguments of `click.style`."""


def show_plain(state: dict[str, Any], verbose: bool) -> None:
    """Lines that are easy to cut and to compare."""
    for line in (_headline(state), *_plain_nodes(state, verbose), *_rest(state)):
        click.echo(line)


def _headline(state: dict[str, Any]) -> str:
    alive = sum(node["Alive"] for node in state["nodes"])
    note = f"\nnote: {state['note']}" if "note" in state else ""
    which = f"cluster {state['head']}" if state["head"] else f"program {state['program']}, in a cluster of its own"
    return f"{which}: {alive} node{'s' * (alive != 1)} alive{note}"


def _shown(state: dict[str, Any], verbose: bool) -> list[dict[str, Any]]:
    return [node for node in state["nodes"] if node["Alive"] or verbose]


def _plain_nodes(state: dict[str, Any], verbose: bool) -> list[str]:
    lines = []
    for node in _shown(state, verbose):
        uses = [_use(name, used, total) for name, used, total in _uses(node)]
        if node["Store"] is not None:
            uses.append(_store(node["Store"]))
        state_ = node["State"].upper() if node["State"] != "alive" else "alive"
        lines.append(f"  {node['No']:>3}  {node['NodeName']:<16} {_where(node):<21} {state_:<8} {', '.join(uses)}")
        lines += [f"       {more}" for more in _more(node, verbose)]
    return lines


def _where(node: dict[str, Any]) -> str:
    port = node["NodeManagerPort"]
    return f"{node['NodeManagerAddress']}:{port}" if port else str(node["NodeManagerAddress"])


def _more(node: dict[str, Any], verbose: bool) -> list[str]:
    lines = []
    drain = node["Drain"]
    if drain is not None:
        limit = f", {drain['deadline_s']:g} s at the most" if drain["deadline_s"] else ""
        waits = "; ".join(drain["waits_for"]) or "its word"
        lines.append(f"draining ({drain['reason']}{limit}): waits for {waits}")
    if verbose:
        labels = ", ".join(f"{name}={value}" for name, value in sorted(node["Labels"].items()) if "node-id" not in name)
        lines.append(f"id {node['NodeID']}{'; labels ' + labels if labels else ''}")
        if node["DeathReasonMessage"]:
            lines.append(f"ended: {node['DeathReasonMessage']}")
    return lines


def _rest(state: dict[str, Any]) -> list[str]:
    lines = []
    for demand in state["demand"]:
        place = f" on node {demand['node']}" if demand["node"] else " without a node" if state["head"] else ""
        lines.append(f"waiting{place}: {demand['count']} x ({demand['wants']}): {demand['reason']}")
    for group in state["groups"]:
        name = group["name"] or group["id"][:8]
        bundles = ", ".join(str(bundle) for bundle in group["bundles"])
        lines.append(
            f"placement group {name} is {group['state']}: {group['strategy']} of {bundles}: {group['reason'] or 'being placed'}"
        )
    lines += [f"job {job['id']}: {job['reason']}" for job in state["jobs"]]
    lines += [f"failed{_ago(failure['seconds_ago'])}: {failure['text']}" for failure in failures(state)]
    return lines


def _ago(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f" {seconds / size:.0f} {unit} ago"
    return f" {seconds:.0f} s ago"


def show_tables(state: dict[str, Any], verbose: bool) -> None:
    """Tables and bars."""
    _say(_headline(state), bold=True)
    colours = {"alive": "green", "draining": "yellow", "away": "yellow"}
    head = [
        [(title, {"dim": True})] for title in ("node", "name", "address", "state", "CPU", "objects", "other resources")
    ]
    rows = [head]
    for node in _shown(state, verbose):
        uses = _uses(node)
        others = [_use(name, used, total) for name, used, total in uses if name != "CPU"]
        cpus = next(((used, total) for name, used, total in uses if name == "CPU"), None)
        store = node["Store"]
        colour: Style = {"dim": True} if node["State"] == "drained" else {"fg": colours.get(node["State"], "red")}
        rows.append(
            [
                [(f"{node['No']:>{len('node')}}", {})],
                [(node["NodeName"], {})],
                [(_where(node), {})],
                [(node["State"], colour)],
                [] if cpus is None else [*_bar(*cpus), (f" {cpus[0]:g}/{cpus[1]:g}", {})],
                [] if store is None else [*_bar(store["used"], store["total"]), (f" {_store(store)}", {})],
                [(", ".join(others), {})],
            ]
        )
    widths = [max(sum(len(text) for text, _ in row[at]) for row in rows) for at in range(len(head))]
    for row in rows:
        cells = []
        for cell, width in zip(row, widths, strict=True):
            gap = width - sum(len(text) for text, _ in cell)
            cells.append("".join(_styled(text, **style) for text, style in cell) + " " * gap)
        click.echo(" ".join(cells).rstrip())
    for node in _shown(state, verbose):
        for more in _more(node, verbose):
            click.echo(f"node {node['No']}: {more}")
    for line in _rest(state):
        _say(line, fg="red" if line.startswith("failed") else "yellow")


def _bar(used: float, total: float) -> list[tuple[str, Style]]:
    full = round(BAR * min(1.0, used / total)) if total else 0
    return [("█" * full, {"fg": "cyan"}), ("░" * (BAR - full), {"dim": True})]


def _styled(text: str, **style: Any) -> str:
    return text if os.environ.get("NO_COLOR") or not style else click.style(text, **style)


def _say(text: str, **style: Any) -> None:
    click.echo(_styled(text, **style))
