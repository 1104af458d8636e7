"""`skate start`, `skate stop` and `skate status`."""

from __future__ import annotations

import json
import socket
import sys
from typing import Any

import click
import msgspec

from ..api.labels import check_labels
from ..client import asking, sessions
from ..client.init_options import InitOptions
from ..client.system_config import read_system_config
from ..exceptions import RayError

HEAD_PORT = 6379
MEGABYTE = 1e6
_IN_BYTES = ("memory", "object_store_memory")


def start(
    head: bool,
    address: str | None,
    node_ip_address: str | None,
    port: int | None,
    num_cpus: int | None,
    num_gpus: int | None,
    memory: int | None,
    object_store_memory: int | None,
    resources: str,
    labels: str,
    labels_file: str,
    node_name: str,
    temp_dir: str | None,
    storage: str,
    block: bool,
    disable_usage_stats: bool,
    include_dashboard: bool | None,
    system_config: str,
    object_spilling_directory: str | None,
    **unsupported: Any,
) -> None:
    """Start a node, and say how others join it."""
    if head == (address is not None):
        raise click.UsageError("say --head to start a cluster, or --address HOST:PORT to join one")
    if include_dashboard:
        raise click.UsageError("--include-dashboard=True is not supported yet")
    if storage and not head:
        raise click.UsageError("--storage is for the head: others have nothing to keep")
    if "@" in storage and "://" in storage:
        raise click.UsageError("--storage has a password that others can see here: set SKATE_STORAGE instead")
    for name, value in unsupported.items():
        if value is not None:
            raise click.UsageError(f"--{name.replace('_', '-')} is not supported yet: leave it out")
    head_host, head_port = _host_and_port(address) if address else ("", 0)
    host = node_ip_address or own_address(head_host)
    try:
        system = read_system_config(_table("--system-config", system_config, object), object_spilling_directory)
    except (TypeError, ValueError) as error:
        raise click.UsageError(f"--system-config: {error}") from None
    options = InitOptions(
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        memory=memory,
        resources={name: float(amount) for name, amount in _table("--resources", resources, (int, float)).items()},
        object_store_memory=object_store_memory,
        temp_dir=temp_dir,
        node_name=node_name,
        system=system,
    )
    wish = sessions.Wish(
        head,
        host,
        port if port is not None else HEAD_PORT * head,
        head_host,
        head_port,
        {**(_labels_file(labels_file) if labels_file else {}), **_labels("--labels", labels)},
        store=storage,
    )
    try:
        session = sessions.start_node(options, wish)
    except (RayError, OSError) as error:
        raise click.ClickException(str(error)) from None
    _say_started(session)
    if block:
        sys.exit(_wait(session))


def own_address(towards: str) -> str:
    """The address under which other machines see this one; loopback if there is no network."""
    if towards.startswith("127."):
        return towards
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # nothing is sent
        try:
            probe.connect((towards or "192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        found: str = probe.getsockname()[0]
        return found


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise click.UsageError(f"--address {address!r}: an address is HOST:PORT")
    try:
        return socket.gethostbyname(host), int(port)
    except OSError as error:
        raise click.UsageError(f"--address {address!r}: {error}") from None


def _table(option: str, text: str, kinds: Any) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"{option} {text!r} is not JSON: {error}") from None
    if not isinstance(found, dict) or not all(
        isinstance(value, kinds) and (kinds is object or not isinstance(value, bool)) for value in found.values()
    ):
        raise click.UsageError(f'{option} {text!r}: it must be an object such as {{"name": value}}')
    return found


def _labels(option: str, text: str, separator: str = "=", between: str = ",") -> dict[str, str]:
    """Labels as `k=v,k=v` or as JSON, checked."""
    text = text.strip()
    if text.startswith("{"):
        found = _table(option, text, str)
    else:
        pairs = [entry.partition(separator) for entry in text.split(between) if entry.strip()]
        if not all(mark for _, mark, _ in pairs):
            raise click.UsageError(f"{option} {text!r}: labels are name{separator}value, or a JSON object")
        found = {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}
    try:
        return check_labels(option, found)
    except (TypeError, ValueError) as error:
        raise click.UsageError(str(error)) from None


def _labels_file(path: str) -> dict[str, str]:
    try:
        with open(path) as file:
            text = file.read()
    except OSError as error:
        raise click.UsageError(f"--labels-file {path!r}: {error}") from None
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return _labels("--labels-file", text if text.lstrip().startswith("{") else "\n".join(lines), ":", "\n")


def _say_started(session: sessions.Session) -> None:
    click.echo(f"node {session.node_no} ({session.name}) runs at {session.host}:{session.port}, pid {session.pid}")
    if not session.is_head:
        return
    from ..client.token import default_path

    click.echo(
        f"on this machine:  skate start --address {session.address}    or    skate.init(address={session.address!r})"
    )
    click.echo(
        f"on another:       SKATE_TOKEN=$(ssh {session.host} cat {default_path()}) skate start --address {session.address}"
    )


def _wait(session: sessions.Session) -> int:
    import time

    try:
        while sessions.began(session.pid) == session.began:
            time.sleep(0.2)
    except KeyboardInterrupt:
        sessions.stop([session])
        return 130
    return 1


def stop(force: bool, temp_dir: str | None) -> None:
    """End all nodes of this user on this machine."""
    found = sessions.running(temp_dir)
    killed = sessions.stop(found, force)
    click.echo(f"{len(found)} node{'s' * (len(found) != 1)} stopped" if found else "no node runs here")
    if killed and not force:
        click.echo(f"{len(killed)} did not end when asked, and were killed", err=True)


def status(address: str | None, temp_dir: str | None, as_json: bool) -> None:
    """Show what a cluster has and does."""
    found = [s for s in sessions.running(temp_dir) if address is None or address in (s.address, f"{s.host}:{s.port}")]
    if not found:
        where = f" of the cluster at {address}" if address else ""
        raise click.ClickException(f"no node{where} runs here: start one with `skate start --head`")
    try:
        state = asking.ask(found[0], "cluster_status")
    except ConnectionError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(msgspec.json.encode(state).decode())
    else:
        _show(state, found[0].address)


def _show(state: dict[str, Any], address: str) -> None:
    alive = [node for node in state["nodes"] if node["Alive"]]
    click.echo(f"cluster {address}: {len(alive)} node{'s' * (len(alive) != 1)} alive")
    for node in state["nodes"]:
        if not node["Alive"]:
            continue
        uses = []
        for name, total in sorted(node["Resources"].items()):
            if not name.startswith("node:") and name != "object_store_memory":
                uses.append(_use(name, total - node["Free"].get(name, 0.0), total))
        where = f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"
        click.echo(f"  {node['No']:>3}  {node['NodeName']:<16} {where:<21} {node['State']:<8} {', '.join(uses)}")
    for demand in state["demand"]:
        click.echo(f"waiting on node {demand['node']}: {demand['count']} x ({demand['wants']}): {demand['reason']}")
    for failure in state["failures"]:
        click.echo(f"lost: {failure}")


def _use(name: str, used: float, total: float) -> str:
    if name in _IN_BYTES:
        return f"{max(0.0, used) / MEGABYTE:.0f}/{total / MEGABYTE:.0f} MB {name}"
    return f"{max(0.0, used):g}/{total:g} {name}"
