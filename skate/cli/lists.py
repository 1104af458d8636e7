"""The commands that look at what there is and what has happened: their options. Each imports its work when it is called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

KINDS = ("tasks", "actors", "objects", "nodes", "workers", "jobs", "placement-groups")
LISTED = (*KINDS, "runtime-envs", "cluster-events")
FORMATS = ("default", "table", "json", "yaml")

_Command = Callable[..., None]


class Kind(click.Choice[str]):
    """A kind of thing: one of these words, also in the singular, or with underscores."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word of `KINDS`."""
        word = str(value).lower().replace("_", "-")
        found = next((each for each in self.choices if word in (each, each[:-1])), None)
        if found is None:
            from ..client.words import choices

            hint = " (`skate logs '*'` lists files of output)" if word in ("log", "logs") else ""
            self.fail(f"there is no kind {value!r}{hint}{choices(word, self.choices)}", param, ctx)
        return found

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """What there is."""
        return f"There are {', '.join(self.choices)}."


def _kind(kinds: Sequence[str]) -> Callable[[_Command], _Command]:
    return click.argument("kind", type=Kind(kinds), metavar="KIND")


def _where(past: bool) -> Callable[[_Command], _Command]:
    """Options that say of which cluster."""

    def add(command: _Command) -> _Command:
        if past:
            text = "Of a session that has ended: its name, the beginning of it, or `last`."
            command = click.option("--session", default=None, metavar="NAME", help=text)(command)
        command = click.option("--temp-dir", default=None, help="Where the sessions' folders are.")(command)
        text = "Of which cluster: any node of it, its dashboard, or the process id of a program. [what runs on this machine]"
        return click.option("--address", default=None, metavar="HOST:PORT|URL|PID", help=text)(command)

    return add


def looking(command: _Command) -> _Command:
    """The options of commands that look at a running cluster or program."""
    return _where(past=False)(_json(command))


def looking_back(command: _Command) -> _Command:
    """The same, if they can look at a session that has ended, too."""
    return _where(past=True)(_json(command))


_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_format = click.option("--format", "how", type=click.Choice(FORMATS), default="default", help="How it is printed.")
_timeout = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    metavar="SECONDS",
    help="How long each node may take to answer. [5]",
)
_limit = click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many.")


@click.command("list")
@_kind(LISTED)
@click.option("-f", "--filter", "filters", multiple=True, metavar="KEY=VALUE", help="Or KEY!=VALUE. All must hold.")
@_limit
@click.option("--detail", is_flag=True, help="All that is known of each.")
@click.option("--explain", is_flag=True, help="Say on stderr who is asked for what, and how long that takes.")
@_format
@_json
@_timeout
@_where(past=True)
def list_command(**options: Any) -> None:
    """List what there is: also tasks that have ended, the last of them first.

    KIND is tasks, actors, objects, nodes, workers, jobs, placement-groups, runtime-envs or cluster-events.

    Whoever could not be asked is named on stderr, and with --json in `missing`.
    """
    from .listing import list_things

    list_things(**options)


@click.command("get")
@_kind(KINDS)
@click.argument("ident", metavar="ID")
@_format
@_json
@_timeout
@_where(past=True)
def get_command(**options: Any) -> None:
    """Show all that is known of one thing.

    KIND is tasks, actors, objects, nodes, workers, jobs or placement-groups. ID is an id, its beginning or its end, or a
    name; of a worker also its process id, of a node its number.
    """
    from .listing import get_thing

    get_thing(**options)


@click.command("summary")
@_kind(("tasks", "actors", "objects"))
@_json
@_timeout
@_where(past=True)
def summary_command(**options: Any) -> None:
    """Count tasks by function and state, actors by class, objects by owner.

    KIND is tasks, actors or objects.
    """
    from .listing import summarize

    summarize(**options)


@click.command("events")
@click.option("--follow", is_flag=True, help="Go on until Ctrl-C.")
@click.option(
    "--severity",
    type=click.Choice(("INFO", "WARNING", "ERROR"), case_sensitive=False),
    default="INFO",
    help="From this on.",
)
@_limit
@_json
@_where(past=True)
def events_command(**options: Any) -> None:
    """Show what has happened: jobs, deaths and why, actors, nodes, placement groups. With --json, an event on each line."""
    from .history import events

    events(**options)


