"""What there is: nodes and resources."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

from .lifecycle import get_runtime

if TYPE_CHECKING:
    from .overview import Overview


def cluster() -> Overview:
    """The cluster at this moment, for people: its nodes, what is in use there, what waits and why.

    A notebook shows it as a table.

    Example:
        >>> import skate
        >>> context = skate.init(mode="inline", num_cpus=3)
        >>> print(skate.cluster())
        cluster of 1 node
          0  ... alive  0/3 CPU...
        >>> skate.shutdown()
    """
    from .overview import Overview

    return Overview(get_runtime().status())


def nodes() -> list[dict[str, Any]]:
    """The nodes of the cluster, each a dict with NodeID, Alive, NodeManagerAddress, NodeName, Resources, ...

    Example:
        >>> import skate
        >>> context = skate.init(mode="inline")
        >>> skate.nodes()[0]["Alive"]
        True
        >>> skate.shutdown()
    """
    return get_runtime().nodes()


def cluster_resources() -> dict[str, float]:
    """The sum of the resources of all nodes, by name.

    Example:
        >>> import skate
        >>> context = skate.init(mode="inline", num_cpus=3)
        >>> skate.cluster_resources()["CPU"]
        3.0
        >>> skate.shutdown()
    """
    return get_runtime().cluster_resources()


def available_resources() -> dict[str, float]:
    """The resources that nobody uses at the moment, by name; those of which nothing is left are not in it.

    Example:
        >>> import skate
        >>> context = skate.init(mode="inline", num_cpus=3)
        >>> skate.available_resources()["CPU"]
        3.0
        >>> skate.shutdown()
    """
    return get_runtime().available_resources()


def get_gpu_ids() -> list[int] | list[str]:
    """The GPUs given to the task or actor that asks; all visible ones in a driver."""
    ids = list(get_runtime().context().accelerator_ids.get("GPU", []))
    return [int(each) for each in ids] if all(each.isdigit() for each in ids) else ids


def list_named_actors(all_namespaces: bool = False) -> list[Any]:
    """The names of the living named actors of this namespace.

    Args:
        all_namespaces: those of all namespaces, as dicts with "name" and "namespace".
    """
    found = get_runtime().list_named_actors(all_namespaces)
    if all_namespaces:
        return [{"namespace": namespace, "name": name} for namespace, name in found]
    return [name for _, name in found]


def timeline(filename: str | None = None) -> list[dict[str, Any]] | None:
    """A trace of all tasks that have ended, for chrome://tracing and https://ui.perfetto.dev.

    Args:
        filename: where it is written, as JSON; None: it is returned.

    Returns:
        The events of the trace, or None if they were written.
    """
    from ..client import observing, state

    get_runtime()
    events, missing = state.timeline(observing.require())
    if missing:
        warnings.warn("the timeline is not complete: " + "; ".join(missing), stacklevel=2)
    if filename is None:
        return events
    with open(filename, "w") as file:
        json.dump(events, file)
    return None
