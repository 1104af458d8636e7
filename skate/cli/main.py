"""The command `skate`.

A command line is judged by how soon `--help` answers, so nothing is imported here but click; each command imports what
it needs when it is called.

A command that runs the user's program returns a `Program` instead of running it: click turns a `KeyboardInterrupt`, an
`EOFError` or a broken pipe into messages of its own, and the user's program must end as it does under `python`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ..version import __version__

if TYPE_CHECKING:
    from .run import Program

EXIT_USAGE = 2
"""The command line is wrong; the program did not run."""


class NoProgram(click.ClickException):
    """There is nothing to run."""

    exit_code = EXIT_USAGE


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="skate", message="%(prog)s %(version)s")
def cli() -> None:
    """Tasks, actors and shared objects for Python."""


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


def main() -> None:
    """The entry point: parse, then run the user's program outside of click."""
    try:
        program: Program | int | None = cli.main(prog_name="skate", standalone_mode=False)
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
