"""`skate start`, `stop`, `status`, `drain-node` and `completion`, as a shell sees them: words, JSON and exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from skate.cli.main import cli
from skate.cli.ray_flags import RAY_FLAGS
from skate.testing import eventually

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 60
HERE = "127.0.0.1"


class Shell:
    """Runs commands in a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        drop = ("RAY_", "SKATE_")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(drop)}
        self.environment |= {"HOME": str(folder), "SKATE_TEMP_DIR": str(folder), "PYTHONPATH": str(ROOT)}

    def __call__(self, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "skate.cli", *words],
            capture_output=True,
            check=False,
            text=True,
            timeout=LIMIT_S,
            env=self.environment | extra,
        )

    def json(self, *words: str, **extra: str) -> Any:
        done = self(*words, "--json", **extra)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    shell = Shell(tmp_path_factory.mktemp("cli"))
    yield shell
    shell("stop", "--force")
    assert not list(shell.folder.glob("skate-*/session-*"))


@pytest.fixture
def head(shell: Shell) -> Iterator[dict[str, Any]]:
    """A head, and what `start --json` says of it."""
    yield shell.json("start", "--head", "--port", "0", "--node-ip-address", HERE, "--num-cpus", "1")
    assert shell("stop").returncode == 0


def one_line(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The error of a command that failed as it should."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    assert done.returncode == code and len(lines) == 1 and not done.stdout, done
    assert done.stderr.rstrip().endswith(lines[0]), "nothing follows the error"
    return lines[0]


def test_the_life_of_a_node(shell: Shell, head: dict[str, Any]) -> None:
    address = head["address"]
    member = shell.json("start", "--address", address, "--num-cpus", "2", "--node-name", "second", "--labels", "zone=a")
    assert (head["node_no"], member["node_no"], member["head_port"]) == (1, 2, head["port"])
    state = shell.json("status")
    assert [(node["No"], node["State"], node["Resources"]["CPU"]) for node in state["nodes"]] == [
        (1, "alive", 1.0),
        (2, "alive", 2.0),
    ]
    assert state["head"] == address and state["demand"] == state["groups"] == state["failures"] == []
    drained = shell.json("drain-node", "second", "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot")
    assert drained["node"] == 2
    eventually(lambda: shell.json("status")["nodes"][1]["State"] == "drained", 20)
    plain = shell("status", "-v").stdout
    assert plain.startswith(f"cluster {address}: 1 node alive\n") and "DRAINED" in plain
    assert "zone=a" in plain and "ended: it was drained" in plain
    assert "DRAINED" not in shell("status").stdout


def test_status_from_a_machine_that_is_in_no_cluster(shell: Shell, head: dict[str, Any], tmp_path: Path) -> None:
    far = Shell(tmp_path)
    assert "no token to ask the cluster" in one_line(far("status", "--address", head["address"]), 1)
    token = {"SKATE_TOKEN": (shell.folder / ".skate" / "token").read_text().strip()}
    member = shell.json("start", "--address", head["address"], "--num-cpus", "1")
    for port in (head["port"], member["port"]):  # any node will do
        state = far.json("status", "--address", f"{HERE}:{port}", **token)
        assert len(state["nodes"]) == 2 and state["head"] == head["address"] and "note" not in state
    wrong = far("status", "--address", head["address"], SKATE_TOKEN="0" * 64)
    assert "token is not this cluster's" in one_line(wrong, 1)
    drained = far.json("drain-node", "2", "--address", f"{HERE}:{member['port']}", **token)
    assert drained["id"] == member["node_id"]
    with socket.socket() as free:
        free.bind((HERE, 0))
        nowhere = f"{HERE}:{free.getsockname()[1]}"
        assert "there is no node at" in one_line(far("status", "--address", nowhere, **token), 1)


@pytest.mark.parametrize("width", [160, 60])
def test_status_on_a_wide_terminal_has_tables_and_bars(shell: Shell, head: dict[str, Any], width: int) -> None:
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "skate.cli", "status"]
    environment = shell.environment | {"TERM": "xterm-256color", "COLUMNS": str(width)}
    with subprocess.Popen(command, stdout=follower, env=environment) as process:
        os.close(follower)
        seen = b""
        while True:
            try:
                part = os.read(leader, 4096)
            except OSError:
                break
            seen += part
        assert process.wait(LIMIT_S) == 0
    os.close(leader)
    assert b"0/1" in seen and head["address"].encode() in seen, "nothing is cut"
    assert (b"\x1b[" in seen and "░░░" in seen.decode()) is (width >= 100)


