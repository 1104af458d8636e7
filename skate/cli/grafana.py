"""The dashboard for Grafana, as data: rows of panels over the metrics of `node/figures.py`.

What is asked of Prometheus is written once here, by panel; ids and places follow from the order. Counters are asked for as rates.
"""

from __future__ import annotations

from typing import Any, NamedTuple

SCHEMA_VERSION = 39
"""Of Grafana 10.4; newer ones read it, too."""
WIDTH, HEIGHT, COLUMNS = 8, 8, 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


class Panel(NamedTuple):
    """One plot."""

    title: str
    unit: str
    asks: tuple[tuple[str, str], ...]
    """What is asked of Prometheus, and what the lines are called."""
    stacked: bool = False


_SHORT = {"{OF": '{instance=~"$instance"', "[RATE]": "[$__rate_interval]"}
"""What questions are written with here: the nodes that were chosen, and the time over which a rate is taken."""


ROWS: dict[str, tuple[Panel, ...]] = {
    "Work": (
        Panel(
            "Tasks that ended",
            "ops",
            (("sum by (name, outcome) (rate(skate_tasks_total{OF}[RATE]))", "{{name}} {{outcome}}"),),
        ),
        Panel(
            "Tasks that failed",
            "ops",
            (("sum by (name) (rate(skate_tasks_total{OF, outcome=~'failed|crashed'}[RATE]))", "{{name}}"),),
        ),
        Panel(
            "Waiting and leased",
            "short",
            (
                ("sum(skate_requests_waiting{OF})", "requests that wait"),
                ("sum(skate_leases{OF})", "leases"),
                ("sum(skate_drivers{OF})", "drivers"),
            ),
        ),
        Panel("Workers", "short", (("sum by (state) (skate_workers{OF})", "{{state}}"),), True),
        Panel("Actors", "short", (("sum by (state) (skate_cluster_actors)", "{{state}}"),)),
        Panel(
            "Workers that ended",
            "ops",
            (
                ("sum by (cause) (rate(skate_worker_deaths_total{OF}[RATE]))", "{{cause}}"),
                ("sum(rate(skate_memory_kills_total{OF}[RATE]))", "killed for their memory"),
            ),
        ),
    ),
    "Machines": (
        Panel("Nodes", "short", (("sum by (state) (skate_cluster_nodes)", "{{state}}"),)),
        Panel(
            "CPUs in use",
            "percentunit",
            (
                (
                    "sum by (instance) (rate(skate_machine_cpu_seconds_total{OF, state='busy'}[RATE])) "
                    "/ sum by (instance) (skate_machine_cpus{OF})",
                    "{{instance}}",
                ),
            ),
        ),
        Panel(
            "Memory in use",
            "bytes",
            (
                ("sum by (instance) (skate_machine_memory_bytes{OF, state='used'})", "{{instance}}"),
                ("sum by (instance) (skate_machine_memory_bytes{OF, state='limit'})", "{{instance}} limit"),
            ),
        ),
        Panel(
            "Resources that are taken",
            "percentunit",
            (
                (
                    "1 - sum by (resource) (skate_resource_free{OF}) / sum by (resource) (skate_resource_limit{OF})",
                    "{{resource}}",
                ),
            ),
        ),
        Panel("Memory of workers", "bytes", (("sum by (instance) (skate_workers_memory_bytes{OF})", "{{instance}}"),)),
        Panel("Memory of nodes", "bytes", (("sum by (instance) (skate_node_memory_bytes{OF})", "{{instance}}"),)),
    ),
    "Objects": (
        Panel("Object store", "bytes", (("sum by (state) (skate_store_bytes{OF})", "{{state}}"),), True),
        Panel(
            "Objects",
            "short",
            (("sum by (instance) (skate_objects{OF})", "{{instance}}"),),
        ),
        Panel(
            "Spilling",
            "Bps",
            (("sum by (direction) (rate(skate_spill_bytes_total{OF}[RATE]))", "{{direction}}"),),
        ),
        Panel("On the disk", "bytes", (("sum by (instance) (skate_spill_disk_bytes{OF})", "{{instance}}"),)),
        Panel(
            "Transfers",
            "Bps",
            (
                (
                    "sum by (instance, direction) (rate(skate_transfer_bytes_total{OF}[RATE]))",
                    "{{instance}} {{direction}}",
                ),
            ),
        ),
        Panel(
            "Transfers that failed",
            "ops",
            (("sum by (instance) (rate(skate_transfers_failed_total{OF}[RATE]))", "{{instance}}"),),
        ),
    ),
    "skate itself": (
        Panel(
            "How busy the loops are",
            "percentunit",
            (("rate(skate_loop_busy_seconds_total{OF}[RATE])", "{{instance}} {{process}}"),),
        ),
        Panel("Longest round", "s", (("skate_loop_longest_seconds{OF}", "{{instance}} {{process}}"),)),
        Panel(
            "Strangers refused, values dropped",
            "ops",
            (
                ("sum by (instance) (rate(skate_connections_refused_total{OF}[RATE]))", "{{instance}} refused"),
                ("sum by (instance) (rate(skate_metric_series_dropped_total{OF}[RATE]))", "{{instance}} dropped"),
            ),
        ),
    ),
}


def dashboard() -> dict[str, Any]:
    """The dashboard, as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS.items():
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": top},
                "panels": [],
            }
        )
        top += 1
        for at, panel in enumerate(row):
            x, y = at * WIDTH % COLUMNS, top + at * WIDTH // COLUMNS * HEIGHT
            panels.append(_panel(panel, len(panels) + 1, x, y))
        top += -(-len(row) * WIDTH // COLUMNS) * HEIGHT
    return {
        "uid": "skate",
        "title": "skate",
        "tags": ["skate"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timepicker": {},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": [_source(), _instances()]},
        "panels": panels,
    }


def _panel(panel: Panel, ident: int, x: int, y: int) -> dict[str, Any]:
    return {
        "id": ident,
        "type": "timeseries",
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": {"h": HEIGHT, "w": WIDTH, "x": x, "y": y},
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "custom": {
                    "drawStyle": "line",
                    "fillOpacity": 10,
                    "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
                },
            },
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {
                "refId": chr(ord("A") + at),
                "datasource": SOURCE,
                "expr": _full(ask),
                "legendFormat": legend,
                "range": True,
                "editorMode": "code",
            }
            for at, (ask, legend) in enumerate(panel.asks)
        ],
    }


def _full(ask: str) -> str:
    for short, full in _SHORT.items():
        ask = ask.replace(short, full)
    return ask


def _source() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}


def _instances() -> dict[str, Any]:
    question = "label_values(skate_node_info, instance)"
    return {
        "name": "instance",
        "label": "Node",
        "type": "query",
        "datasource": SOURCE,
        "definition": question,
        "query": {"query": question, "refId": "instance"},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "hide": 0,
        "sort": 1,
    }
