"""`skate memory`: the objects of a cluster, who has made them, and who holds them."""

from __future__ import annotations

import json
from typing import Any

import click

from ..client import state
from ..client.words import several
from .listing import table
from .looking import explained, look, note


def memory(
    group_by: str | None,
    sort_by: str,
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
        for line in table([_shown(row) for row in rows[:limit]]):
            click.echo(line)
        click.echo("")
    for line in table(sums):
        click.echo(line)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    held = [f"{who} x{count}" if count != 1 else who for who, count in row["holders"].items()]
    if row["contained_in"]:
        held.append(f"{several(row['contained_in'], 'object')} around it")
    return {
        "object_id": row["object_id"],
        "bytes": row["object_size"],
        "status": row["status"],
        "node": row["node_no"],
        "made by": row["owner"],
        "held by": ", ".join(held) or "nobody: it is about to end",
    }


def _sums(rows: list[dict[str, Any]], by: str) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        each = found.setdefault(row[by], {by: row[by], "objects": 0, "bytes": 0})
        each["objects"] += 1
        each["bytes"] += row["object_size"]
    return sorted(found.values(), key=lambda each: -each["bytes"])
