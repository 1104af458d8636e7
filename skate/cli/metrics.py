"""`skate metrics`: what Prometheus and Grafana are given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..client import token
from ..exceptions import AuthenticationError
from .looking import explained, look, members


def show(address: str | None, temp_dir: str | None) -> None:
    """Print the metrics of one node."""
    click.echo(_ask(address, temp_dir, "metrics"), nl=False)


def targets(address: str | None, temp_dir: str | None) -> None:
    """Print where the nodes are."""
    click.echo(json.dumps(_ask(address, temp_dir, "metric_targets"), indent=1))


def _ask(address: str | None, temp_dir: str | None, what: str) -> Any:
    """Ask the node at the address, or the first that there is."""
    observer = look(address, temp_dir)
    nodes = members(observer)
    chosen = [member for member in nodes if address == f"{member.host}:{member.port}"] or nodes
    if not chosen:
        raise click.ClickException("no node lives")
    with explained():
        return observer.ask(chosen[0], what)


def print_token(token_file: str) -> None:
    """Print what reads metrics, and nothing else."""
    try:
        secret = token.read(Path(token_file)) if token_file else token.find()
    except AuthenticationError as error:
        raise click.ClickException(str(error)) from None
    if secret is None:
        where = token_file or str(token.default_path())
        raise click.ClickException(
            f"there is no cluster's token here: {where} is not there, and SKATE_TOKEN is not set"
        )
    click.echo(token.reading_token(secret))


def dashboard() -> None:
    """Print the dashboard."""
    from .grafana import dashboard

    click.echo(json.dumps(dashboard(), indent=1))
