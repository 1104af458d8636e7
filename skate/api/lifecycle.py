"""`init` and `shutdown`, and the start by itself at the first use.

A driver has at most one runtime, held in `client.current`; a worker has one from its start. Everything else in
`api/` gets it with `get_runtime`, which starts one in a driver that never called `init`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from msgspec.structs import replace

from ..client import current
from ..client.init_options import InitOptions
from ..client.job_config import with_job
from ..exceptions import AuthenticationError, ClusterConnectionError, RaySystemError, UnsupportedError
from .arity import closest
from .labels import check_labels
from .options import check_options

if TYPE_CHECKING:
    from ..client.sessions import Session
    from ..client.tracing import Tracing
    from ..client.waist import Runtime
    from .context import RayContext

_lock = threading.RLock()
"""Two threads that use skate for the first time at the same moment start it once."""

_state: dict[str, Any] = {"context": None, "atexit": False, "session": None, "dashboard": None}

_OF_RUNTIME = ("context", "session", "dashboard")
"""What in `_state` is the running runtime's."""

_HIDDEN = {
    "_memory": True,
    "_temp_dir": True,
    "_node_name": True,
    "object_spilling_directory": True,
    "_enable_object_reconstruction": False,
    "_plasma_directory": False,
    "_node_ip_address": False,
    "_redis_username": False,
    "_redis_password": False,
    "_metrics_export_port": True,
    "_system_config": True,
    "_tracing_startup_hook": True,
    "_driver_object_store_memory": False,
    "_cluster_id": False,
}
"""Arguments that Ray takes beside the documented ones, and whether skate has them."""


