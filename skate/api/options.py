"""The options of tasks, actors and methods: one table of names, what each may be, and where it is allowed.

To add an option: a line in `_TABLE`, a field in `client/specs.py`, and its use in the function that builds
the spec's options at the end of this file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

from ..client.specs import DYNAMIC, SPREAD, STREAMING, ActorOptions, MethodOptions, TaskOptions, group_request
from ..exceptions import UnsupportedError
from .arity import closest
from .labels import add_labels, check_fallback, check_selector, parse_strategy

UNIT = 10_000
"""Resources are counted in steps of 1/10000."""

DEFAULT_ASYNC_CONCURRENCY = 1000
_UNLIMITED = -1
_ACCELERATOR_SHARE = 0.001

Check = Callable[[str, Any], None]


class Option(NamedTuple):
    """One option: where it is allowed (letters of t(ask), a(ctor), m(ethod)) and how its value is checked."""

    where: str
    check: Check


def _fail(name: str, value: Any, wanted: str, kind: type[Exception] = ValueError) -> NoReturn:
    raise kind(f"The option {name} must be {wanted}, not {value!r}.")


def _number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        _fail(name, value, "a number", TypeError)


def _amount(name: str, value: Any) -> None:
    if value is None:
        return
    _number(name, value)
    if not 0 <= value < float("inf"):
        _fail(name, value, "zero or more, and finite")
    if value and value * UNIT < 1:
        _fail(name, value, f"zero or at least {1 / UNIT:g}, the smallest amount")


def _gpus(name: str, value: Any) -> None:
    _amount(name, value)
    if value is not None and value > 1 and value != int(value):
        _fail(name, value, "a whole number when it is above 1: several GPUs cannot be shared in part")


def _resources(name: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, Mapping):
        _fail(name, value, "a dict from resource name to amount", TypeError)
    for key, amount in value.items():
        if not isinstance(key, str) or not key:
            _fail(name, key, "a dict whose keys are names", TypeError)
        if key in ("CPU", "GPU", "memory"):
            short = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}[key]
            raise ValueError(f"The option {name} must not contain {key!r}: use the option {short} for it.")
        _amount(f"{name}[{key!r}]", amount)
        if amount is None:
            _fail(f"{name}[{key!r}]", amount, "a number", TypeError)


def _count(low: int, optional: bool = True) -> Check:
    def check(name: str, value: Any) -> None:
        if value is None and optional:
            return
        if isinstance(value, bool) or not isinstance(value, int):
            _fail(name, value, "an int", TypeError)
        if value < low:
            _fail(name, value, f"{low} or more" + (", where -1 means without limit" if low == _UNLIMITED else ""))

    return check


def _text(name: str, value: Any) -> None:
    if value is not None and not isinstance(value, str):
        _fail(name, value, "a string", TypeError)


def _name(name: str, value: Any) -> None:
    _text(name, value)
    if value == "":
        _fail(name, value, "a string that is not empty")


def _flag(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        _fail(name, value, "True or False", TypeError)


def _optional_flag(name: str, value: Any) -> None:
    if value is not None:
        _flag(name, value)


def _num_returns(name: str, value: Any) -> None:
    if value is None or value in ("streaming", "dynamic"):
        return
    if isinstance(value, str):
        _fail(name, value, 'an int, "streaming" or "dynamic"')
    _count(0)(name, value)


def _retry_exceptions(name: str, value: Any) -> None:
    if value is None or isinstance(value, bool):
        return
    if not isinstance(value, (list, tuple)):
        _fail(name, value, "True, False or a list of exception classes", TypeError)
    for item in value:
        if not (isinstance(item, type) and issubclass(item, BaseException)):
            _fail(name, item, "True, False or a list of exception classes")


def _backpressure(name: str, value: Any) -> None:
    _count(_UNLIMITED)(name, value)
    if value == 0:
        _fail(name, value, "1 or more, or -1 for no limit")


def _strategy(name: str, value: Any) -> None:
    if value is None or value in ("DEFAULT", "SPREAD"):
        return
    if isinstance(value, str):
        _fail(name, value, '"DEFAULT", "SPREAD" or a NodeAffinitySchedulingStrategy')
    kind = type(value).__name__
    if kind == "NodeAffinitySchedulingStrategy":
        return
    if kind == "NodeLabelSchedulingStrategy":
        parse_strategy(value)
        return
    if kind == "PlacementGroupSchedulingStrategy":
        _bundle(name, value)
        return
    _fail(name, value, '"DEFAULT", "SPREAD" or one of skate.util.scheduling_strategies', TypeError)


def _bundle(name: str, value: Any) -> None:
    group, index = value.placement_group, value.placement_group_bundle_index
    if not isinstance(getattr(group, "id", None), str):
        _fail(f"{name}.placement_group", group, "a placement group", TypeError)
    if isinstance(index, bool) or not isinstance(index, int):
        _fail(f"{name}.placement_group_bundle_index", index, "an int", TypeError)
    if not -1 <= index < max(1, group.bundle_count):
        _fail(
            f"{name}.placement_group_bundle_index", index, f"-1 for any bundle, or one of 0 to {group.bundle_count - 1}"
        )


def _lifetime(name: str, value: Any) -> None:
    if value not in (None, "detached", "non_detached"):
        _fail(name, value, '"detached", "non_detached" or None')


def _groups(name: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, Mapping):
        _fail(name, value, "a dict from group name to the number of calls at the same time", TypeError)
    for key, number in value.items():
        _name(f"the name of a group in {name}", key)
        _count(1, optional=False)(f"{name}[{key!r}]", number)


def _unsupported(what: str, *harmless: Any) -> Check:
    def check(name: str, value: Any) -> None:
        if value is not None and value not in harmless:
            raise UnsupportedError(f"The option {name}={value!r} is not supported: {what}.")

    return check


_NO_GROUPS = "use scheduling_strategy=PlacementGroupSchedulingStrategy(...)"

_TABLE: dict[str, Option] = {
    "num_cpus": Option("ta", _amount),
    "num_gpus": Option("ta", _gpus),
    "memory": Option("ta", _amount),
    "resources": Option("ta", _resources),
    "accelerator_type": Option("ta", _name),
    "name": Option("ta", _name),
    "scheduling_strategy": Option("ta", _strategy),
    "enable_task_events": Option("tam", _flag),
    "num_returns": Option("tm", _num_returns),
    "max_retries": Option("t", _count(_UNLIMITED)),
    "retry_exceptions": Option("tm", _retry_exceptions),
    "max_calls": Option("t", _count(0)),
    "namespace": Option("a", _name),
    "get_if_exists": Option("a", _flag),
    "lifetime": Option("a", _lifetime),
    "max_restarts": Option("a", _count(_UNLIMITED)),
    "max_task_retries": Option("am", _count(_UNLIMITED)),
    "max_concurrency": Option("a", _count(1)),
    "concurrency_groups": Option("a", _groups),
    "concurrency_group": Option("m", _name),
    "max_pending_calls": Option("a", _count(_UNLIMITED)),
    "allow_out_of_order_execution": Option("a", _optional_flag),
    "_generator_backpressure_num_objects": Option("tm", _backpressure),
    "_generator_lends_cpu": Option("t", _optional_flag),
    "runtime_env": Option("ta", lambda name, value: None),  # read when the options are built
    "placement_group": Option("ta", _unsupported(_NO_GROUPS, "default")),
    "placement_group_bundle_index": Option("ta", _unsupported(_NO_GROUPS, -1)),
    "placement_group_capture_child_tasks": Option("ta", _unsupported(_NO_GROUPS, False)),
    "label_selector": Option("ta", check_selector),
    "fallback_strategy": Option("ta", check_fallback),
    "_labels": Option("ta", _unsupported("use label_selector for the labels of nodes", {})),
    "object_store_memory": Option("ta", _unsupported("a task cannot reserve room in the object store")),
    "enable_tensor_transport": Option("a", _unsupported("skate has no transport between devices", False)),
    "tensor_transport": Option("m", _unsupported("skate has no transport between devices", "object_store")),
    "_num_objects_per_yield": Option("t", _unsupported("a generator yields one object at a time", 1)),
    "_actor_generator_backpressure_num_objects": Option(
        "a", _unsupported("use _generator_backpressure_num_objects of the methods", -1)
    ),
}

_KINDS = {"t": "tasks", "a": "actors", "m": "actor methods"}


def check_options(options: Mapping[str, Any], kind: str) -> None:
    """Check names and values.

    Args:
        options: what the user gave.
        kind: "t" for a task, "a" for an actor, "m" for a method.

    Raises:
        ValueError: an unknown option, or a value out of range.
        TypeError: a value of the wrong type.
        UnsupportedError: an option of Ray's that skate does not have.
    """
    for name, value in options.items():
        option = _TABLE.get(name)
        if option is None or kind not in option.where:
            _unknown(name, kind)
        option.check(name, value)


def _unknown(name: str, kind: str) -> NoReturn:
    valid = valid_options(kind)
    close = closest(name, valid)
    hint = f" Did you mean {close!r}?" if close else ""
    known = _TABLE.get(name)
    other = f" It is an option of {' and '.join(_KINDS[each] for each in known.where)}." if known else ""
    raise ValueError(f"{name!r} is not an option of {_KINDS[kind]}.{hint}{other} Valid options: {', '.join(valid)}.")


def valid_options(kind: str) -> list[str]:
    """The names of all options of a kind."""
    return [name for name, option in _TABLE.items() if kind in option.where]


def _resource_request(options: Mapping[str, Any], default_cpus: float) -> dict[str, float]:
    """Name to amount, rounded to the unit, zero amounts left out."""
    cpus = options.get("num_cpus")
    amounts = {"CPU": default_cpus if cpus is None else cpus, "GPU": options.get("num_gpus") or 0}
    amounts["memory"] = options.get("memory") or 0
    amounts.update(options.get("resources") or {})
    if options.get("accelerator_type"):
        amounts[f"accelerator_type:{options['accelerator_type']}"] = _ACCELERATOR_SHARE
    return {name: round(amount * UNIT) / UNIT for name, amount in amounts.items() if amount}


def _returns(given: Any, is_generator: bool) -> int:
    if given is None:
        return STREAMING if is_generator else 1
    if isinstance(given, str):
        return STREAMING if given == "streaming" else DYNAMIC
    return int(given)


def _retried(given: Any) -> tuple[type[BaseException], ...]:
    if isinstance(given, bool) or given is None:
        return (Exception,) if given else ()
    return tuple(given)


def _in_group(options: Mapping[str, Any], resources: dict[str, float]) -> dict[str, float]:
    """The request as one for a bundle, if the options say so.

    Raises:
        ValueError: no bundle is that large.
    """
    strategy: Any = options.get("scheduling_strategy")
    if type(strategy).__name__ != "PlacementGroupSchedulingStrategy":
        return resources
    group, index = strategy.placement_group, strategy.placement_group_bundle_index
    bundles = group.bundle_specs
    could = bundles if index < 0 else bundles[index : index + 1]
    if bundles and not any(all(each.get(name, 0) >= amount for name, amount in resources.items()) for each in could):
        raise ValueError(
            f"The request {resources} does not fit into any of the bundles {could} of the placement group."
        )
    return group_request(resources, group.id, index, bool(strategy.placement_group_capture_child_tasks))


def _affinity(options: Mapping[str, Any]) -> tuple[str, bool]:
    strategy = options.get("scheduling_strategy")
    if strategy == SPREAD:
        return SPREAD, True
    if strategy is None or isinstance(strategy, str) or not hasattr(strategy, "node_id"):
        return "", False
    return strategy.node_id, bool(strategy.soft)


def _environment(options: Mapping[str, Any]) -> str:
    if not options.get("runtime_env"):
        return ""
    from .environments import read_environment

    return read_environment(options["runtime_env"])


def _default(options: Mapping[str, Any], name: str, default: Any) -> Any:
    value = options.get(name)
    return default if value is None else value


def default_max_retries() -> int:
    """How often a task is retried when its options don't say; `RAY_TASK_MAX_RETRIES` sets it."""
    text = os.environ.get("SKATE_TASK_MAX_RETRIES") or os.environ.get("RAY_TASK_MAX_RETRIES")
    if not text:
        return 3
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"RAY_TASK_MAX_RETRIES must be a whole number, not {text!r}.") from None


