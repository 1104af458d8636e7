"""Where Prometheus finds the nodes: `prometheus-sd.json` in the session's folder of the head, as its `file_sd_configs` reads it.

The file is written anew when a node has joined, ended or moved, and never half: it is made under another name.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..wire.cluster import DEAD, NodeInfo

NAME = "prometheus-sd.json"


def targets(nodes: Iterable[NodeInfo]) -> list[dict[str, Any]]:
    """The nodes that are to be asked, in the words of Prometheus."""
    return [
        {
            "targets": [f"[{info.host}]:{info.port}" if ":" in info.host else f"{info.host}:{info.port}"],
            "labels": {"job": "skate", "skate_node": info.name, "skate_node_no": str(info.no)},
        }
        for info in nodes
        if info.state != DEAD
    ]


class Discovery:
    """The file of one cluster."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._written: list[dict[str, Any]] | None = None

    def update(self, nodes: Iterable[NodeInfo]) -> None:
        """Nodes may have changed."""
        found = targets(nodes)
        if found == self._written:
            return
        new = self._path.with_suffix(".new")
        try:
            new.write_text(json.dumps(found, indent=1))
            new.chmod(0o600)
            new.replace(self._path)
        except OSError as error:
            print(f"{self._path} cannot be written: {error}", file=sys.stderr, flush=True)
        self._written = found
