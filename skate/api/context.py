"""What `init` returns."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..version import __version__

if TYPE_CHECKING:
    from ..client.waist import Runtime


class RayContext(Mapping[str, Any]):
    """Describes the session: a mapping of addresses and ids, and a context manager that ends the session.

    Attributes:
        address_info: the mapping, as a dict.
        dashboard_url: "" when there is no dashboard.
        python_version, skate_version, ray_version: versions, as text; the last two are the same.

    Example:
        >>> import skate
        >>> with skate.init(mode="inline") as context:
        ...     context.dashboard_url
        ''
    """

    def __init__(self, runtime: Runtime) -> None:
        context = runtime.context()
        nodes = runtime.nodes()
        node = next((each for each in nodes if each.get("NodeID") == context.node_id), {})
        address = head_or_host(runtime)
        self.address_info: dict[str, Any] = {
            "address": address,
            "gcs_address": address,
            "node_ip_address": node.get("NodeManagerAddress", ""),
            "node_id": context.node_id,
            "session_dir": context.session_dir,
            "webui_url": "",
        }
        self.dashboard_url = ""
        self.python_version = platform.python_version()
        self.skate_version = self.ray_version = __version__
        self._runtime = runtime

    def __getitem__(self, key: str) -> Any:
        return self.address_info[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.address_info)

    def __len__(self) -> int:
        return len(self.address_info)

    def __enter__(self) -> RayContext:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.disconnect()

    def disconnect(self) -> None:
        """Shut the session down; nothing happens when it has ended or another one has begun."""
        from ..client import current
        from .lifecycle import shutdown

        if current.runtime is self._runtime:
            shutdown()

    def __repr__(self) -> str:
        return f"SkateContext(version={self.skate_version!r}, node_id={self['node_id']!r})"

    def _repr_html_(self) -> str:
        from ..client.display import facts

        rows = {
            "Python version": self.python_version,
            "skate version": self.skate_version,
            "Node": self["node_id"],
            "Session": self["session_dir"],
            "Dashboard": self.dashboard_url or "off",
        }
        return facts("skate", rows)


def head_or_host(runtime: Runtime) -> str:
    """Where the head is, as host:port; where there is none, the host of the only node."""
    return runtime.head_address() or next((str(node.get("NodeManagerAddress", "")) for node in runtime.nodes()), "")


SkateContext = RayContext