def build_task_options(options: Mapping[str, Any], name: str, is_generator: bool) -> TaskOptions:
    """Check the user's options of a task and fill in the defaults."""
    check_options(options, "t")
    resources = _resource_request(options, 1.0)
    node_id, soft = _affinity(options)
    retries = options.get("max_retries")
    return TaskOptions(
        name=options.get("name") or name,
        resources=add_labels(_in_group(options, resources), options),
        num_returns=_returns(options.get("num_returns"), is_generator),
        max_retries=default_max_retries() if retries is None else retries,
        retry_exceptions=_retried(options.get("retry_exceptions")),
        max_calls=_default(options, "max_calls", 1 if resources.get("GPU") else 0),
        backpressure=max(0, _default(options, "_generator_backpressure_num_objects", 0)),
        lends=bool(options.get("_generator_lends_cpu")),
        node_id=node_id,
        node_soft=soft,
        env=_environment(options),
    )


def build_actor_options(options: Mapping[str, Any], class_name: str, is_async: bool) -> ActorOptions:
    """Check the user's options of an actor and fill in the defaults."""
    check_options(options, "a")
    if options.get("get_if_exists") and not options.get("name"):
        raise ValueError("get_if_exists=True needs the option name, to know which actor to look for.")
    # Ray's rule: without num_cpus an actor needs one CPU to be placed, and holds none while it lives.
    resources = _resource_request(options, 0.0)
    placement = _resource_request(options, 1.0)
    node_id, soft = _affinity(options)
    concurrency = _default(options, "max_concurrency", DEFAULT_ASYNC_CONCURRENCY if is_async else 1)
    if options.get("allow_out_of_order_execution") is False and concurrency > 1:
        raise UnsupportedError("allow_out_of_order_execution=False needs max_concurrency=1: other calls may overtake.")
    return ActorOptions(
        class_name=class_name,
        name=options.get("name") or "",
        namespace=options.get("namespace") or "",
        get_if_exists=options.get("get_if_exists", False),
        detached=options.get("lifetime") == "detached",
        resources=_in_group(options, resources),
        placement=add_labels(_in_group(options, resources or placement), options),
        max_restarts=_default(options, "max_restarts", 0),
        max_task_retries=_default(options, "max_task_retries", 0),
        max_concurrency=concurrency,
        concurrency_groups=dict(options.get("concurrency_groups") or {}),
        max_pending_calls=_default(options, "max_pending_calls", -1),
        is_async=is_async,
        node_id=node_id,
        node_soft=soft,
        env=_environment(options),
    )


def build_method_options(
    options: Mapping[str, Any], name: str, is_generator: bool, default_retries: int
) -> MethodOptions:
    """Check the user's options of a method and fill in the defaults."""
    check_options(options, "m")
    return MethodOptions(
        name=name,
        num_returns=_returns(options.get("num_returns"), is_generator),
        max_task_retries=_default(options, "max_task_retries", default_retries),
        retry_exceptions=_retried(options.get("retry_exceptions")),
        concurrency_group=options.get("concurrency_group") or "",
        backpressure=max(0, _default(options, "_generator_backpressure_num_objects", 0)),
    )
