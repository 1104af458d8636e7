"""`skate top`: what a cluster does, live on a terminal, or once as text.

The work is in six parts: where the figures come from (`top_source.py`), who asks for them (`top_poller.py`), how they are sorted
and written (`top_views.py`), the screen (`top_app.py`), its table (`top_table.py`), and what opens over it (`top_pane.py`). Only
the last three need Textual.
"""

from __future__ import annotations

import sys
import time

import click

from .looking import explained
from .top_source import Cluster, Source, Wish
from .top_views import VIEWS, headlines, lines, news

IN_TEXT = ("nodes", "functions", "actors")
"""What is written with `--once`, unless a view is named."""


def top(view: str | None, interval: float, once: bool, address: str | None, temp_dir: str | None) -> None:
    """Show what a cluster does."""
    with explained():
        source = Cluster(address, temp_dir)
    if once:
        write(source, (view,) if view else IN_TEXT, interval)
        return
    try:
        from .top_app import Top
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "textual":
            raise
        raise click.ClickException("it needs Textual: pip install 'skate[top]'; or say --once") from None
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):  # the screen is written to stderr
        raise click.ClickException("this is no terminal: say --once")
    Top(source, view or "nodes", interval, temp_dir).run()


def write(source: Source, views: tuple[str, ...], interval: float) -> None:
    """One moment as text. It is looked twice: how much was done per second is the difference."""
    first = source.poll(Wish(views[0]))
    if not first.error:
        time.sleep(interval)
    for at, name in enumerate(views):
        found = source.poll(Wish(name))
        if found.error:
            raise click.ClickException(found.error)
        if not at:
            for line in headlines(found):
                click.echo(line)
        click.echo(f"\n{name}")
        for line in lines(found, VIEWS[name]):
            click.echo(line)
        if found.total != len(found.rows):
            many = f"{found.total:,}" if found.total >= 0 else "more"
            click.echo(f"{len(found.rows):,} {name} of {many}: `skate list {name} --limit` shows others", err=True)
        if at == len(views) - 1:
            for line in news(found):
                click.echo(line, err=True)