GROUPS = {name: name for name in ("owner", "status", "node_id", "call_site")}
GROUPS |= {"NODE_ADDRESS": "node_id", "STACK_TRACE": "call_site"}
ORDERS = {name: name for name in ("size", "owner", "status", "call_site")}
ORDERS |= {"OBJECT_SIZE": "size", "PID": "owner", "REFERENCE_TYPE": "status"}
"""What `skate memory` can add up and sort by: our words and Ray's, and what they mean."""


class _OneOf(click.Choice[str]):
    """A choice among words, each of which stands for another."""

    def __init__(self, meanings: dict[str, str]) -> None:
        super().__init__(tuple(dict.fromkeys(meanings.values())), case_sensitive=True)
        self._meanings = meanings

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """What the word stands for."""
        return super().convert(self._meanings.get(str(value), value), param, ctx)


@click.command("memory")
@click.option("--group-by", type=_OneOf(GROUPS), default=None, help="Sums of each; also NODE_ADDRESS, STACK_TRACE.")
@click.option(
    "--sort-by", type=_OneOf(ORDERS), default="size", help="In which order; also OBJECT_SIZE, PID, REFERENCE_TYPE."
)
@click.option("--units", type=click.Choice(("B", "KB", "MB", "GB")), default="B", show_default=True, help="Of sizes.")
@click.option("--stats-only", is_flag=True, help="Only the sums.")
@click.option(
    "--limit",
    "--num-entries",
    "-n",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="At most so many.",
)
@_json
@_where(past=False)
def memory_command(**options: Any) -> None:
    """Show objects, how large they are, where and by whom they were made, and who holds them."""
    from .memory import memory

    memory(**options)


@click.command("timeline")
@click.argument("file", required=False, type=click.Path(dir_okay=False, writable=True))
@_where(past=True)
def timeline_command(**options: Any) -> None:
    """Write what ran when, for https://ui.perfetto.dev and chrome://tracing, into FILE or to stdout."""
    from .history import timeline

    timeline(**options)


@click.command("history")
@click.argument("session", required=False)
@click.option("--sql", default=None, metavar="SQL", help="Ask SESSION: there are `tasks` and `events`.")
@click.option("--temp-dir", default=None, help="Where the sessions' folders are.")
@_json
def history_command(**options: Any) -> None:
    """List the sessions of which the history is kept on this machine, or ask one of them by SQL.

    SESSION is a name from that list, the beginning of one, or `last`.
    """
    from .history import history

    history(**options)


VIEWS = ("nodes", "functions", "tasks", "actors", "workers", "objects", "events")


@click.command("top")
@click.option("--view", type=click.Choice(VIEWS), default=None, help="With which view it begins. [nodes]")
@click.option(
    "--interval", type=click.FloatRange(min=0.1), default=1.0, show_default=True, help="Seconds between looks."
)
@click.option("--once", is_flag=True, help="Print it as text, and end.")
@_where(past=False)
def top_command(**options: Any) -> None:
    """Show live what a cluster does: nodes, functions, tasks, actors, workers, objects, events."""
    from .top import top

    top(**options)


@click.command("dashboard")
@click.option(
    "--address",
    default="",
    metavar="HOST:PORT|PID",
    help="Of which cluster: any node of it, or the process id of a program. [the one that runs on this machine]",
)
@click.option("--host", default="127.0.0.1", show_default=True, metavar="IP", help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=None, help="The port. [8265, or one of the next]")
@click.option("--allow-host", multiple=True, metavar="NAME", help="A name that browsers may call it by; repeatable.")
@click.option("--require-token", is_flag=True, help="Ask for the cluster's token on loopback, too.")
@click.option("--tls-cert", default="", metavar="FILE", help="Serve by HTTPS, with this certificate.")
@click.option("--tls-key", default="", metavar="FILE", help="Its key.")
@click.option("--temp-dir", default=None, help="Where the sessions' folders are.")
def dashboard_command(**options: Any) -> None:
    """Show the cluster in a browser, until Ctrl-C.

    On another address than loopback whoever looks has to know the cluster's token.
    """
    from .dashboard import dashboard

    dashboard(**options)


@click.command("health-check")
@_timeout
@_where(past=False)
def health_check_command(**options: Any) -> None:
    """See whether the cluster lives: the exit code is 0 when its head answers and a node lives, else 1."""
    from .status import health_check

    health_check(**options)


COMMANDS = (
    dashboard_command,
    health_check_command,
    list_command,
    get_command,
    summary_command,
    events_command,
    memory_command,
    timeline_command,
    history_command,
    top_command,
)
