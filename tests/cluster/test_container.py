"""skate in containers: the image's description and the compose file, and what process 1 of a container has to do."""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

import skate
from skate.cli.main import cli
from skate.client import machine, sessions
from skate.client.init_options import InitOptions
from skate.exceptions import RaySystemError
from skate.testing import eventually

from .conftest import HOST, STORE_BYTES, Nodes

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"


def understood(words: list[str]) -> None:
    """Whether `skate` takes these words; it does not carry them out."""
    command = cli.commands[words[0]]
    command.make_context(words[0], words[1:]).close()


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's, in order."""
    text = (DOCKER / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#")]
    return [(word.upper(), rest) for word, rest in lines]


# ---------------------------------------------------------------- descriptions


def test_the_dockerfile_is_clean() -> None:
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if not hadolint and platform.machine() != "x86_64":
        pytest.skip("the linter is not to be had for this kind of processor")
    assert hadolint, "the extra `test` brings it"
    done = subprocess.run([hadolint, "--no-color", DOCKER / "Dockerfile"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_is_skate_and_runs_as_nobody_special() -> None:
    found = instructions()
    last = dict(found)
    assert last["USER"].isdigit() and int(last["USER"]) >= 10_000, "a number: Kubernetes checks that it is not 0"
    assert json.loads(last["ENTRYPOINT"]) == ["skate"]
    understood(json.loads(last["CMD"]))
    understood(json.loads(last["HEALTHCHECK"].partition("CMD ")[2])[1:])
    allowed = {line.lstrip("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source for word, rest in found if word == "COPY" and "--from" not in rest for source in shlex.split(rest)[:-1]
    }
    assert copied == allowed and all((ROOT / source).exists() for source in copied)


def test_the_compose_file_is_a_head_and_two_workers() -> None:
    compose: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    services = compose["services"]
    assert (DOCKER / services["head"]["build"]["context"] / services["head"]["build"]["dockerfile"]).is_file()
    assert services["worker"]["deploy"]["replicas"] == 2
    for name, service in services.items():
        understood(service["command"])
        assert "privileged" not in service and "ports" not in service and "network_mode" not in service
        assert service.get("healthcheck", {}).get("test", ["CMD", "skate", "status"])[1:] == ["skate", "status"]
        for volume in service["volumes"]:
            assert volume.partition(":")[0] in compose["volumes"]
            assert volume.endswith(":ro") == (name != "head"), "only the head makes the token"
        if name != "head":
            assert service["depends_on"] == {"head": {"condition": "service_healthy"}}
    words = services["worker"]["command"]
    assert words[words.index("--address") + 1] == "head:6379"
    folder = services["head"]["volumes"][0].split(":")[1]
    assert any(f"-m 700 {folder}" in rest for word, rest in instructions() if word == "RUN"), "the volume's owner"


def test_an_address_that_is_not_the_containers_own_needs_another_to_listen_on(nodes: Nodes) -> None:
    """As of a port that an engine publishes. 192.0.2.0/24 is nobody's."""
    wish = sessions.Wish(True, "192.0.2.7")
    with pytest.raises(
        RaySystemError, match=r"this machine has no address 192\.0\.2\.7 to listen on: .*--listen-address 0\.0\.0\.0"
    ):
        sessions.start_node(InitOptions(num_cpus=1, object_store_memory=STORE_BYTES), wish)
    nodes.started.append(
        sessions.start_node(
            InitOptions(num_cpus=1, object_store_memory=STORE_BYTES), sessions.Wish(True, "192.0.2.7", listen=HOST)
        )
    )
    skate.init(address=nodes.address)
    assert nodes.address.startswith("192.0.2.7:") and skate.nodes()[0]["NodeManagerAddress"] == "192.0.2.7"
    assert skate.get(skate.remote(lambda: 1).remote(), timeout=20) == 1


@pytest.mark.parametrize("version", [1, 2])
def test_a_node_offers_what_its_control_group_has(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CGROUP", str(tmp_path))
    whole, _ = machine.resources(InitOptions())
    (tmp_path / "memory").mkdir()
    (tmp_path / "cpu.max").write_text("max 100000")
    limit = tmp_path / ("memory.max" if version == 2 else "memory/memory.limit_in_bytes")
    limit.write_text("max" if version == 2 else str((1 << 63) - 4096))
    assert machine.resources(InitOptions())[0] == whole
    limit.write_text(str(1_000_000_000))
    (tmp_path / "cpu.max").write_text("100000 100000")
    total, store = machine.resources(InitOptions())
    assert total["CPU"] == 1 and total["memory"] + total["object_store_memory"] == 1_000_000_000
    assert store == pytest.approx(300_000_000, rel=0.01)


# ---------------------------------------------------------------- process 1


class Container:
    """`skate` as process 1 of namespaces of its own, as a container engine runs it."""

    def __init__(self, folder: Path) -> None:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        environment |= {"SKATE_TEMP_DIR": str(folder), "SKATE_TOKEN_PATH": str(folder / "token")}
        words = ["start", "--head", "--port", "0", "--node-ip-address", HOST, "--num-cpus", "1", "--block"]
        unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self.engine = subprocess.Popen(
            [*unshare, sys.executable, "-m", "skate.cli", *words, "--object-store-memory", str(100 << 20)],
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        assert self.engine.stdout is not None
        self.said = self.engine.stdout.readline()
        self.first = psutil.Process(self.engine.pid).children()[0]
        self.processes = [self.first, *self.first.children(recursive=True)]

    def execute(self, script: str) -> str:
        """Run a shell in the container."""
        enter = ["nsenter", "--target", str(self.first.pid), "--pid", "--mount", "sh", "-c", script]
        return subprocess.run(enter, capture_output=True, check=True, text=True, timeout=20).stdout

    def ends(self, code: int) -> None:
        assert self.engine.wait(10) == code
        assert psutil.wait_procs(self.processes, 5)[1] == []


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    try:
        subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], check=True, timeout=10)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no right to make namespaces here")
    container = Container(tmp_path)
    yield container
    container.engine.kill()
    container.engine.wait()
    assert container.engine.stdout is not None
    container.engine.stdout.close()


def test_process_1_collects_what_is_left_behind_and_ends_when_told_to(container: Container, tmp_path: Path) -> None:
    assert container.said.startswith("node 1 "), container.said
    assert len(container.processes) >= 4, "itself, a node, a zygote, a head"
    left = int(container.execute("(sleep 0.2 & echo $!)"))
    assert container.execute("ps -o ppid= -p 1").strip() == "0"
    assert left > 1
    eventually(lambda: str(left) not in container.execute("ps -e -o pid=").split(), 5, "it is collected")
    assert "Z" not in container.execute("ps -e -o stat=")
    container.first.send_signal(signal.SIGTERM)
    container.ends(0)
    assert not list(tmp_path.glob("skate-*/session-*")), "the node was ended in order"


def test_process_1_fails_when_its_node_does(container: Container) -> None:
    node = next(child for child in container.first.children() if "skate.node.main" in " ".join(child.cmdline()))
    node.kill()
    container.ends(1)
