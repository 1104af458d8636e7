"""Who runs here: the ids and names of the job, node, worker, task and actor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .api.actors import ActorHandle
from .api.lifecycle import get_runtime
from .client.specs import group_of, own_resources

if TYPE_CHECKING:
    from .client.waist import Runtime, TaskContext
    from .runtime_env import RuntimeEnv


class RuntimeContext:
    """Describes the task, actor or driver that asks. Made by `skate.get_runtime_context()`.

    Ids are hexadecimal text. What does not exist in a place (the task's id in a driver) is None.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @property
    def _now(self) -> TaskContext:
        return self._runtime.context()

    def get(self) -> dict[str, Any]:
        """The job's and node's ids, the namespace, and in a task or actor its ids too."""
        now = self._now
        found: dict[str, Any] = {"job_id": now.job_id, "node_id": now.node_id, "namespace": now.namespace}
        if now.task_id:
            found["task_id"] = now.task_id
        if now.actor_id:
            found["actor_id"] = now.actor_id
        return found

    def get_job_id(self) -> str:
        """The id of the program."""
        return self._now.job_id

    def get_node_id(self) -> str:
        """The id of the node that this runs on."""
        return self._now.node_id

    def get_worker_id(self) -> str:
        """The id of this process."""
        return self._now.worker_id

    def get_task_id(self) -> str | None:
        """The id of the running task or actor call; None in a driver."""
        return self._now.task_id or None

    def get_task_name(self) -> str | None:
        """The name of the running task, from its option `name` or its function."""
        return self._now.task_name or None

    def get_task_function_name(self) -> str | None:
        """The name of the function that runs, with its module."""
        return self._now.function_name or None

    def get_actor_id(self) -> str | None:
        """The id of the actor; None outside of one."""
        return self._now.actor_id or None

    def get_actor_name(self) -> str | None:
        """The name of the actor, "" if it has none; None outside of an actor."""
        now = self._now
        return now.actor_name if now.actor_id else None

    @property
    def namespace(self) -> str:
        """The namespace of this program's named actors."""
        return self._now.namespace

    @property
    def was_current_actor_reconstructed(self) -> bool:
        """True when the actor has been started again after its process died."""
        return self._now.restarted

    @property
    def current_actor(self) -> ActorHandle[Any]:
        """A handle to the actor that this runs in.

        Raises:
            RuntimeError: outside of an actor.
        """
        found = self._now.actor_ref
        if found is None:
            raise RuntimeError("There is no current actor: this code does not run in one.")
        return ActorHandle(*found())

    def get_assigned_resources(self) -> dict[str, float]:
        """The resources that the task or actor holds; empty in a driver."""
        return own_resources(self._now.resources)

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        """The accelerators given to the task or actor, by kind ("GPU")."""
        found = {"GPU": list[str]()}
        found.update({kind: list(ids) for kind, ids in self._now.accelerator_ids.items()})
        return found

    get_resource_ids = get_accelerator_ids

    def get_node_labels(self) -> dict[str, str]:
        """The labels of the node."""
        wanted = self._now.node_id
        for node in self._runtime.nodes():
            if node.get("NodeID") == wanted:
                return dict(node.get("Labels") or {})
        return {}

    def get_placement_group_id(self) -> str | None:
        """The id of the placement group that the task or actor is in; None outside of one."""
        return group_of(self._now.resources)[0] or None

    @property
    def should_capture_child_tasks_in_placement_group(self) -> bool:
        """Whether what the task or actor starts runs in its placement group, too."""
        return group_of(self._now.resources)[1]

    def get_runtime_env_string(self) -> str:
        """The runtime environment as JSON. Folders are in it as the packages that they were made."""
        return self._now.runtime_env or "{}"

    @property
    def runtime_env(self) -> RuntimeEnv:
        """The runtime environment that this runs in, or, in a driver, that its tasks and actors do."""
        from .runtime_env import RuntimeEnv

        return RuntimeEnv.deserialize(self.get_runtime_env_string())

    @property
    def gcs_address(self) -> str:
        """Where the head of the cluster is, as host:port; of a program that is in no cluster, the host."""
        from .api.context import head_or_host

        return head_or_host(self._runtime)

    def get_temp_dir(self) -> str:
        """The folder in which sessions keep their files."""
        import os

        return os.path.dirname(self._now.session_dir)

    def get_session_name(self) -> str:
        """The name of the session, which is also that of its folder."""
        return self._now.session

    def is_canceled(self) -> bool:
        """True when somebody cancelled the task that runs; a task that takes long should look."""
        return self._now.is_canceled()

    # Ray's older names, as properties.
    job_id = property(get_job_id)
    node_id = property(get_node_id)
    worker_id = property(get_worker_id)
    task_id = property(get_task_id)
    actor_id = property(get_actor_id)
    current_placement_group_id = property(get_placement_group_id)


def get_runtime_context() -> RuntimeContext:
    """Describes the task, actor or driver that asks.

    Example:
        >>> import skate
        >>> context = skate.init(mode="inline")
        >>> skate.get_runtime_context().get_task_id() is None
        True
        >>> skate.shutdown()
    """
    return RuntimeContext(get_runtime())
