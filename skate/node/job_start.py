"""What a job's entrypoint starts with: its folder and its environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..wire.jobs import JobSpec
from .logs import TAIL_BYTES, TAIL_LINES

if TYPE_CHECKING:
    from .service import Node


def prepare(spec: JobSpec, folder: Path) -> Path:
    """The working directory of a job."""
    return Path.home()


def environment(node: Node, spec: JobSpec, gpus: list[int]) -> dict[str, str]:
    """The environment of an entrypoint: `init()` in it attaches to this node, and `python` is the cluster's."""
    cluster = node.cluster
    assert cluster is not None
    address = f"{cluster.info.host}:{cluster.info.port}"
    config = {"runtime_env": spec.runtime_env, "metadata": spec.metadata}
    found = {
        **os.environ,
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "SKATE_ADDRESS": address,
        "RAY_ADDRESS": address,
        "SKATE_JOB_ID": spec.id,
        "SKATE_JOB_CONFIG": msgspec.json.encode(config).decode(),
        "SKATE_TEMP_DIR": str(node.session_dir.parent.parent),
    }
    if "GPU" in node.total:
        found["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
    for name, value in spec.runtime_env.get("env_vars", {}).items():
        found[name] = value
    return found


def last_lines(log: Path) -> list[str]:
    """The last lines that a job has printed."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
            lines = file.read().splitlines()[-TAIL_LINES:]
    except FileNotFoundError:
        return []
    return [line.decode(errors="replace") for line in lines]
