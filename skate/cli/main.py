"""The command `skate`.

A command line is judged by how soon `--help` answers, so nothing is imported here but click; each command imports what
it needs when it is called.

A command that runs the user's program returns a `Program` instead of running it: click turns a `KeyboardInterrupt`, an
`EOFError` or a broken pipe into messages of its own, and the user's program must end as it does under `python`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ..version import __version__
from .jobs import job
from .lists import COMMANDS, looking, looking_back
from .ray_flags import RAY_FLAGS
from .topics import ByTopic, Group

if TYPE_CHECKING:
    from .run import Program

EXIT_USAGE = 2
"""The command line is wrong; the program did not run."""
COMPLETE_VARIABLE = "_SKATE_COMPLETE"


class NoProgram(click.ClickException):
    """There is nothing to run."""

    exit_code = EXIT_USAGE


@click.group(cls=ByTopic, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="skate", message="%(prog)s %(version)s")
def cli() -> None:
    """Tasks, actors and shared objects for Python.

    `skate COMMAND --help` explains a command.
    """


@cli.command(
    "run",
    context_settings={"allow_interspersed_args": False},
    options_metavar="[-m]",
)
@click.option("-m", "is_module", is_flag=True, help="SCRIPT is the name of a module, as for `python -m`.")
@click.argument("script")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def run_command(is_module: bool, script: str, args: tuple[str, ...]) -> Program:
    """Run a Python program in which `import ray` means skate.

    SCRIPT is a file, or a folder or zip file with a __main__.py. It sees ARGS, sys.path and __file__ as under `python`,
    and ends with the same exit code. Its workers import skate for ray, too.
    """
    from .run import NotFound, find_module, find_script

    try:
        return (find_module if is_module else find_script)(script, list(args))
    except NotFound as error:
        raise NoProgram(str(error)) from None


def _with_ray_flags(command: Callable[..., None]) -> Callable[..., None]:
    """The options of Ray's that there are for scripts which have them; `--help` does not show them."""
    for name, flag in RAY_FLAGS.items():
        command = click.option(name, default=None, is_flag=flag.is_flag, hidden=True, help=flag.why)(command)
    return command


