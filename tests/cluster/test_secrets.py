"""The token and the password of the store: in files that only their owner can read, and nowhere else."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

import skate
from skate.client import sessions, token
from skate.exceptions import AuthenticationError
from skate.testing import eventually

from .conftest import HOST, Nodes
from .test_head import kill_head

STORE = ["--object-store-memory", str(100 << 20)]
HEAD = ["start", "--head", "--port", "0", "--node-ip-address", HOST, "--num-cpus", "1", *STORE]

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(home: Path, nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Commands of skate, in an environment that a test may change; nothing runs afterwards."""
    for name in ("CERT", "KEY", "CA"):
        monkeypatch.delenv(f"SKATE_TLS_{name}", raising=False)

    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "skate.cli", *words]
        return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=60)

    yield run
    skate.shutdown()
    sessions.stop(sessions.running())


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The error of a command that has failed."""
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr.strip()


def joins(head: sessions.Session) -> list[str]:
    return ["start", "--address", head.address, *STORE]


PROGRAM = """
import os, skate
skate.init(address="auto")

@skate.remote
def environment():
    return dict(os.environ)

@skate.remote
class Actor:
    def environment(self):
        return dict(os.environ)

@skate.remote(max_retries=0)
def fails():
    raise ValueError("on purpose")

@skate.remote(max_retries=0)
def dies():
    os._exit(3)

actor = Actor.options(name="kept", lifetime="detached").remote()
print(skate.get([environment.remote(), actor.environment.remote()]))
for task in (fails, dies):
    try:
        skate.get(task.remote())
    except Exception as error:
        print(repr(error), error)
print(skate.nodes(), skate.get_runtime_context())
"""


def test_f23_secrets_are_nowhere(run: Run, home: Path, valkey: str, tmp_path: Path) -> None:
    """Not on command lines, in environments, logs, session files, answers or errors, of anything that a cluster does."""
    import redis

    secret, password = secrets.token_hex(32), secrets.token_hex(16)
    server = redis.Redis.from_url(valkey)
    server.execute_command("ACL", "SETUSER", "skate", "on", f">{password}", "~*", "+@all")
    store = f"redis://skate:{password}@{urlsplit(valkey).netloc}/0?cluster={tmp_path.name}"
    known = {"SKATE_TOKEN": secret, "SKATE_STORAGE": store}
    said = [run(*HEAD, "--storage", store), run(*HEAD, **known)]
    assert [done.returncode for done in said] == [2, 0], said
    head = sessions.running()[0]
    said += [run(*joins(head), **known), run(*joins(head), SKATE_TOKEN=f"{secret[:-1]}x")]
    assert [done.returncode for done in said[2:]] == [0, 1], said
    (tmp_path / "program.py").write_text(PROGRAM)
    said += [run("run", str(tmp_path / "program.py")), run("status"), run("status", "--json")]
    kill_head(head)
    eventually(lambda: run("status").returncode == 0, 10, "the head is back")
    broken = {"SKATE_TOKEN": secret, "SKATE_STORAGE": store.replace("skate:", "other:")}
    said += [run(*HEAD, **broken), run(*HEAD, **broken | {"SKATE_STORAGE": f"redis://:a/{password}@{HOST}"})]
    words = "".join(done.stdout + done.stderr for done in said)
    assert "on purpose" in words and "with code 3" in words and "does not answer" in words, words
    processes = [psutil.Process(session.pid) for session in sessions.running()]
    processes += [child for process in list(processes) for child in process.children(recursive=True)]
    assert len(processes) >= 6, "two nodes, their zygotes, the head and a worker"
    for process in processes:
        words += " ".join(process.cmdline()) + str(process.environ())
    logs = [path for path in home.rglob("*") if path.is_file()]
    assert any(path.name == "node.json" for path in logs) and any(path.name == "node.log" for path in logs)
    words += "".join(path.read_text(errors="replace") for path in logs)
    assert secret not in words and password not in words, re.findall(f".*(?:{secret}|{password}).*", words)
    assert all(path.stat().st_mode & 0o077 == 0 for path in home.glob("skate-*/*")), (
        "only their owner looks into folders"
    )
    server.execute_command("ACL", "DELUSER", "skate")


def test_f23_the_token_is_where_it_is_told_to_be(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "made" / "secret"
    environment = {"SKATE_TOKEN_PATH": str(tmp_path / "not here")}
    started = run(*HEAD, "--token-file", str(path), **environment)
    assert started.returncode == 0, started.stderr
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert not (tmp_path / "not here").exists()
    head = sessions.running()[0]
    assert f"skate start --address {head.address} --token-file {path}" in started.stdout
    assert f"SKATE_TOKEN=$(ssh {HOST} cat {path}) skate start --address {head.address}" in started.stdout
    join = joins(head)
    assert run(*join, "--token-file", str(path), SKATE_TOKEN="0" * 64).returncode == 0, "the option goes first"
    assert run(*join, SKATE_TOKEN_PATH=str(path)).returncode == 0
    program = f"import skate; skate.init(address={head.address!r}); print(len(skate.nodes()))"
    (tmp_path / "program.py").write_text(program)
    other = {"SKATE_TEMP_DIR": str(tmp_path), "SKATE_TOKEN_PATH": str(path)}
    assert run("run", str(tmp_path / "program.py"), **other).stdout == "4\n", "a program that brings its own node"
    error = one_line(run(*join, **environment))
    assert "no token to join a cluster with" in error and "set SKATE_TOKEN" in error
    error = one_line(run(*join, "--token-file", str(tmp_path / "none")))
    assert f"copy the head's token file to {tmp_path / 'none'}" in error
    assert "not this cluster's" in one_line(run(*join, SKATE_TOKEN="0" * 64))
    path.chmod(0o640)
    assert f"chmod 600 {path}" in one_line(run(*join, "--token-file", str(path)))
    assert f"chmod 600 {path}" in one_line(run(*join, SKATE_TOKEN_PATH=str(path)))


def test_f23_files_that_are_not_to_be_believed(tmp_path: Path) -> None:
    path = tmp_path / "token"
    token.write(path, "secret")
    assert token.read(path) == "secret"
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(AuthenticationError, match="symbolic link"):
        token.read(tmp_path / "link")
    os.mkfifo(tmp_path / "pipe", 0o600)
    for wrong in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(AuthenticationError, match="not a file"):
            token.read(wrong)
    (tmp_path / "empty").touch(0o600)
    with pytest.raises(AuthenticationError, match="empty"):
        token.read(tmp_path / "empty")
    with pytest.raises(AuthenticationError, match=r"no token file can be made.*--token-file"):
        token.write(path / "below" / "token", "secret")
    if os.getuid() == 0:
        os.chown(path, 65534, 65534)
        with pytest.raises(AuthenticationError, match="another user"):
            token.read(path)


# ---------------------------------------------------------------- ports


def listening(processes: list[psutil.Process]) -> list[tuple[str, int]]:
    found = [each for process in processes for each in process.net_connections("inet") if not each.raddr]
    return sorted({(each.laddr.ip, each.laddr.port) for each in found})


def test_f32_a_node_listens_on_one_port(nodes: Nodes) -> None:
    for _ in range(2):
        nodes.add(1)
    skate.init(address=nodes.address)
    keeper = skate.remote(dict).options(num_cpus=1).remote()
    assert skate.get(skate.remote(lambda: 1).remote()) == 1 and keeper is not None
    expected = sorted((HOST, node.port) for node in nodes.started)
    eventually(lambda: listening([psutil.Process(), *nodes.processes()]) == expected, 5, f"only {expected}")
