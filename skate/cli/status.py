"""`skate status` and `skate drain-node`: what a cluster has and does, and how a node is emptied.

The head is asked, as it knows most. It is reached by TCP with the token, so no node has to run here; when it does not answer, a
node tells what it last heard. On a terminal there are tables and bars, in a pipe plain lines of the same content.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import Any

import click

from ..client import asking, sessions
from ..client.observing import living, shown_by
from ..client.words import several
from ..exceptions import AuthenticationError
from .looking import asked_for, explained, look, note_others
from .nodes import host_and_port
from .show import show_plain, show_tables

WIDE = 100
"""From so many columns on there are tables: in fewer, their cells would be cut."""
RAY_REASONS = {
    "DRAIN_NODE_REASON_PREEMPTION": "preemption",
    "DRAIN_NODE_REASON_IDLE_TERMINATION": "idle termination",
}
"""Ray's words for why a node is drained. The second is only meant for a node on which nothing runs."""


def status(address: str | None, temp_dir: str | None, verbose: bool, as_json: bool) -> None:
    """Show what a cluster has and does."""
    state = _state(address, temp_dir)
    note_others(address, temp_dir)
    if as_json:
        click.echo(json.dumps(state))
    elif sys.stdout.isatty() and shutil.get_terminal_size().columns >= WIDE:
        show_tables(state, verbose)
    else:
        show_plain(state, verbose)


def _state(address: str | None, temp_dir: str | None) -> dict[str, Any]:
    """What the head says of its cluster, or else a node, with a `note` that it is perhaps old."""
    address = _located(address)
    local = _local(address, temp_dir)
    if local is None and (address is None or address.isdigit()):
        return _of_program(address, temp_dir)
    host, port = host_and_port(address) if address else (local.head_host, local.head_port) if local else ("", 0)
    try:
        if local is not None:
            return _of_head(local.head_host, local.head_port)
        near = asking.ask_at(host, port, "cluster_status")
        return _head_or(near, host, port)
    except (ConnectionError, AuthenticationError) as error:
        if local is None:
            raise click.ClickException(_with_remedy(str(error), address)) from None
        return _heard(local, error)


def _located(address: str | None) -> str | None:
    """Which cluster is meant, or the process id of which program; None: whatever runs here."""
    found = asked_for(address)
    if found is None:
        return None
    with explained():
        return shown_by(found)


def _of_program(address: str | None, temp_dir: str | None) -> dict[str, Any]:
    """What the node says that a program has started for itself: this one, or the last."""
    from ..client.observing import address_of, programs

    if address is None and not programs(temp_dir):
        raise click.ClickException(
            "no node runs here, and no program that has one of its own: start one with `skate start --head`, or say "
            "--address HOST:PORT"
        )
    observer = look(address, temp_dir)
    with explained():
        return {**observer.ask_head("cluster_status"), "program": int(address_of(observer) or os.getpid())}


def _local(address: str | None, temp_dir: str | None) -> sessions.Session | None:
    found = sessions.running(temp_dir)
    return next((s for s in found if address is None or address in (s.address, f"{s.host}:{s.port}")), None)


def _of_head(host: str, port: int) -> dict[str, Any]:
    found: dict[str, Any] = asking.ask_at(host, port, "cluster_status", of_head=True)
    return found


def _head_or(near: dict[str, Any], host: str, port: int) -> dict[str, Any]:
    """The head's word, from the address that a node gives or from where the node is; or the node's own."""
    for place in (near["head"], f"{host}:{port}"):
        at, _, number = place.rpartition(":")
        try:
            return _of_head(at, int(number))
        except ConnectionError:
            continue
    return {**near, "note": "the head does not answer: this is what a node last heard of it"}


def _heard(local: sessions.Session, error: Exception) -> dict[str, Any]:
    try:
        found: dict[str, Any] = asking.ask(local, "cluster_status")
    except ConnectionError as other:
        raise click.ClickException(str(other)) from None
    return {**found, "note": f"{error}; this is what node {local.node_no} last heard of the head"}


def _with_remedy(error: str, address: str | None) -> str:
    if "there is no node" in error:
        return f"{error}: is it the address of a node of skate, and does a firewall let its port through?"
    return error if address is None or address in error else f"{address}: {error}"


def health_check(timeout: float | None, address: str | None, temp_dir: str | None) -> None:
    """Say how many nodes live; an error if nobody says so."""
    observer = look(address, temp_dir, answer_s=timeout)
    with explained():
        alive = living(observer.ask_head("nodes"))
    if not alive:
        raise click.ClickException("the head answers, and no node lives")
    click.echo(f"the head answers: {several(len(alive), 'node')} alive")


def drain_node(
    node: str | None,
    node_id: str | None,
    reason: str,
    reason_message: str,
    deadline_s: float,
    address: str | None,
    temp_dir: str | None,
    as_json: bool,
) -> None:
    """Have a node drained."""
    if bool(node) == bool(node_id):
        raise click.UsageError("say which node: its number, its name, or the beginning of its id")
    address = _located(address)
    local = _local(address, temp_dir)
    if local is None and (address is None or address.isdigit()):
        raise click.ClickException("no node runs here that could be drained: say --address HOST:PORT")
    words = [RAY_REASONS.get(reason, reason), reason_message]
    argument = {
        "node": node or node_id,
        "reason": ": ".join(word for word in words if word) or "maintenance",
        "deadline_s": deadline_s,
        "only_if_idle": reason == "DRAIN_NODE_REASON_IDLE_TERMINATION",
    }
    try:
        if local is not None:
            head = local.address
        else:
            assert address is not None
            head = asking.ask_at(*host_and_port(address), "cluster_status")["head"]
        found = asking.ask_at(*host_and_port(head), "drain", argument, of_head=True)
    except (ConnectionError, AuthenticationError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps(found))
        return
    limit = f", for {deadline_s:g} s at the most" if deadline_s else ""
    click.echo(
        f"node {found['node']} ({found['name']}) is being drained{limit}: `skate status` shows what it waits for"
    )
