"""Options of `ray start` that mean nothing to skate: what they are for, and what is said about them.

Scripts that were written for Ray have them. One that can be left out without a loss is noted and has no effect; one that asks
for something that skate does not do is refused.
"""

from __future__ import annotations

import dataclasses
from typing import Any

ONE_PORT = "skate needs one port, --port"
NO_ISOLATION = "skate does not isolate resources with cgroups"


@dataclasses.dataclass(frozen=True)
class RayFlag:
    """An option of Ray's."""

    why: str
    refused: bool = False
    is_flag: bool = False


RAY_FLAGS: dict[str, RayFlag] = {
    "--object-manager-port": RayFlag(ONE_PORT),
    "--node-manager-port": RayFlag(ONE_PORT),
    "--gcs-server-port": RayFlag(ONE_PORT),
    "--min-worker-port": RayFlag("workers listen on no port"),
    "--max-worker-port": RayFlag("workers listen on no port"),
    "--worker-port-list": RayFlag("workers listen on no port"),
    "--ray-client-server-port": RayFlag("drivers on other machines use the node's one port, --port"),
    "--redis-shard-ports": RayFlag(ONE_PORT),
    "--dashboard-agent-listen-port": RayFlag("there is no agent"),
    "--dashboard-agent-grpc-port": RayFlag("there is no agent"),
    "--dashboard-grpc-port": RayFlag("there is no agent"),
    "--runtime-env-agent-port": RayFlag("there is no agent"),
    "--plasma-directory": RayFlag("objects lie in memory that needs no folder; see --object-spilling-directory"),
    "--no-monitor": RayFlag("there is no monitor", is_flag=True),
    "--log-style": RayFlag("what is printed is plain"),
    "--log-color": RayFlag("what is printed is plain"),
    "--redis-password": RayFlag("others could see it here: set SKATE_STORAGE=redis://:PASSWORD@HOST:PORT", True),
    "--redis-username": RayFlag("set SKATE_STORAGE=redis://USER:PASSWORD@HOST:PORT", True),
    "--autoscaling-config": RayFlag("there is no autoscaler", True),
    "--tracing-startup-hook": RayFlag("each program says it: set SKATE_TRACING=module:function for it", True),
    "--include-log-monitor": RayFlag("what workers print always goes to their driver", True),
    "--ray-debugger-external": RayFlag("there is no remote debugger", True, is_flag=True),
    "--enable-resource-isolation": RayFlag(NO_ISOLATION, True, is_flag=True),
    "--cgroup-path": RayFlag(NO_ISOLATION, True),
    "--system-reserved-cpu": RayFlag(NO_ISOLATION, True),
    "--system-reserved-memory": RayFlag(NO_ISOLATION, True),
}
"""By name. `--redis-password` and what is like it are refused, as a cluster without what they ask for is not what was meant."""


def parameter(name: str) -> str:
    """The name of the parameter that click makes of an option."""
    return name.removeprefix("--").replace("-", "_")


def take(options: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Take Ray's options out of all; what is to be noted about those that were given, and what is refused."""
    notes: list[str] = []
    refused: list[str] = []
    for name, flag in RAY_FLAGS.items():
        value = options.pop(parameter(name))
        if value not in (None, False):
            (refused if flag.refused else notes).append(
                f"{name} {'is refused' if flag.refused else 'has no effect'}: {flag.why}"
            )
    return notes, refused