def init(
    address: str | None = None,
    *,
    mode: Literal["inline"] | None = None,
    num_cpus: int | None = None,
    num_gpus: int | None = None,
    resources: Mapping[str, float] | None = None,
    labels: Mapping[str, str] | None = None,
    object_store_memory: int | None = None,
    local_mode: bool = False,
    ignore_reinit_error: bool = False,
    include_dashboard: bool | None = None,
    dashboard_host: str = "127.0.0.1",
    dashboard_port: int | None = None,
    job_config: Any = None,
    configure_logging: bool = True,
    logging_level: int | str = "info",
    logging_format: str | None = None,
    logging_config: Any = None,
    log_to_driver: bool | None = None,
    namespace: str | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    enable_resource_isolation: bool = False,
    cgroup_path: str | None = None,
    system_reserved_cpu: float | None = None,
    system_reserved_memory: int | None = None,
    proxy_server_url: str | None = None,
    **hidden: Any,
) -> RayContext:
    """Start skate in this process; called by itself at the first use if you don't.

    Args:
        address: "HOST:PORT" is the head of a cluster, "auto" the cluster that this machine is in, "local" a new instance for this
            program alone. None looks at SKATE_ADDRESS and RAY_ADDRESS, then for a cluster that `skate start` has started on this
            machine, and else is "local", as it is whenever you say what resources there should be.
        mode: "inline" runs every task and actor in this process and thread, so that a debugger works.
        num_cpus, num_gpus: how many CPUs and GPUs tasks may ask for; None is what the machine has.
        resources: amounts of your own resources, by name.
        object_store_memory: bytes of shared memory for objects; None is a share of the machine's memory.
        ignore_reinit_error: a second `init` returns the context of the first, rather than raise.
        configure_logging, logging_level, logging_format: set up the logger "skate" in this process.
        log_to_driver: print what tasks and actors print; None is True.
        namespace: where named actors of this program live; None is a namespace of its own.
        labels: of this node, name to value, for the option `label_selector`.
        _memory: bytes that tasks may ask for with `memory=`.
        object_spilling_directory: the folder or fsspec URL for objects that do not fit into memory; None is the session's folder.
        _system_config: settings of spilling and of the memory monitor, by name: see docs/objects.md. They count for a node that
            this call starts.
        _metrics_export_port: a port on loopback for the metrics of a node that this call starts: see docs/metrics.md.
        _tracing_startup_hook: "module:function" that sets OpenTelemetry up, called here and in workers; None is SKATE_TRACING.
        _temp_dir, _node_name: where the session's files go, and the name of this node.
        runtime_env: what tasks and actors of this program run in, unless they say otherwise: see docs/runtime-env.md. In a job
            that was submitted with one, that counts for what is not said here.
        include_dashboard: True starts a dashboard that ends with this program; needs `skate[dashboard]`. None is False.
        dashboard_host, dashboard_port: where it listens; None is 8265, or one of the next that is free.
        local_mode, job_config, logging_config, enable_resource_isolation, cgroup_path, system_reserved_cpu,
            system_reserved_memory, proxy_server_url: known from Ray; they raise `UnsupportedError` when they ask for something.

    Returns:
        A mapping that describes the session, and a context manager that shuts it down.

    Raises:
        RuntimeError: skate runs already.
        ConnectionError: there is no cluster at `address`.
        UnsupportedError: the call asks for something that skate does not do.

    Example:
        >>> import skate
        >>> with skate.init(mode="inline") as context:
        ...     skate.is_initialized()
        True
    """
    _refuse(
        job_config=job_config, logging_config=logging_config,
        enable_resource_isolation=enable_resource_isolation, cgroup_path=cgroup_path,
        system_reserved_cpu=system_reserved_cpu, system_reserved_memory=system_reserved_memory,
        proxy_server_url=proxy_server_url,
    )  # fmt: skip
    _check_hidden(hidden)
    if local_mode:
        raise UnsupportedError('local_mode=True is gone: use skate.init(mode="inline").')
    if mode not in (None, "inline"):
        raise ValueError(f'mode must be None or "inline", not {mode!r}.')
    if include_dashboard:
        _check_dashboard(mode)
    elif dashboard_port is not None or dashboard_host != "127.0.0.1":
        import warnings

        words = (
            "No dashboard is started without include_dashboard=True: dashboard_host and dashboard_port have no effect."
        )
        warnings.warn(words, stacklevel=2)
    env = ""
    runtime_env = with_job(runtime_env) if mode is None else runtime_env
    if runtime_env:
        from .environments import read_environment

        env = read_environment(runtime_env)
    options = _init_options(
        num_cpus, num_gpus, resources, object_store_memory, namespace, log_to_driver is not False, hidden,
        check_labels("init(labels=...)", labels or {}), env,
    )  # fmt: skip
    if configure_logging:
        _configure_logging(logging_level, logging_format)
    with _lock:
        given = (
            num_cpus,
            num_gpus,
            object_store_memory,
            hidden.get("_system_config"),
            hidden.get("_metrics_export_port"),
            hidden.get("object_spilling_directory"),
        )
        asks = bool(resources) or bool(labels) or any(value is not None for value in given)
        again = current.runtime is not None
        context = _start(options, mode, ignore_reinit_error, address, asks)
        if include_dashboard and not again:
            _start_dashboard(context, dashboard_host, dashboard_port, options.temp_dir)
        return context


def _start(
    options: InitOptions, mode: str | None, ignore_reinit_error: bool, address: str | None, asks_for_resources: bool
) -> RayContext:
    from .context import RayContext

    if current.runtime is not None:
        if not ignore_reinit_error:
            raise RuntimeError(
                "skate runs already in this process: call skate.shutdown() first, or pass ignore_reinit_error=True."
            )
        return _state["context"] or RayContext(current.runtime)
    runtime: Runtime
    session = None
    tracing: Tracing | None = None
    if mode == "inline" and (options.tracing or options.metrics_port):
        raise UnsupportedError(
            "mode='inline' makes no spans and serves no metrics: leave _tracing_startup_hook, SKATE_TRACING and "
            "_metrics_export_port out."
        )
    if options.tracing:
        from ..client.tracing import Tracing

        tracing = Tracing(options.tracing)
    if mode == "inline":
        from ..inline import InlineRuntime

        runtime = InlineRuntime(options)
    else:
        session = _find_session(address, options, asks_for_resources)
        if session is None:
            from ..client.start import start

            runtime = started = start(options)
        else:
            from ..client.asking import connect
            from ..client.start import attach

            runtime = started = attach(connect(session), options)
        started.tracing = tracing
    current.set_runtime(runtime)
    if not _state["atexit"]:
        import atexit

        atexit.register(shutdown)
        _state["atexit"] = True
    context = RayContext(runtime)
    if session is not None:
        from ..client.dashboards import noted

        context.dashboard_url = noted(session.folder)
    _state["context"], _state["session"] = context, session
    return context