@cli.command("start")
@click.option("--head", is_flag=True, help="Start a cluster: be its head.")
@click.option("--address", default=None, metavar="HOST:PORT", help="Join the cluster whose head is there.")
@click.option("--node-ip-address", default=None, help="Where others find this node. [the machine's own]")
@click.option(
    "--listen-address", default="", metavar="IP", help="Listen here, if others reach --node-ip-address by way of it."
)
@click.option("--port", type=int, default=None, help="The port to listen on. [6379 of a head, any of another node]")
@click.option("--num-cpus", type=int, default=None, help="CPUs that tasks may ask for. [what the machine has]")
@click.option("--num-gpus", type=int, default=None, help="GPUs that tasks may ask for.")
@click.option("--memory", type=int, default=None, help="Bytes that tasks may ask for.")
@click.option("--object-store-memory", type=int, default=None, help="Bytes of shared memory for objects.")
@click.option("--resources", default="{}", metavar="JSON", help="Your own resources: '{\"bob\": 5}'.")
@click.option("--labels", default="", metavar="K=V,...", help="Labels of the node, or as JSON.")
@click.option("--labels-file", default="", metavar="FILE", help="A file of such labels, JSON or a `k: v` on each line.")
@click.option("--node-name", default="", help="What the node is called. [the host's name]")
@click.option("--temp-dir", default=None, help="Where the session's folder is made.")
@click.option(
    "--storage", default="", metavar="WHERE", help="Where a head keeps its state: a file, or redis://HOST:PORT."
)
@click.option("--token-file", default="", metavar="FILE", help="The cluster's token. [SKATE_TOKEN, ~/.skate/token]")
@click.option("--tls-cert", default="", metavar="FILE", help="This node's certificate: encrypt all between machines.")
@click.option("--tls-key", default="", metavar="FILE", help="Its key.")
@click.option("--tls-ca", default="", metavar="FILE", help="The certificate of the cluster's CA.")
@click.option("--block", is_flag=True, help="Stay until the node ends.")
@click.option("--include-dashboard", type=bool, default=None, help="With --head: also start a dashboard. [False]")
@click.option("--dashboard-host", default=None, metavar="IP", help="Where it listens. [127.0.0.1]")
@click.option("--dashboard-port", type=int, default=None, help="Its port. [8265, or one of the next]")
@click.option(
    "--system-config", default="{}", metavar="JSON", help="Settings of spilling and the memory monitor, by name."
)
@click.option(
    "--object-spilling-directory", default=None, metavar="DIR", help="Where objects go that do not fit in memory."
)
@click.option(
    "--metrics-export-port",
    type=click.IntRange(1, 65535),
    default=None,
    help="Also serve metrics on a port of their own.",
)
@click.option("--disable-usage-stats", is_flag=True, help="Without effect: there are none.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_with_ray_flags
def start_command(**options: Any) -> None:
    """Start a node on this machine: the head of a new cluster, or a member of one."""
    from .nodes import start

    start(**options)


@cli.command("stop")
@click.option("-f", "--force", is_flag=True, help="Kill them at once.")
@click.option(
    "-g",
    "--grace-period",
    type=click.FloatRange(min=0),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How long they may take to end before they are killed.",
)
@click.option("--temp-dir", default=None, help="Where the sessions' folders are.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def stop_command(force: bool, grace_period: float, temp_dir: str | None, as_json: bool) -> None:
    """End all nodes that you have started on this machine, and nobody else's."""
    from .nodes import stop

    stop(force, grace_period, temp_dir, as_json)


@cli.command("status")
@click.option(
    "--address", default=None, metavar="HOST:PORT", help="Of which cluster. [the one that runs on this machine]"
)
@click.option("--temp-dir", default=None, help="Where the sessions' folders are.")
@click.option("-v", "--verbose", is_flag=True, help="Also ids, labels, and nodes that have ended.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status_command(address: str | None, temp_dir: str | None, verbose: bool, as_json: bool) -> None:
    """Show the nodes of the cluster, what is in use, what waits and why, and what failed.

    With --address, also from a machine that is in no cluster, if it knows the token.
    """
    from .status import status

    status(address, temp_dir, verbose, as_json)


@cli.command("drain-node")
@click.argument("node", required=False)
@click.option("--node-id", default=None, help="The same as NODE.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for whoever looks. [maintenance]")
@click.option("--reason-message", default="", metavar="TEXT", help="More about it.")
@click.option(
    "--deadline-s",
    "--deadline-remaining-seconds",
    "deadline_s",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="When the node ends whatever is left on it. [never]",
)
@click.option(
    "--address", default=None, metavar="HOST:PORT", help="Of which cluster. [the one that runs on this machine]"
)
@click.option("--temp-dir", default=None, help="Where the sessions' folders are.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def drain_command(**options: Any) -> None:
    """Empty a node, and end it: NODE is its number, its name, or the beginning of its id.

    It gets no new work; what runs there ends; actors that may be restarted go on elsewhere. `skate status` shows what it
    waits for.
    """
    from .status import drain_node

    drain_node(**options)


@cli.group("metrics", cls=Group)
def metrics_group() -> None:
    """Metrics for Prometheus and Grafana: what they are now, where they are, who may read them."""


_cluster = click.option(
    "--address",
    default=None,
    metavar="HOST:PORT",
    help="Of which node, or the process id of a program. [this machine's]",
)


@metrics_group.command("show")
@_cluster
@click.option("--temp-dir", default=None, help="Where the sessions' folders are.")
def metrics_show_command(address: str | None, temp_dir: str | None) -> None:
    """Print the metrics of one node, as Prometheus reads them."""
    from .metrics import show

    show(address, temp_dir)


@metrics_group.command("targets")
@_cluster
@click.option("--temp-dir", default=None, help="Where the sessions' folders are.")
def metrics_targets_command(address: str | None, temp_dir: str | None) -> None:
    """Print where all nodes serve their metrics, for Prometheus's service discovery."""
    from .metrics import targets

    targets(address, temp_dir)


@metrics_group.command("token")
@click.option("--token-file", default="", metavar="FILE", help="The cluster's token. [SKATE_TOKEN, ~/.skate/token]")
def metrics_token_command(token_file: str) -> None:
    """Print the token that reads metrics from other machines, and can do nothing else."""
    from .metrics import print_token

    print_token(token_file)


@metrics_group.command("dashboard")
def metrics_dashboard_command() -> None:
    """Print a dashboard for Grafana, to be imported there."""
    from .metrics import dashboard

    dashboard()


@cli.command("why")
@click.argument("what", nargs=-1)
@looking_back
def why_command(**options: Any) -> None:
    """Say in one line why something is not done, or how it died.

    WHAT is a task, object, actor, worker, program, job or placement group: its id, the beginning or the end of it, a name, or a
    process id, of a node as NODE:PID. Without it, the first unfinished tasks of each program are explained. The exit code is
    1 when nobody knows it.
    """
    from .why import why

    why(**options)


@cli.command("stack")
@click.argument("what", nargs=-1)
@click.option("--node", default=None, help="Only of this node: its number, its name, or the beginning of its id.")
@click.option("-v", "--verbose", is_flag=True, help="All threads, with what skate itself does in them.")
@click.option(
    "--native", is_flag=True, help="With the frames of C code, by py-spy: needs skate[profile] and the right to trace."
)
@click.option("--flame", type=click.Path(dir_okay=False, writable=True), metavar="FILE.svg", help="Draw a flame graph.")
@click.option(
    "--seconds", type=click.IntRange(1, 30), default=5, show_default=True, help="For --flame: how long to watch."
)
@looking
def stack_command(**options: Any) -> None:
    """Show what workers and programs do at the moment: the Python stacks of their threads.

    WHAT is the process id of a worker or a program, of a node as NODE:PID, or an actor or a running task, by id or name. Without
    it, all of a node are shown, or all of the cluster.

    A process that does not answer is looked at by py-spy, if that is installed.
    """
    from .stack import stack

    stack(**options)


@cli.command("logs")
@click.argument("what", nargs=-1, metavar="[WHAT]")
@click.option("--task", default="", metavar="ID", help="What this task has printed.")
@click.option("--actor", default="", metavar="ID", help="What this actor has printed.")
@click.option("--job", default="", metavar="ID", help="What workers of this job have printed.")
@click.option(
    "--worker", default="", metavar="PID", help="What this worker process has printed; of a node as NODE:PID."
)
@click.option(
    "--node",
    "--node-id",
    "-id",
    default=None,
    help="Only of this node: its number, its name, or the beginning of its id.",
)
@click.option("--node-ip", "-ip", default=None, metavar="IP", help="Only of the nodes at this address.")
@click.option("--id", "-a", "ident", default="", metavar="ID", help="With WHAT: of which actor, task or job.")
@click.option("--pid", "-pid", default="", metavar="PID", help="With WHAT: of which actor or worker.")
@click.option("--err", is_flag=True, help="Only what was written to stderr.")
@click.option(
    "--tail", type=click.IntRange(min=-1), default=1000, show_default=True, help="So many lines of each file; -1: all."
)
@click.option("-f", "--follow", is_flag=True, help="Stay, and print what comes.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.01),
    default=None,
    metavar="SECONDS",
    help="With --follow: how often to look. [0.2]",
)
@click.option("--encoding", default=None, help="In which lines are read. [utf-8]")
@click.option(
    "--encoding-errors",
    type=click.Choice(("replace", "strict", "ignore", "backslashreplace")),
    default=None,
    help="What to do about bytes that mean nothing in it. [replace]",
)
@looking
def logs_command(**options: Any) -> None:
    """Print what workers have printed, on any node, also of workers that have died.

    Of an ID the beginning is enough; a name will do, too. With --json each line is a JSON document of its own. Who has printed
    nothing is noted on stderr; the exit code is 1 when nobody knows who is meant.

    WHAT may be as for Ray: actor, task, job or worker, with --id or --pid; or a file, such as 'worker-*.err': if there are
    several of that name they are listed. `job` prints what a submitted job itself has printed.
    """
    from .logs import logs

    logs(**options)


cli.add_command(job)


@cli.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print what makes SHELL complete commands and options of skate.

    For bash: eval "$(skate completion bash)"
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "skate", COMPLETE_VARIABLE).source())


for _command in COMMANDS:
    cli.add_command(_command)


def main() -> None:
    """The entry point: parse, then run the user's program outside of click."""
    try:
        program: Program | int | None = cli.main(
            prog_name="skate", complete_var=COMPLETE_VARIABLE, standalone_mode=False
        )
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    if isinstance(program, int):  # click's own exit code, after --help and --version
        sys.exit(program)
    if program is not None:
        from .run import execute

        sys.exit(execute(program))
