"""The state of the cluster, under the names of `ray.util.state`: what there is, what has happened, and what was printed.

Rows are objects with an attribute for each column; `row["name"]` and `dict(row)` work, too. What could not be asked is in
`missing` of the list, in words, and warned about.
"""

from .api import (
    StateApiClient,
    StateList,
    StateRow,
    get_actor,
    get_job,
    get_node,
    get_objects,
    get_placement_group,
    get_task,
    get_worker,
    list_actors,
    list_cluster_events,
    list_jobs,
    list_nodes,
    list_objects,
    list_placement_groups,
    list_runtime_envs,
    list_tasks,
    list_workers,
    summarize_actors,
    summarize_objects,
    summarize_tasks,
)
from .exception import RayStateApiException
from .logs import get_log, list_logs

__all__ = [
    "RayStateApiException",
    "StateApiClient",
    "StateList",
    "StateRow",
    "get_actor",
    "get_job",
    "get_log",
    "get_node",
    "get_objects",
    "get_placement_group",
    "get_task",
    "get_worker",
    "list_actors",
    "list_cluster_events",
    "list_jobs",
    "list_logs",
    "list_nodes",
    "list_objects",
    "list_placement_groups",
    "list_runtime_envs",
    "list_tasks",
    "list_workers",
    "summarize_actors",
    "summarize_objects",
    "summarize_tasks",
]