def _check_dashboard(mode: str | None) -> None:
    if mode == "inline":
        raise UnsupportedError('init(include_dashboard=True): mode="inline" has no processes to look at.')
    from ..client.dashboards import check_installed

    check_installed()


def _start_dashboard(context: RayContext, host: str, port: int | None, temp_dir: str | None) -> None:
    """Start a dashboard for this program; if that fails, `init` has failed."""
    from ..client import dashboards

    session = _state["session"]
    address = str(os.getpid()) if session is None else f"{session.host}:{session.port}"
    settings = dashboards.Settings(address, host, port, temp_dir=temp_dir, watch=(os.getpid(),))
    try:
        found, _state["dashboard"] = dashboards.launch(settings, context["session_dir"])
    except BaseException:
        shutdown()
        raise
    context.dashboard_url = found.url
    context.address_info["webui_url"] = found.url.partition("://")[2]


def shutdown(*, wait_for_processes: bool = True) -> None:
    """Stop skate in this process, with all its tasks, actors and objects; nothing happens if it does not run.

    Args:
        wait_for_processes: accepted for Ray's sake. The processes are always gone when `shutdown` returns.
    """
    with _lock:
        runtime = current.runtime
        if runtime is None:
            return
        current.set_runtime(None)
        _state["context"] = None
        dashboard, _state["dashboard"] = _state["dashboard"], None
        if dashboard is not None:
            from ..client.dashboards import end

            end(dashboard)
        runtime.shutdown()


@contextmanager
def set_aside() -> Iterator[None]:
    """Go on as if skate did not run in this process; afterwards what ran is there again, and what was started meanwhile is ended.

    For tests that need a cluster of their own for a while. References of what was set aside may be kept, but not used meanwhile.
    """
    with _lock:
        runtime, kept = current.runtime, {name: _state[name] for name in _OF_RUNTIME}
        current.set_runtime(None)
        _state.update(dict.fromkeys(kept))
    try:
        yield
    finally:
        shutdown()
        with _lock:
            current.set_runtime(runtime)
            _state.update(kept)


def is_initialized() -> bool:
    """True when skate runs in this process.

    Example:
        >>> import skate
        >>> skate.shutdown()
        >>> skate.is_initialized()
        False
    """
    return current.runtime is not None


def get_runtime() -> Runtime:
    """The runtime of this process; starts one in a driver that has none."""
    runtime = current.runtime
    if runtime is not None:
        return runtime
    with _lock:
        if current.runtime is None:
            init()
        assert current.runtime is not None
        return current.runtime


def _refuse(**arguments: Any) -> None:
    for name, value in arguments.items():
        if value:
            raise UnsupportedError(f"init({name}={value!r}) is not supported yet: leave {name} out.")


def _check_hidden(hidden: Mapping[str, Any]) -> None:
    for name, value in hidden.items():
        if name not in _HIDDEN:
            import inspect

            known = [*inspect.signature(init).parameters, *_HIDDEN]
            close = closest(name, known)
            hint = f" Did you mean {close!r}?" if close else ""
            raise TypeError(f"init() got an unexpected keyword argument {name!r}.{hint}")
        if not _HIDDEN[name]:
            _refuse(**{name: value})


def _init_options(
    num_cpus: Any,
    num_gpus: Any,
    resources: Mapping[str, float] | None,
    object_store_memory: Any,
    namespace: str | None,
    log_to_driver: bool,
    hidden: Mapping[str, Any],
    labels: dict[str, str],
    env: str,
) -> InitOptions:
    memory = hidden.get("_memory")
    check_options({"num_cpus": num_cpus, "num_gpus": num_gpus, "resources": resources, "memory": memory}, "t")
    for name, number in (("num_cpus", num_cpus), ("num_gpus", num_gpus)):
        if number is not None and number != int(number):
            raise ValueError(f"init({name}={number!r}): a node has a whole number of them.")
    if object_store_memory is not None:
        if isinstance(object_store_memory, bool) or not isinstance(object_store_memory, (int, float)):
            raise TypeError(f"object_store_memory is a number of bytes, not {object_store_memory!r}.")
        if object_store_memory <= 0:
            raise ValueError(f"object_store_memory must be above 0, not {object_store_memory!r}.")
    if namespace is not None and (not isinstance(namespace, str) or not namespace):
        raise TypeError(f"namespace must be a string that is not empty, or None, not {namespace!r}.")
    from ..client.system_config import read_system_config

    return InitOptions(
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        memory=None if memory is None else int(memory),
        resources={name: float(amount) for name, amount in (resources or {}).items()},
        object_store_memory=None if object_store_memory is None else int(object_store_memory),
        namespace=namespace or "",
        log_to_driver=log_to_driver,
        temp_dir=hidden.get("_temp_dir"),
        node_name=hidden.get("_node_name") or "",
        system=read_system_config(hidden.get("_system_config"), hidden.get("object_spilling_directory")),
        labels=labels,
        metrics_port=_metrics_port(hidden.get("_metrics_export_port")),
        tracing=_tracing(hidden.get("_tracing_startup_hook")),
        env=env,
    )


