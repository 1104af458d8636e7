"""`skate memory`: the objects of a cluster, where and by whom they were made, and who holds them."""

from __future__ import annotations

import json
from typing import Any

import click

from ..client import state
from ..client.words import several
from .listing import table
from .looking import explained, look, note

SITE_MAX = 60
"""A longer place is cut from the left: the file's folder says least."""
UNITS = {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}
HINT = (
    "where small objects were put, and tasks called, is recorded with record_ref_creation_sites: set the environment variable "
    "SKATE_record_ref_creation_sites=1 where the cluster or the program starts"
)


def memory(
    group_by: str | None,
    sort_by: str,
    units: str,
    stats_only: bool,
    limit: int,
    as_json: bool,
    address: str | None,
    temp_dir: str | None,
) -> None:
    """Show objects, and sums of them."""
    with explained():
        found = state.listing(look(address, temp_dir), "objects", None, 1 << 30, detail=True)
    rows = found.rows if sort_by == "size" else sorted(found.rows, key=lambda row: str(row[sort_by]))
    sums = _sums(rows, group_by or "status")
    if as_json:
        shown = [] if stats_only else rows[:limit]
        click.echo(json.dumps({"objects": shown, "total": found.total, "sums": sums, "missing": found.missing}))
        return
    note(found.missing)
    if not stats_only and rows:
        for line in table([_shown(row, units) for row in rows[:limit]]):
            click.echo(line)
        click.echo("")
        if limit < len(rows):
            click.echo(f"{limit} objects of {len(rows)}: say --limit for others", err=True)
    for line in table([_sum_shown(each, units) for each in sums]):
        click.echo(line)
    if any(row["call_site"] == state.NOT_RECORDED for row in rows):
        note([HINT])


def _shown(row: dict[str, Any], units: str) -> dict[str, Any]:
    held = [f"{who} x{count}" if count != 1 else who for who, count in row["holders"].items()]
    if row["contained_in"]:
        held.append(f"{several(row['contained_in'], 'object')} around it")
    return {
        "object_id": row["object_id"],
        _title(units): _size(row["object_size"], units),
        "status": row["status"],
        "node": row["node_no"],
        "made by": row["owner"],
        "held by": ", ".join(held) or "nobody: it is about to end",
        "where": _short(row["call_site"]),
    }


def _sum_shown(each: dict[str, Any], units: str) -> dict[str, Any]:
    shown = {name: value for name, value in each.items() if name != "bytes"}
    return {**shown, _title(units): _size(each["bytes"], units)}


def _title(units: str) -> str:
    return "bytes" if units == "B" else units


def _size(value: int, units: str) -> Any:
    return value if units == "B" else f"{value / UNITS[units]:.3f}"


def _short(site: str) -> str:
    return site if len(site) <= SITE_MAX else "…" + site[1 - SITE_MAX :]


def _sums(rows: list[dict[str, Any]], by: str) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        each = found.setdefault(row[by], {by: row[by], "objects": 0, "bytes": 0})
        each["objects"] += 1
        each["bytes"] += row["object_size"]
    return sorted(found.values(), key=lambda each: -each["bytes"])
