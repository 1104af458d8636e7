"""`skate start` and `skate stop`."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from typing import Any

import click
import msgspec

from ..api.labels import check_labels
from ..client import sessions, tls_files
from ..client.init_options import InitOptions
from ..client.system_config import read_system_config
from ..exceptions import RayError
from .ray_flags import take

HEAD_PORT = 6379
LOOK_S = 0.2
"""How often a node is looked for that may not be a child of this process."""


def start(
    head: bool,
    address: str | None,
    node_ip_address: str | None,
    listen_address: str,
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
    token_file: str,
    tls_cert: str,
    tls_key: str,
    tls_ca: str,
    block: bool,
    disable_usage_stats: bool,
    include_dashboard: bool | None,
    dashboard_host: str | None,
    dashboard_port: int | None,
    metrics_export_port: int | None,
    system_config: str,
    object_spilling_directory: str | None,
    as_json: bool,
    **of_ray: Any,
) -> None:
    """Start a node, and say how others join it."""
    notes = _notes(bool(include_dashboard and head), dashboard_host, dashboard_port, of_ray)
    if head == (address is not None):
        raise click.UsageError("say --head to start a cluster, or --address HOST:PORT to join one")
    _check_storage(storage, head)
    if include_dashboard:
        _check_dashboard(head)
    head_host, head_port = host_and_port(address) if address else ("", 0)
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
        node_ip_address or sessions.own_address(head_host),
        port if port is not None else HEAD_PORT * head,
        head_host,
        head_port,
        {**(_labels_file(labels_file) if labels_file else {}), **_labels("--labels", labels)},
        store=storage,
        listen=listen_address,
        token_file=token_file,
        metrics_port=metrics_export_port or 0,
    )
    session = _start(options, wish, notes, (tls_cert, tls_key, tls_ca))
    url = _start_dashboard(session, dashboard_host, dashboard_port, token_file, temp_dir) if include_dashboard else ""
    if as_json:
        said = {**msgspec.to_builtins(session), "address": session.address, "dashboard_url": url}
        click.echo(json.dumps(said))
    else:
        _say_started(session, token_file, wish.tls is not None)
        if url:
            click.echo(f"dashboard:        {url}")
    if block:
        sys.exit(_wait(session))


def _notes(
    with_dashboard: bool, dashboard_host: str | None, dashboard_port: int | None, of_ray: dict[str, Any]
) -> list[str]:
    """What is to be said about options without effect; what cannot be had is an error."""
    notes, refused = take(of_ray)
    if refused:
        raise click.UsageError("; ".join(refused))
    if not with_dashboard and (dashboard_host is not None or dashboard_port is not None):
        notes.append(
            "--dashboard-host and --dashboard-port have no effect: no dashboard is started without --head and "
            "--include-dashboard=True"
        )
    return notes


def _check_dashboard(head: bool) -> None:
    from ..client.dashboards import check_installed

    if not head:
        raise click.UsageError(
            "--include-dashboard=True is for the head; `skate dashboard` shows a cluster from anywhere"
        )
    try:
        check_installed()
    except RayError as error:
        raise click.ClickException(str(error)) from None


def _check_storage(storage: str, head: bool) -> None:
    if storage and not head:
        raise click.UsageError("--storage is for the head: others have nothing to keep")
    if "@" in storage and "://" in storage:
        raise click.UsageError("--storage has a password that others can see here: set SKATE_STORAGE instead")


def _start(options: InitOptions, wish: sessions.Wish, notes: list[str], tls: tuple[str, str, str]) -> sessions.Session:
    if wish.is_head:
        _refuse_second_head(wish, options.temp_dir)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    try:
        wish.tls = tls_files.find(*tls)
        return sessions.start_node(options, wish)
    except (RayError, OSError) as error:
        raise click.ClickException(f"{error}{_head_here(wish, options.temp_dir)}") from None


def _head_here(wish: sessions.Wish, temp_dir: str | None) -> str:
    """Where the head of this machine is, for who looked for it under another of its addresses."""
    if wish.is_head:
        return ""
    heads = [s.address for s in sessions.running(temp_dir) if s.is_head and s.head_port == wish.head_port]
    wanted = f"{wish.head_host}:{wish.head_port}"
    return f"; a head of yours listens on {heads[0]}" if heads and wanted not in heads else ""


def _start_dashboard(
    session: sessions.Session, host: str | None, port: int | None, token_file: str, temp_dir: str | None
) -> str:
    """The address of a dashboard that ends with the node; without it, there is no node either."""
    from .dashboard import start_beside

    try:
        return start_beside(session, host, port, token_file, temp_dir)
    except BaseException as error:  # also Ctrl-C, while it is waited for
        sessions.stop([session])
        if isinstance(error, (RayError, OSError)):
            raise click.ClickException(str(error)) from None
        raise


def _refuse_second_head(wish: sessions.Wish, temp_dir: str | None) -> None:
    for other in sessions.running(temp_dir):
        if wish.port and (other.host, other.port) == (wish.host, wish.port):
            raise click.ClickException(
                f"{'a head' if other.is_head else 'a node'} runs at {other.host}:{other.port} already, pid {other.pid}: "
                "join it with --address, stop it with `skate stop`, or choose another --port"
            )


def host_and_port(address: str) -> tuple[str, int]:
    """An address, as numbers."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "//" in host:
        raise click.UsageError(f"--address {address!r}: an address is HOST:PORT of a node")
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


