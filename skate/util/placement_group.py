"""Placement groups: resources on one or several nodes that are reserved together, all or none.

Tasks and actors run in a group with `PlacementGroupSchedulingStrategy`. What the group has reserved nobody else gets.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any

from ..api.labels import parse_selector
from ..api.lifecycle import get_runtime
from ..client.ids import Id
from ..client.refs import ObjectRef

STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")
_SMALLEST = 0.0001


class PlacementGroup:
    """A placement group; `placement_group()` makes it. It may be passed to tasks and actors.

    Example:
        >>> PlacementGroup("ab", [{"CPU": 1.0}]).bundle_count
        1
    """

    def __init__(self, id: str, bundles: list[dict[str, float]]) -> None:
        self._id = id
        self._bundles = bundles

    @property
    def id(self) -> Id:
        """The id, in hexadecimal."""
        return Id(self._id)

    @property
    def bundle_specs(self) -> list[dict[str, float]]:
        """The resources of each bundle."""
        return [dict(bundle) for bundle in self._bundles]

    @property
    def bundle_count(self) -> int:
        """The number of bundles."""
        return len(self._bundles)

    @property
    def is_empty(self) -> bool:
        """Whether it is no group at all."""
        return not self._id

    def ready(self) -> ObjectRef[PlacementGroup]:
        """A reference that is done, with this group as its value, when all resources are reserved.

        Example:
            >>> import skate
            >>> context = skate.init(num_cpus=2)
            >>> group = placement_group([{"CPU": 1}, {"CPU": 1}])
            >>> skate.get(group.ready()).bundle_count
            2
            >>> skate.shutdown()
        """
        found: ObjectRef[PlacementGroup] = get_runtime().groups.ready(self._id, self)
        return found

    def wait(self, timeout_seconds: float = 30) -> bool:
        """Wait until all resources are reserved.

        Args:
            timeout_seconds: how long at the most.

        Returns:
            Whether they are.
        """
        ready, _ = get_runtime().wait([self.ready()], 1, timeout_seconds, True)
        return bool(ready)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlacementGroup) and other._id == self._id

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        return f"PlacementGroup({self._id})"

    def _repr_html_(self) -> str:
        from ..client import current
        from ..client.display import facts

        row = placement_group_table(self) if current.runtime is not None else {}
        state = {"State": row["state"], "Strategy": row["strategy"], "Name": row["name"] or "none"} if row else {}
        bundles = "\n".join(str(bundle) for bundle in self._bundles)
        return facts("Placement group", {"Id": self._id, **state, "Bundles": bundles})


def placement_group(
    bundles: Sequence[Mapping[str, float]],
    strategy: str = "PACK",
    name: str = "",
    lifetime: str | None = None,
    bundle_label_selector: Sequence[Mapping[str, str]] | None = None,
    **unsupported: Any,
) -> PlacementGroup:
    """Reserve bundles of resources. Returns at once; `ready()` or `wait()` say when they are reserved.

    Args:
        bundles: the resources of each bundle, such as `{"CPU": 2, "GPU": 1}`; a bundle is on one node.
        strategy: "PACK" on few nodes, "SPREAD" on many; "STRICT_PACK" on one, "STRICT_SPREAD" each on a node of its own.
        name: for `get_placement_group`; it must be free.
        lifetime: "detached" for a group that outlives this program.
        bundle_label_selector: for each bundle the labels that its node must have.

    Raises:
        ValueError: a bundle is empty or has amounts that cannot be, or the strategy is none of the four.

    Example:
        >>> import skate
        >>> context = skate.init(num_cpus=4)
        >>> group = placement_group([{"CPU": 2}], strategy="STRICT_PACK")
        >>> group.wait(10)
        True
        >>> skate.available_resources()["CPU"]
        2.0
        >>> remove_placement_group(group)
        >>> skate.shutdown()
    """
    for option, value in unsupported.items():
        if value is not None:
            raise ValueError(f"placement_group() does not support {option}={value!r}.")
    checked = _check_bundles(bundles)
    if strategy not in STRATEGIES:
        raise ValueError(f"The strategy must be one of {', '.join(STRATEGIES)}, not {strategy!r}.")
    if lifetime not in (None, "detached"):
        raise ValueError(f'lifetime must be "detached" or None, not {lifetime!r}.')
    selectors = None
    if bundle_label_selector is not None:
        selectors = [_check_selector(each) for each in bundle_label_selector]
        if len(selectors) not in (1, len(checked)):
            raise ValueError(f"There are {len(checked)} bundles, but {len(selectors)} label selectors.")
        selectors *= len(checked) // len(selectors)
    runtime = get_runtime()
    return PlacementGroup(
        runtime.groups.create(checked, strategy, name or "", lifetime == "detached", selectors), checked
    )


def _check_bundles(bundles: Any) -> list[dict[str, float]]:
    if not isinstance(bundles, Sequence) or isinstance(bundles, (str, bytes)):
        raise ValueError(f"The bundles must be a list of dicts, not {type(bundles).__name__}.")
    if not bundles:
        raise ValueError("A placement group needs at least one bundle.")
    checked = []
    for bundle in bundles:
        if not isinstance(bundle, Mapping) or not all(isinstance(name, str) for name in bundle):
            raise ValueError(f"A bundle must be a dict from resource name to amount, not {bundle!r}.")
        for name, amount in bundle.items():
            if isinstance(amount, bool) or not isinstance(amount, (int, float)) or not 0 <= amount < float("inf"):
                raise ValueError(f"The bundle {dict(bundle)!r} has {amount!r} of {name}: it must be zero or more.")
            if 0 < amount < _SMALLEST:
                raise ValueError(
                    f"The bundle {dict(bundle)!r} has {amount!r} of {name}: the smallest amount is {_SMALLEST}."
                )
        amounts = {name: float(amount) for name, amount in bundle.items() if amount}
        if not amounts:
            raise ValueError(f"The bundle {dict(bundle)!r} is empty: it must have some resource.")
        checked.append(amounts)
    return checked


def _check_selector(selector: Any) -> dict[str, str]:
    if not isinstance(selector, Mapping) or not all(
        isinstance(name, str) and isinstance(value, str) and value for name, value in selector.items()
    ):
        raise ValueError(f'A label selector must be a dict such as {{"region": "in(us,eu)"}}, not {selector!r}.')
    parse_selector("bundle_label_selector", selector)
    return dict(selector)


def remove_placement_group(placement_group: PlacementGroup) -> None:
    """Give a group's resources back. Tasks and actors in it end, and fail.

    Args:
        placement_group: the group.
    """
    get_runtime().groups.remove(placement_group.id.hex())


def get_placement_group(placement_group_name: str) -> PlacementGroup:
    """The group of that name, in this program's namespace.

    Raises:
        ValueError: there is none.
    """
    runtime = get_runtime()
    for row in runtime.groups.table():
        if row["name"] == placement_group_name and row["namespace"] == runtime.namespace:
            return PlacementGroup(row["placement_group_id"], [dict(each) for each in row["bundles"].values()])
    raise ValueError(f"There is no placement group named {placement_group_name!r} in namespace {runtime.namespace!r}.")


def placement_group_table(placement_group: PlacementGroup | None = None) -> dict[str, Any]:
    """How groups stand: bundles, the nodes that they are on, state, and why one is pending.

    Args:
        placement_group: the one to look at.

    Returns:
        Its row, empty if it is not there; without an argument, all rows by id.
    """
    rows = {row["placement_group_id"]: row for row in get_runtime().groups.table()}
    if placement_group is None:
        return rows
    found: dict[str, Any] = rows.get(placement_group.id, {})
    return found


def get_current_placement_group() -> PlacementGroup | None:
    """The group that the running task or actor is in; None outside of one.

    Example:
        >>> import skate
        >>> context = skate.init(num_cpus=1)
        >>> get_current_placement_group() is None
        True
        >>> skate.shutdown()
    """
    from ..client.specs import group_of

    runtime = get_runtime()
    group, _ = group_of(runtime.context().resources)
    if not group:
        return None
    row = next((row for row in runtime.groups.table() if row["placement_group_id"] == group), None)
    return PlacementGroup(group, [dict(each) for each in row["bundles"].values()] if row else [])


class _Callable(types.ModuleType):
    """`util.placement_group` is a function and a module: whichever is imported first, the name can be called."""

    def __call__(self, *args: Any, **kwargs: Any) -> PlacementGroup:
        return placement_group(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
