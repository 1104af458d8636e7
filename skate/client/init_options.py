"""What `init` tells the runtime that it starts."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from ..wire.config import SystemConfig


class InitOptions(Struct, frozen=True, eq=False):
    """The settings of a runtime on this machine, checked.

    Attributes:
        num_cpus, num_gpus: what the node offers; None means what the machine has.
        memory: bytes that tasks may ask for with `memory=`; None means what the machine has.
        resources: the user's own, name to amount.
        object_store_memory: bytes of shared memory for objects; None means a share of the machine's memory.
        namespace: of named actors; "" means one of its own for this job.
        log_to_driver: print the output of workers on the driver's terminal.
        temp_dir: where the session's folder is made; None means the system's place.
        system: about spilling and memory.
        labels: of the node, name to value.
        metrics_port: on loopback, for the metrics of the node that is started; 0 means none.
        tracing: "module:function" that sets up OpenTelemetry; "" means no spans.
        node_name: shown in the list of nodes; "" means the host's name.
        env: the environment of its tasks and actors, as text; "" is none.
    """

    num_cpus: float | None = None
    num_gpus: float | None = None
    memory: int | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    object_store_memory: int | None = None
    namespace: str = ""
    log_to_driver: bool = True
    temp_dir: str | None = None
    node_name: str = ""
    system: SystemConfig = field(default_factory=SystemConfig)
    labels: Mapping[str, str] = field(default_factory=dict)
    metrics_port: int = 0
    tracing: str = ""
    env: str = ""