def _say_started(session: sessions.Session, token_file: str, tls: bool) -> None:
    click.echo(f"node {session.node_no} ({session.name}) runs at {session.host}:{session.port}, pid {session.pid}")
    if not session.is_head:
        return
    from ..client.token import default_path

    join = f"skate start --address {session.address}"
    if tls:
        join += " --tls-cert CERT --tls-key KEY --tls-ca CA"
    if token_file:
        here, there = f" --token-file {token_file}", f"$(ssh {session.host} cat {os.path.abspath(token_file)})"
    elif os.environ.get("SKATE_TOKEN") or os.environ.get("RAY_AUTH_TOKEN"):
        here, there = "", "..."
    else:
        here, there = "", f"$(ssh {session.host} cat {default_path()})"
    click.echo(f"on this machine:  {join}{here}    or    skate.init(address={session.address!r})")
    click.echo(f"on another:       SKATE_TOKEN={there} {join}")


def _wait(session: sessions.Session) -> int:
    """Stay until the node ends, or this process is asked to end it; the exit code.

    As process 1 of a container this is the parent of all that is left behind, and the kernel lets only those signals through
    that it waits for.
    """
    ends = {signo for signo in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(signo) is not signal.SIG_IGN}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends | {signal.SIGCHLD})
    while sessions.began(session.pid) == session.began:
        found = signal.sigtimedwait(ends | {signal.SIGCHLD}, LOOK_S)
        if found is not None and found.si_signo in ends:
            sessions.stop([session])
            _collect()
            return 0 if found.si_signo == signal.SIGTERM else 128 + found.si_signo
        _collect()
    click.echo(f"the node has ended: see {session.folder}/logs", err=True)
    return 1


def _collect() -> None:
    """Take note of the ends of children."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
    except ChildProcessError:
        return


def stop(force: bool, grace_period: float, temp_dir: str | None, as_json: bool) -> None:
    """End all nodes of this user on this machine."""
    found = sessions.running(temp_dir)
    killed = sessions.stop(found, force, grace_period)
    if as_json:
        click.echo(json.dumps({"stopped": [s.node_id for s in found], "killed": [s.node_id for s in killed]}))
        return
    click.echo(f"{len(found)} node{'s' * (len(found) != 1)} stopped" if found else "no node runs here")
    if killed and not force:
        click.echo(f"{len(killed)} did not end when asked, and were killed", err=True)
