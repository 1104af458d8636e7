"""`skate job`: hand a program to the cluster, and look after it."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

import click

from ..client import sessions
from ..client.finding import PART_MIN, SHOWN_MAX
from .looking import asked_for, note
from .topics import Group

if TYPE_CHECKING:
    from ..job_submission import JobDetails, JobSubmissionClient

EXIT_NOT_SUCCEEDED = 1
"""The job that was waited for has failed, or was stopped."""


@click.group("job", cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
def job() -> None:
    """Run programs on the cluster, without whoever has submitted them."""


def _reaches_a_cluster(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say of which cluster."""
    options = [
        click.option("--address", default=None, metavar="ADDRESS", help=_ADDRESS),
        click.option("--headers", default="{}", metavar="JSON", help="Headers for a dashboard."),
        click.option(
            "--verify", default="true", metavar="BOOL|FILE", help="Check a dashboard's certificate, by this CA."
        ),
        _without_effect("--log-style"),
        _without_effect("--log-color"),
        _without_effect("--verbose", "-v"),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _without_effect(*names: str) -> Callable[..., Any]:
    """An option of Ray's that has no effect, which is noted."""

    def noted(_: click.Context, __: click.Parameter, value: Any) -> None:
        if value:
            note([f"{names[0]} has no effect: what is printed is plain"])

    is_flag = names[0] == "--verbose"
    return click.option(*names, is_flag=is_flag, hidden=True, expose_value=False, callback=noted)


_ADDRESS = "HOST:PORT of any node, or http://HOST:PORT of a dashboard. [SKATE_ADDRESS, RAY_ADDRESS, this machine]"
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _meant(client: JobSubmissionClient, ident: str) -> str:
    """The id of the job that is meant: the beginning of one is enough. The cluster says so if there is none."""
    known = [info.submission_id for info in client.list_jobs() if info.submission_id]
    found = [each for each in known if each.startswith(ident)]
    if ident in known or not found or len(ident) < PART_MIN:
        return ident
    if len(found) > 1:
        more = f" and {len(found) - SHOWN_MAX} more" if len(found) > SHOWN_MAX else ""
        raise ValueError(f"{ident!r} may be one of several jobs: {', '.join(found[:SHOWN_MAX])}{more}")
    return found[0]


@contextmanager
def _client(address: str | None, headers: str, verify: str) -> Iterator[JobSubmissionClient]:
    """The jobs of a cluster; errors become one line."""
    from ..exceptions import RayError
    from ..job_submission import JobSubmissionClient

    checked = {"true": True, "false": False}.get(verify.lower(), verify)
    try:
        yield JobSubmissionClient(address, headers=_mapping("--headers", headers), verify=checked)
    except (ConnectionError, TimeoutError, RuntimeError, ValueError, RayError) as error:
        raise click.ClickException(f"{error}{_past(address) if isinstance(error, ConnectionError) else ''}") from None


def _past(address: str | None) -> str:
    """Where to look when no cluster runs here, but there was one."""
    from ..client import past

    if asked_for(address) is not None or sessions.running() or not past.sessions():
        return ""
    return "; `skate list jobs --session last` tells of those that have run here before"


def _mapping(option: str, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise click.UsageError(f"{option}: this is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise click.UsageError(f'{option}: a JSON object is wanted, as {{"name": "value"}}')
    return found


@job.command("submit", context_settings={"allow_interspersed_args": False})
@_reaches_a_cluster
@click.option("--submission-id", "--job-id", "submission_id", default=None, metavar="ID", help="What it is called.")
@click.option(
    "--runtime-env", "env_file", default=None, metavar="FILE", help="Its runtime environment, as JSON or YAML."
)
@click.option("--runtime-env-json", default=None, metavar="JSON", help="Its runtime environment.")
@click.option("--working-dir", default=None, metavar="DIR", help="A folder or zip file that it is run in.")
@click.option("--metadata-json", default="{}", metavar="JSON", help="Strings of your own, by name.")
@click.option("--entrypoint-num-cpus", type=float, default=None, help="CPUs that the entrypoint needs by itself. [0]")
@click.option("--entrypoint-num-gpus", type=float, default=None, help="GPUs. [0]")
@click.option("--entrypoint-memory", type=int, default=None, metavar="BYTES", help="Memory. [0]")
@click.option("--entrypoint-resources", default="{}", metavar="JSON", help="Your own resources.")
@click.option("--entrypoint-label-selector", default="{}", metavar="JSON", help="Labels of the node that it runs on.")
@click.option("--no-wait", is_flag=True, help="Return when it is accepted, without its output.")
@_json
@click.argument("entrypoint", nargs=-1, required=True, type=click.UNPROCESSED)
def submit_command(
    address: str | None,
    headers: str,
    verify: str,
    submission_id: str | None,
    env_file: str | None,
    runtime_env_json: str | None,
    working_dir: str | None,
    metadata_json: str,
    entrypoint_num_cpus: float | None,
    entrypoint_num_gpus: float | None,
    entrypoint_memory: int | None,
    entrypoint_resources: str,
    entrypoint_label_selector: str,
    no_wait: bool,
    as_json: bool,
    entrypoint: tuple[str, ...],
) -> None:
    """Run ENTRYPOINT on the cluster, and show what it prints until it ends.

    ENTRYPOINT is a command, as in `skate job submit -- python train.py --fast`; one word with spaces is a line for the shell.
    The job goes on if this command is interrupted. The exit code is 0 when the job has succeeded.
    """
    environment = _runtime_env(env_file, runtime_env_json, working_dir)
    with _client(address, headers, verify) as client:
        ident = client.submit_job(
            entrypoint=entrypoint[0] if len(entrypoint) == 1 else shlex.join(entrypoint),
            submission_id=submission_id,
            runtime_env=environment,
            metadata=_mapping("--metadata-json", metadata_json),
            entrypoint_num_cpus=entrypoint_num_cpus,
            entrypoint_num_gpus=entrypoint_num_gpus,
            entrypoint_memory=entrypoint_memory,
            entrypoint_resources=_mapping("--entrypoint-resources", entrypoint_resources),
            entrypoint_label_selector=_mapping("--entrypoint-label-selector", entrypoint_label_selector),
        )
        if no_wait:
            click.echo(json.dumps({"submission_id": ident}) if as_json else ident)
            return
        click.echo(f"job {ident} is submitted: `skate job stop {ident}` ends it", err=True)
        line_ended = _follow(client, ident, sys.stderr if as_json else sys.stdout)
        info = client.get_job_info(ident)
    _say_end(info, as_json, line_ended)


def _runtime_env(file: str | None, text: str | None, working_dir: str | None) -> dict[str, Any]:
    if file is not None and text is not None:
        raise click.UsageError("give --runtime-env or --runtime-env-json, not both")
    environment = _read(file) if file is not None else _mapping("--runtime-env-json", text or "{}")
    if working_dir is not None:
        environment["working_dir"] = working_dir
    return environment


def _read(path: str) -> dict[str, Any]:
    """A file of a runtime environment."""
    try:
        with open(path) as file:
            text = file.read()
    except OSError as error:
        raise click.UsageError(f"--runtime-env: {path}: {error.strerror}") from None
    if not path.endswith((".yaml", ".yml")):
        return _mapping("--runtime-env", text)
    try:
        import yaml
    except ImportError:
        raise click.UsageError("--runtime-env: a YAML file needs PyYAML: pip install pyyaml, or write JSON") from None
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise click.UsageError(f"--runtime-env: {path}: {error}") from None
    return _mapping("--runtime-env", json.dumps(found))


def _follow(client: JobSubmissionClient, ident: str, to: TextIO) -> bool:
    """Whether what it has shown ends with a line's end."""
    part = "\n"
    try:
        for part in client.follow_job_logs(ident):
            to.write(part)
            to.flush()
    except KeyboardInterrupt:
        click.echo(
            f"\njob {ident} goes on: `skate job logs -f {ident}` shows more, `skate job stop {ident}` ends it", err=True
        )
        sys.exit(130)
    return part.endswith("\n")


def _say_end(info: JobDetails, as_json: bool, line_ended: bool) -> None:
    if not line_ended:
        click.echo(err=True)
    if as_json:
        click.echo(json.dumps(asdict(info)))
    else:
        click.echo(f"job {info.submission_id} has {_ENDS[info.status]}: {_first_line(info)}", err=True)
    if info.status != "SUCCEEDED":
        sys.exit(EXIT_NOT_SUCCEEDED)


_ENDS = {"SUCCEEDED": "succeeded", "FAILED": "failed", "STOPPED": "ended"}


def _first_line(info: JobDetails) -> str:
    """What it says; if that leads to lines of output, the last of these, too."""
    first, *lines = (info.message or "").splitlines() or [""]
    return f"{first} {lines[-1]}" if first.endswith(":") and lines else first


@job.command("status")
@_reaches_a_cluster
@_json
@click.argument("ident", metavar="ID")
def status_command(address: str | None, headers: str, verify: str, as_json: bool, ident: str) -> None:
    """Show how far a job is, and why. ID may be the beginning of one."""
    with _client(address, headers, verify) as client:
        info = client.get_job_info(_meant(client, ident))
    if as_json:
        click.echo(json.dumps(asdict(info)))
        return
    click.echo(f"{info.submission_id}  {info.status}  {info.entrypoint}")
    click.echo(f"  {info.message}")
    for name, value in info.metadata.items():
        click.echo(f"  {name}: {value}")


@job.command("list")
@_reaches_a_cluster
@_json
def list_command(address: str | None, headers: str, verify: str, as_json: bool) -> None:
    """Show all jobs that were submitted, and not deleted; and programs that were not submitted, by their job ids."""
    with _client(address, headers, verify) as client:
        jobs = client.list_jobs()
    if as_json:
        click.echo(json.dumps([asdict(info) for info in jobs]))
        return
    idents = [info.submission_id or str(info.job_id) for info in jobs]
    width = max(map(len, idents), default=0)
    for ident, info in zip(idents, jobs, strict=True):
        click.echo(f"{ident:{width}}  {info.status:9}  {info.entrypoint}")
    if not jobs:
        click.echo("no jobs: `skate job submit -- COMMAND` submits one", err=True)


@job.command("logs")
@_reaches_a_cluster
@click.option("-f", "--follow", is_flag=True, help="Go on until the job is over.")
@click.argument("ident", metavar="ID")
def logs_command(address: str | None, headers: str, verify: str, follow: bool, ident: str) -> None:
    """Show what a job has printed. ID may be the beginning of one."""
    with _client(address, headers, verify) as client:
        ident = _meant(client, ident)
        if follow:
            _follow(client, ident, sys.stdout)
        else:
            click.echo(client.get_job_logs(ident), nl=False)


@job.command("stop")
@_reaches_a_cluster
@click.option("--no-wait", is_flag=True, help="Return at once, when it is perhaps not over yet.")
@click.argument("ident", metavar="ID")
def stop_command(address: str | None, headers: str, verify: str, no_wait: bool, ident: str) -> None:
    """End a job: SIGTERM to its processes, and SIGKILL after 3 s. ID may be the beginning of one."""
    with _client(address, headers, verify) as client:
        ident = _meant(client, ident)
        if not client.stop_job(ident):
            click.echo(f"job {ident} is over already")
            return
        if no_wait:
            click.echo(f"job {ident} is being stopped")
            return
        info = client.wait_for_job(ident, STOP_S)
    click.echo(f"job {ident} has {_ENDS[info.status]}: {_first_line(info)}")


STOP_S = 30.0
"""How long `skate job stop` waits for a job to end, which takes 3 s at the most unless its node is in trouble."""


@job.command("delete")
@_reaches_a_cluster
@click.argument("ident", metavar="ID")
def delete_command(address: str | None, headers: str, verify: str, ident: str) -> None:
    """Forget a job that is over, and remove its log."""
    with _client(address, headers, verify) as client:
        client.delete_job(ident)
    click.echo(f"job {ident} is deleted")
