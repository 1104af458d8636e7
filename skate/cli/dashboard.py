"""`skate dashboard`, and the dashboard that `skate start` starts beside a head."""

from __future__ import annotations

import os
from typing import Any

import click

from ..client import dashboards, sessions
from ..exceptions import RayError


def dashboard(allow_host: tuple[str, ...], **options: Any) -> None:
    """Show a cluster until a signal comes."""
    try:
        dashboards.check_installed()
        from ..dashboard.serve import serve

        settings = dashboards.Settings(allow_hosts=allow_host, **options)
        serve(settings, lambda url: click.echo(f"the dashboard is at {url}"))
    except (RayError, OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None


def start_beside(
    session: sessions.Session, host: str | None, port: int | None, token_file: str, temp_dir: str | None
) -> str:
    """Start a dashboard that ends with a node; its address.

    Raises:
        RayError: it did not start.
    """
    settings = dashboards.Settings(
        f"{session.host}:{session.port}", host or "127.0.0.1", port, temp_dir=temp_dir, watch=(session.pid,)
    )
    more = {"SKATE_TOKEN_PATH": os.path.abspath(token_file)} if token_file else {}
    found, process = dashboards.launch(settings, session.folder, more)
    dashboards.note(session.folder, found)
    process.returncode = 0  # it is not this process's business any more
    return found.url