def _metrics_port(port: Any) -> int:
    if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 1 << 16):
        raise ValueError(f"_metrics_export_port must be the number of a port, not {port!r}.")
    return port or 0


def _tracing(hook: Any) -> str:
    hook = hook or os.environ.get("SKATE_TRACING") or ""
    if not isinstance(hook, str) or (hook and not all(hook.partition(":"))):
        raise ValueError(f'_tracing_startup_hook and SKATE_TRACING must be "module:function", not {hook!r}.')
    return hook


def _find_session(address: str | None, options: InitOptions, asks_for_resources: bool) -> Session | None:
    """The node of this machine to attach to; None when a private one is wanted.

    Raises:
        ConnectionError: the address names a cluster that is not there.
    """
    origin = "address"
    if address in (None, "auto"):
        for name in ("SKATE_ADDRESS", "RAY_ADDRESS"):
            if os.environ.get(name):
                origin, address = name, os.environ[name]
                break
    if address is not None and not isinstance(address, str):
        raise TypeError(f"address must be a string or None, not {address!r}.")
    if address == "local" or (not address and asks_for_resources):
        return None
    if not address and not os.path.isdir(_sessions_folder(options.temp_dir)):
        return None
    from ..client import sessions

    found = sessions.running(options.temp_dir)
    if not address:
        return found[0] if found else None
    if asks_for_resources:
        raise ValueError(
            f"{origin}={address!r} names a cluster that has its own resources: leave num_cpus, num_gpus, resources, "
            "labels, object_store_memory, object_spilling_directory, _metrics_export_port and _system_config out."
        )
    if address == "auto":
        if not found:
            raise ClusterConnectionError(
                f'{origin}="auto": no running cluster was found. Start one with `skate start --head`, or leave the address out.'
            )
        return found[0]
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "//" in host:
        dashboard = " This one is of a dashboard." if address.startswith("http") else ""
        raise ValueError(f'{origin}={address!r}: an address is "auto", "local", or HOST:PORT of a node.{dashboard}')
    for session in found:
        if session.address == address or f"{session.host}:{session.port}" == address:
            return session
    wish = sessions.Wish(False, sessions.own_address(host), 0, host, int(port), daemon=False)
    try:
        return sessions.start_node(replace(options, num_cpus=0), wish)
    except (RaySystemError, AuthenticationError) as error:
        raise ClusterConnectionError(f"{origin}={address!r}: {error}") from None


def _sessions_folder(temp_dir: str | None) -> str:
    import tempfile

    return os.path.join(temp_dir or os.environ.get("SKATE_TEMP_DIR") or tempfile.gettempdir(), f"skate-{os.getuid()}")


def _configure_logging(level: int | str, form: str | None) -> None:
    import logging

    logger = logging.getLogger("skate")
    logger.setLevel(level.upper() if isinstance(level, str) else level)
    if form is None and (logger.handlers or logging.getLogger().handlers):
        return  # the program has its own handlers
    for handler in [each for each in logger.handlers if getattr(each, "made_by_init", False)]:
        logger.removeHandler(handler)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(form or "%(asctime)s\t%(levelname)s %(filename)s:%(lineno)s -- %(message)s"))
    handler.made_by_init = True  # type: ignore[attr-defined]
    logger.addHandler(handler)
    logger.propagate = False
