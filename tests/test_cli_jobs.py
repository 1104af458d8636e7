"""`skate job`, as a shell sees it: words, JSON and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_cli_nodes import Shell, one_line

from skate.testing import eventually

HERE = "127.0.0.1"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell, and a cluster of one node."""
    shell = Shell(tmp_path_factory.mktemp("jobs"))
    started = shell.json("start", "--head", "--port", "0", "--node-ip-address", HERE, "--num-cpus", "1")
    shell.environment["SKATE_ADDRESS"] = started["address"]
    yield shell
    assert shell("stop").returncode == 0
    assert not list(shell.folder.glob("skate-*/session-*"))


def test_a_job_is_submitted_and_followed_to_its_end(shell: Shell) -> None:
    done = shell("job", "submit", "--submission-id", "first", "--", sys.executable, "-c", "print('a b')")
    assert (done.returncode, done.stdout) == (0, "a b\n")
    assert "job first has succeeded: it has finished" in done.stderr
    assert shell("job", "logs", "first").stdout == "a b\n"
    info: dict[str, Any] = shell.json("job", "status", "first")
    assert (info["status"], info["driver_exit_code"]) == ("SUCCEEDED", 0)
    assert "first  SUCCEEDED  " in shell("job", "list").stdout
    assert [each["submission_id"] for each in shell.json("job", "list")] == ["first"]
    assert "job first is over already" in shell("job", "stop", "first").stdout
    assert "job first is deleted" in shell("job", "delete", "first").stdout
    assert shell.json("job", "list") == []


def test_the_exit_code_says_whether_it_has_succeeded(shell: Shell) -> None:
    done = shell("job", "submit", "--metadata-json", '{"k": "v"}', "--", "echo said; exit 7")
    assert (done.returncode, done.stdout) == (1, "said\n")
    assert "has failed: its entrypoint ended with exit code 7" in done.stderr


def test_options_of_the_entrypoint_need_no_dashes_before_it(shell: Shell, tmp_path: Path) -> None:
    done = shell("job", "submit", sys.executable, "-c", "import sys; print(sys.argv[1:])", "--epochs", "3")
    assert done.stdout == "['--epochs', '3']\n"


def test_the_end_of_an_installation_that_fails_is_shown(shell: Shell) -> None:
    wanted = {"pip": {"packages": ["spam_nowhere"], "pip_install_options": ["--no-index"]}}
    done = shell("job", "submit", "--runtime-env-json", json.dumps(wanted), "--", "true")
    assert "has failed with code 1: " in done.stderr and "spam_nowhere" in done.stderr.splitlines()[-1]


def test_a_job_goes_on_without_whoever_has_submitted_it(shell: Shell, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "skate.cli",
        "job",
        "submit",
        "--submission-id",
        "long",
        "--",
        "echo up; sleep 100",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=shell.environment) as run:
        assert run.stdout is not None and run.stderr is not None
        assert run.stdout.readline() == b"up\n"
        os.kill(run.pid, signal.SIGINT)
        assert run.wait(10) == 130
        assert b"job long goes on" in run.stderr.read()
    assert shell.json("job", "status", "long")["status"] == "RUNNING"
    assert "job long is RUNNING: stop it" in one_line(shell("job", "delete", "long"), 1)
    assert "job long has ended: it was stopped" in shell("job", "stop", "long").stdout
    ident = shell("job", "submit", "--no-wait", "--", "echo later").stdout.strip()
    eventually(lambda: shell.json("job", "status", ident)["status"] == "SUCCEEDED", 10)
    assert shell("job", "logs", "--follow", ident).stdout == "later\n"


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["status", "nobody"], "there is no job 'nobody'", 1),
        (["logs", "-f", "nobody"], "there is no job 'nobody'", 1),
        (["list", "--address", "http://127.0.0.1:9"], "no dashboard answers at http://127.0.0.1:9", 1),
        (["list", "--address", "127.0.0.1:9"], "127.0.0.1:9", 1),
        (["list", "--address", "ray://127.0.0.1:9"], "there are no ray:// addresses", 1),
        (["list", "--address", "foo"], "neither HOST:PORT of a node, nor http://HOST:PORT of a dashboard", 1),
        (["list", "--headers", '{"a": "b"}'], "headers and verify are for a dashboard", 1),
        (["list", "--verify", "false"], "headers and verify are for a dashboard", 1),
        (["submit"], "Missing argument", 2),
        (["submit", "--workingdir", ".", "--", "true"], "No such option '--workingdir'", 2),
        (["submit", "--metadata-json", "{", "--", "true"], "--metadata-json: this is no JSON", 2),
        (["submit", "--runtime-env", "/nowhere.json", "--", "true"], "No such file", 2),
    ],
)
def test_what_is_wrong_is_one_line(shell: Shell, words: list[str], said: str, code: int) -> None:
    assert said in one_line(shell("job", *words), code)


def test_the_address_of_a_node_is_not_that_of_a_dashboard(shell: Shell) -> None:
    line = one_line(shell("job", "list", "--address", f"http://{shell.environment['SKATE_ADDRESS']}"), 1)
    assert "this is a node, and no dashboard" in line and "say HOST:PORT" in line


def test_options_of_rays_that_have_no_effect_are_noted(shell: Shell) -> None:
    done = shell("job", "submit", "--log-style", "pretty", "--log-color", "false", "-v", "--", "printf", "cut")
    assert done.stdout == "cut"
    *notes, first, empty, last = done.stderr.splitlines()
    assert len(notes) == 3 and all("has no effect: what is printed is plain" in each for each in notes)
    assert " is submitted: " in first and not empty and " has succeeded: " in last, (
        "what it has printed has no line's end"
    )


def test_json_of_the_end(shell: Shell) -> None:
    done = shell("job", "submit", "--json", "--", "echo shown")
    assert json.loads(done.stdout)["status"] == "SUCCEEDED" and "shown\n" in done.stderr
    done = shell("job", "submit", "--json", "--no-wait", "--", "true")
    assert shell.json("job", "status", json.loads(done.stdout)["submission_id"])["entrypoint"] == "true"