def test_when_several_clusters_run_it_is_said_which_is_shown(shell: Shell, head: dict[str, Any]) -> None:
    other = shell.json("start", "--head", "--port", "0", "--node-ip-address", HERE, "--num-cpus", "1")
    code = "import skate; skate.init('auto'); print(skate.nodes()[0]['NodeID'])"
    for wanted, more in (
        (other, {}),
        (head, {"SKATE_ADDRESS": head["address"]}),
        (head, {"RAY_ADDRESS": head["address"]}),
    ):
        seen = subprocess.check_output(
            [sys.executable, "-c", code], env=shell.environment | more, text=True, timeout=LIMIT_S
        )
        assert seen.strip() == wanted["node_id"]
    for words in (("status", "--json"), ("list", "nodes", "--json"), ("why",)):
        done = shell(*words)
        assert done.stderr == (
            f"note: 2 clusters of yours run here: this is {other['address']}; --address {head['address']} is another\n"
        )
        assert not shell(*words, SKATE_ADDRESS=head["address"]).stderr
    assert shell.json("status", SKATE_ADDRESS=head["address"])["head"] == head["address"]


def test_what_a_cluster_did_that_was_killed_can_be_read(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    head = shell.json("start", "--head", "--port", "0", "--node-ip-address", HERE, "--num-cpus", "1")
    program = tmp_path / "program.py"
    program.write_text("""
import skate
skate.init(address="auto")

@skate.remote
class Keeper:
    def fail(self): raise ValueError("no such thing")

keeper = Keeper.options(name="keeper").remote()
skate.wait([keeper.fail.remote()])
skate.kill(keeper)
print(keeper._actor_id.hex())
""")
    run = subprocess.run(
        [sys.executable, program], env=shell.environment, capture_output=True, text=True, timeout=LIMIT_S
    )
    actor = run.stdout.strip()
    eventually(lambda: "killed by skate.kill" in shell("events").stdout, 10)
    os.kill(head["pid"], signal.SIGKILL)
    eventually(lambda: "--session last is about what has run here" in shell("list", "tasks").stderr, 10)
    assert "; `skate list jobs --session last` tells of those" in one_line(shell("job", "status", "nightly"), 1)
    assert "`skate list KIND --session last` is about what has run" in one_line(shell("metrics", "show"), 1)
    past = ("--session", "last")
    assert [row["error_type"] for row in shell.json("list", "tasks", *past)["rows"]] == ["ValueError"]
    assert "killed by skate.kill" in shell("events", *past).stdout, "of the head"
    for what in (actor, "keeper"):
        assert "is dead: it was killed by skate.kill" in shell("why", what, *past).stdout
    assert "ValueError: no such thing" in shell("why", "Keeper.fail", *past).stdout
    assert {row["state"] for row in shell.json("history")} == {"ended"}


def test_who_stops_reading_hears_nothing_of_it(shell: Shell, head: dict[str, Any]) -> None:
    command = [sys.executable, "-m", "skate.cli", "metrics", "show"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=shell.environment, **pipes) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_why_work_waits(shell: Shell, head: dict[str, Any], tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("""
import sys, skate
from skate.util.placement_group import placement_group
skate.init(address="auto")

@skate.remote
class Actor:
    def wait(self): sys.stdin.read()

@skate.remote
def nap(): pass

actor = Actor.options(num_cpus=1).remote()
skate.get(actor.__ray_ready__.remote())
refs = [
    nap.remote(), nap.options(num_cpus=64).remote(), nap.options(label_selector={"zone": "b"}).remote(),
    nap.options(resources={"bob": 1}).remote(),
]
group = placement_group([{"CPU": 3}], name="three")
print("waits", flush=True)
sys.stdin.read()
""")
    command = [sys.executable, str(program)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=shell.environment, text=True, **pipes) as driver:
        try:
            assert driver.stdout is not None and driver.stdout.readline() == "waits\n"
            eventually(lambda: len(shell.json("status")["demand"]) == 4, 20)
            state = shell.json("status")
            text = shell("status").stdout
        finally:
            driver.kill()
    reasons = {demand["wants"]: demand["reason"] for demand in state["demand"]}
    assert reasons["1 CPU"] == "every node that could is busy"
    assert reasons["64 CPU"] == "infeasible: no node has that much; the most is 1 CPU"
    assert reasons["1 CPU, 1 bob"] == "infeasible: no node has any bob"
    labelled = next(reason for wants, reason in reasons.items() if "zone" in wants)
    assert labelled == "waits for labels: no node has these labels, and that much"
    assert [(g["name"], g["state"]) for g in state["groups"]] == [("three", "PENDING")]
    assert "could ever give" in state["groups"][0]["reason"]
    assert "waiting on node 1: 1 x (64 CPU): infeasible" in text and "placement group three is PENDING" in text


def test_a_worker_that_died_is_among_the_failures(shell: Shell, head: dict[str, Any], tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("""
import os, skate
skate.init(address="auto")

@skate.remote(max_retries=0)
def crash(): os._exit(7)

skate.wait([crash.remote()])
""")
    assert subprocess.run([sys.executable, str(program)], env=shell.environment, timeout=LIMIT_S).returncode == 0
    failures = eventually(lambda: shell.json("status")["failures"], 10)
    assert re.fullmatch(r"a worker of node 1, pid \d+, has died: .*code 7", failures[0]["text"])
    assert 0 <= failures[0]["seconds_ago"] < LIMIT_S
    assert re.search(r"failed \d+ s ago: a worker of node 1", shell("status").stdout)


def test_help_has_whole_sentences_by_topic(shell: Shell) -> None:
    text = shell("--help", COLUMNS="60").stdout.partition("[ARGS]...")[2]
    assert "..." not in text and "Find out why:\n  why " in text and "Commands:" not in text
    assert "..." not in shell("job", "--help").stdout.partition("[ARGS]...")[2]


# ------------------------------------------------------------ wrong uses


def test_a_second_head_on_a_port_is_one_line(shell: Shell, head: dict[str, Any], tmp_path: Path) -> None:
    words = ("start", "--head", "--node-ip-address", HERE, "--port", str(head["port"]))
    assert "a head runs at" in one_line(shell(*words), 1)
    assert "is in use already" in one_line(Shell(tmp_path)(*words), 1)  # somebody else's
    assert not list(tmp_path.glob("skate-*/session-*"))
    assert "has no address 203.0.113.7" in one_line(shell("start", "--head", "--node-ip-address", "203.0.113.7"), 1)


def test_a_head_that_listens_on_another_address_is_named(shell: Shell, head: dict[str, Any]) -> None:
    done = shell("start", "--address", f"127.0.0.2:{head['port']}", "--node-ip-address", HERE)
    assert "there is no head at 127.0.0.2" in one_line(done, 1)
    assert done.stderr.rstrip().endswith(f"; a head of yours listens on {head['address']}")


def test_what_cannot_be_drained_is_one_line(shell: Shell, head: dict[str, Any], tmp_path: Path) -> None:
    assert "node 1 has the head and cannot be drained" in one_line(shell("drain-node", "1"), 1)
    assert "there is no node 'x' that lives" in one_line(shell("drain-node", "--node-id", "x"), 1)
    assert "say which node" in one_line(shell("drain-node"), 2)
    assert "no node runs here" in one_line(Shell(tmp_path)("drain-node", "1"), 1)


def test_nothing_runs(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    assert "no node runs here" in one_line(shell("status"), 1)
    assert shell("stop").stdout == "no node runs here\n"
    assert shell.json("stop", "--grace-period", "1") == {"stopped": [], "killed": []}


@pytest.mark.parametrize("refused", [False, True])
def test_options_of_rays_are_noted_or_refused(shell: Shell, refused: bool) -> None:
    given = {name: flag for name, flag in RAY_FLAGS.items() if flag.refused is refused}
    words = [word for name, flag in given.items() for word in ([name] if flag.is_flag else [name, "7"])]
    done = shell("start", "--head", "--node-ip-address", "203.0.113.7", *words)  # an address that cannot be had
    error = one_line(done, 2 if refused else 1)
    for name, flag in given.items():
        if refused:
            assert f"{name} is refused: {flag.why}" in error
        else:
            assert f"note: {name} has no effect: {flag.why}\n" in done.stderr
    assert refused or "203.0.113.7" in error


def test_options_of_a_dashboard_that_is_not_started_are_noted(shell: Shell) -> None:
    start = ("start", "--head", "--node-ip-address", "203.0.113.7")
    given = shell(*start, "--include-dashboard=False", "--dashboard-host=0.0.0.0", "--dashboard-port=8265").stderr
    assert given.count("note:") == 1 and "no dashboard is started" in given


def test_a_misspelt_setting_names_the_one_that_is_meant(shell: Shell) -> None:
    done = shell("start", "--head", "--system-config", '{"object_spiling_config": 1}')
    assert "did you mean object_spilling_config?" in one_line(done, 2)


# ------------------------------------------------------------ metrics


def test_metrics_are_shown_with_where_they_are(shell: Shell, head: dict[str, Any]) -> None:
    address = f"{head['host']}:{head['port']}"
    for words in ((), ("--address", address)):
        shown = shell("metrics", "show", *words)
        assert shown.returncode == 0, shown.stderr
        assert f'node_id="{head["node_id"]}"' in shown.stdout and shown.stdout.endswith("\n")
        found = json.loads(shell("metrics", "targets", *words).stdout)
        assert address in [target for group in found for target in group["targets"]]


def test_the_reading_token_is_printed_and_reads(shell: Shell, head: dict[str, Any], tmp_path: Path) -> None:
    done = shell("metrics", "token")
    assert re.fullmatch(r"[0-9a-f]{64}\n", done.stdout), done.stderr
    secret = (shell.folder / ".skate" / "token").read_text().strip()
    assert secret not in done.stdout
    assert shell("metrics", "token", "--token-file", str(shell.folder / ".skate" / "token")).stdout == done.stdout
    assert "no cluster's token" in one_line(shell("metrics", "token", "--token-file", str(tmp_path / "none")), 1)
    assert "no cluster's token" in one_line(Shell(tmp_path)("metrics", "token"), 1)
    assert "no skate program and no node" in one_line(Shell(tmp_path)("metrics", "show"), 1)


def test_the_dashboard_for_grafana_is_json(shell: Shell) -> None:
    assert json.loads(shell("metrics", "dashboard").stdout)["title"] == "skate"


# ------------------------------------------------------------ completion and documentation


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: Shell, name: str) -> None:
    done = shell("completion", name)
    assert done.returncode == 0 and "_SKATE_COMPLETE" in done.stdout


def test_health_is_an_exit_code(shell: Shell, head: dict[str, Any], tmp_path: Path) -> None:
    for words in ((), ("--address", head["address"])):
        assert shell("health-check", *words).stdout == "the head answers: 1 node alive\n"
    with socket.socket() as silent:
        silent.bind((HERE, 0))
        silent.listen()
        where = f"{HERE}:{silent.getsockname()[1]}"
        said = one_line(shell("health-check", "--address", where, "--timeout", "0.2"), 1)
        assert "a dashboard's address begins with http://" in said
    assert "there is no" in one_line(shell("health-check", "--address", where), 1)
    assert "runs here" in one_line(Shell(tmp_path)("health-check"), 1)


def test_completion_answers(shell: Shell) -> None:
    def complete(*words: str) -> set[str]:
        line = {"COMP_WORDS": " ".join(["skate", *words]), "COMP_CWORD": str(len(words))}
        done = shell(_SKATE_COMPLETE="bash_complete", **line)
        return {entry.partition(",")[2] for entry in done.stdout.splitlines()}

    assert complete("st") == {"stack", "start", "status", "stop"}
    assert complete("drain-node", "--dead") == {"--deadline-s", "--deadline-remaining-seconds"}
    assert complete("completion", "") == {"bash", "zsh", "fish"}


def test_every_command_and_option_is_documented() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    parts: dict[str, str] = {}
    headings = re.findall(r"^## (`skate .*)$", page, re.M)
    for heading, part in zip(headings, re.split(r"^## .*$", page, flags=re.M)[1:], strict=True):
        parts |= dict.fromkeys(re.findall(r"`(?:skate )?([\w-]+)`", heading), part)
    assert sorted(parts) == sorted(cli.commands), "each command is in the heading of one part"
    for name, command in cli.commands.items():
        of_parts = command.commands.values() if isinstance(command, click.Group) else ()
        for parameter in [*command.params, *(each for part in of_parts for each in part.params)]:
            if isinstance(parameter, click.Option):
                for option in parameter.opts:
                    assert f"`{option}" in parts[name], f"docs/cli.md says nothing of skate {name} {option}"
