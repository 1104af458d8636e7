"""Runtime environments on several machines: each machine has a folder of its own here, as it has in life."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import skate
from skate.client import sessions
from skate.client.init_options import InitOptions
from skate.client.package_files import FOLDER
from skate.exceptions import RuntimeEnvSetupError
from skate.testing import eventually

from .conftest import HOST, STORE_BYTES, Nodes, on

Machine = Callable[..., sessions.Session]


@pytest.fixture
def machine(nodes: Nodes) -> Iterator[Machine]:
    """Start a node on a machine of its own. The paths are short, as those of sockets must be."""
    base = Path(tempfile.mkdtemp(prefix="m"))

    def start(name: str, cpus: int = 1) -> sessions.Session:
        head = nodes.started[0] if nodes.started else None
        wish = sessions.Wish(True, HOST) if head is None else sessions.Wish(False, HOST, 0, head.host, head.port)
        folder = base / name
        folder.mkdir()
        options = InitOptions(num_cpus=cpus, resources={name: 1}, object_store_memory=STORE_BYTES, temp_dir=str(folder))
        nodes.started.append(sessions.start_node(options, wish))
        return nodes.started[-1]

    yield start
    skate.shutdown()
    sessions.stop(nodes.started)
    shutil.rmtree(base)


def packages_of(node: sessions.Session) -> list[str]:
    return sorted(path.name for path in (Path(node.folder).parent / FOLDER).glob("*.zip"))


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "spam_far.py").write_text("NAME = 'far'")
    (folder / "large").write_bytes(os.urandom(3 << 20))
    return folder


@skate.remote
def name() -> tuple[str, str]:
    return __import__("spam_far").NAME, os.getcwd()


@skate.remote
class Actor:
    def name(self) -> tuple[str, str]:
        return __import__("spam_far").NAME, os.getcwd()


def attach(folder: str, node: sessions.Session, **arguments: Any) -> None:
    skate.init(f"{node.host}:{node.port}", namespace="t", _temp_dir=str(Path(node.folder).parents[1]), **arguments)


def test_a_package_goes_where_it_is_needed_and_outlives_its_program(machine: Machine, code: Path) -> None:
    head, second, third = machine("head"), machine("second"), machine("third")
    attach("second", second, runtime_env={"working_dir": str(code)})
    eventually(lambda: packages_of(head) == packages_of(second) != [], 10, "the head's machine has the package")
    assert packages_of(third) == []
    found, cwd = skate.get(name.options(**on("third")).remote(), timeout=20)
    assert found == "far" and cwd.startswith(str(Path(third.folder).parent))
    assert packages_of(third) == packages_of(second)
    Actor.options(name="stays", lifetime="detached", max_restarts=1, **on("third")).remote()
    skate.shutdown()

    shutil.rmtree(Path(second.folder).parent / FOLDER)  # the program's machine has it no more
    attach("second", second)
    actor = skate.get_actor("stays", "t")
    assert skate.get(actor.name.remote(), timeout=20)[0] == "far"
    shutil.rmtree(Path(third.folder).parent / FOLDER / packages_of(third)[0].removesuffix(".zip"))
    skate.kill(actor, no_restart=True)


def test_what_no_machine_has_is_an_error_that_says_so(machine: Machine, code: Path) -> None:
    machine("head")
    second = machine("second")
    attach("second", second)
    missing = {"runtime_env": {"working_dir": f"package://{'0' * 64}@2"}}
    refs = [name.options(**missing).remote(), Actor.options(**missing, **on("head")).remote().name.remote()]
    for ref in refs:
        with pytest.raises(RuntimeEnvSetupError, match=r"no node of the cluster has it: .*does not have it"):
            skate.get(ref, timeout=20)
