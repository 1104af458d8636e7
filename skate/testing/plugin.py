"""Fixtures for pytest: a cluster for all tests, nodes for one test, inline mode, faults, and the proof that nothing is left over.

pytest loads this file in every project where skate is installed: so it imports nothing of skate but when a fixture needs it,
and has no fixture that runs by itself.

A process has one runtime. A test that starts another (`skate_cluster`, `skate_inline`) sets that of the session aside
meanwhile, with all that it holds. With pytest-xdist each worker is a process of its own and has a cluster of its own, and
nothing is shared: no port, folder or token.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..api.context import RayContext
    from .faults import Faults
    from .nodes import Nodes

SETTINGS = {
    "cpus": ("2", "CPUs"),
    "gpus": ("0", "GPUs"),
    "resources": ("", "resources of your own, as NAME=AMOUNT,NAME=AMOUNT"),
    "object_store_memory": (str(200 << 20), "bytes of shared memory for objects; only what is used takes memory"),
    "leak_seconds": ("5", "how long a test's remains may take to go, before they are a leak"),
}
"""Default, and what it is. All but the last are of the cluster of `skate_session` and of inline mode."""
STARTS = frozenset({"skate_cluster", "skate_inline"})
"""Fixtures that start skate for one test, and prove by themselves that nothing is left of it."""
_by_value = pytest.StashKey[set[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options and ini settings of the same names: `--skate-cpus 4`, or `skate_cpus = 4`."""
    group = parser.getgroup("skate")
    for name, (default, what) in SETTINGS.items():
        text = f"{what} (default: {default or 'none'})"
        group.addoption(f"--skate-{name.replace('_', '-')}", dest=f"skate_{name}", metavar=name.upper(), help=text)
        parser.addini(f"skate_{name}", text, default=default)


def pytest_configure(config: pytest.Config) -> None:
    """The mark that a test may carry."""
    config.stash[_by_value] = set()
    config.addinivalue_line(
        "markers",
        "skate_keeps_objects: skate_no_leaks lets the test leave objects, such as those that its functions hold",
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take back what was said to cloudpickle."""
    if config.stash.get(_by_value, None):
        import cloudpickle

        for name in config.stash[_by_value]:
            cloudpickle.unregister_pickle_by_value(sys.modules[name])


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Functions and classes of a test file that uses skate travel as those of a script do: no worker has to import the tests."""
    module = getattr(item, "module", None)
    known = item.config.stash[_by_value]
    if module is None or module.__name__ in known or not _uses_skate(item):
        return
    import cloudpickle

    if module.__name__ in sys.modules and module.__name__ not in cloudpickle.list_registry_pickle_by_value():
        cloudpickle.register_pickle_by_value(module)
        known.add(module.__name__)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """What a failed test had in its variables is let go: its failure must not be reported again as a leak."""
    report = yield
    if call.excinfo is not None and call.when == "call" and _uses_skate(item) and not item.config.getoption("usepdb"):
        from .leaks import let_go

        let_go(call.excinfo.tb)
    return report


def _uses_skate(item: pytest.Item) -> bool:
    return any(name.startswith("skate_") for name in getattr(item, "fixturenames", ()))


# ------------------------------------------------------------ fixtures


@pytest.fixture(scope="session")
def skate_session(pytestconfig: pytest.Config) -> Iterator[RayContext]:
    """skate on this machine, started once for all tests; nothing of it may be left when the last one is done."""
    from ..api.lifecycle import init
    from .leaks import assert_ended

    context = init(address="local", **_settings(pytestconfig))
    yield context
    context.disconnect()
    assert_ended(context["session_dir"], _patience(pytestconfig))


@pytest.fixture
def skate_inline(pytestconfig: pytest.Config) -> Iterator[RayContext]:
    """skate in inline mode: every task and actor runs in this process, where breakpoints, coverage and monkeypatch work."""
    from ..api.lifecycle import init, set_aside
    from .leaks import Snapshot

    with set_aside():
        before = Snapshot.take()
        with init(mode="inline", **_settings(pytestconfig)) as context:
            yield context
        before.check(timeout_s=_patience(pytestconfig))


@pytest.fixture
def skate_cluster(pytestconfig: pytest.Config) -> Iterator[Nodes]:
    """A cluster without nodes yet: `add_node()` gives it some, and `connect()` makes this process its driver."""
    from ..api.lifecycle import set_aside, shutdown
    from .leaks import Snapshot
    from .nodes import Nodes, private

    with set_aside(), private():
        before = Snapshot.take()
        nodes = Nodes()
        yield nodes
        shutdown()
        nodes.end()
        before.check(timeout_s=_patience(pytestconfig))


@pytest.fixture
def skate_faults(request: pytest.FixtureRequest) -> Iterator[Faults]:
    """Kills, freezes and cuts what belongs to the test's cluster. What was frozen is woken after the test."""
    from .faults import Faults

    names = request.fixturenames
    nodes = request.getfixturevalue("skate_cluster") if "skate_cluster" in names else None
    if nodes is None:
        request.getfixturevalue("skate_session")
    faults = Faults(nodes)
    yield faults
    faults.thaw()


@pytest.fixture
def skate_no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """After the test nothing of it is left: no task, actor or object in the cluster of the session, and without one no process,
    thread or descriptor."""
    if STARTS.intersection(request.fixturenames):
        yield  # they check more than this
        return
    if "skate_session" in request.fixturenames:
        request.getfixturevalue("skate_session")
    from ..client import current
    from .leaks import Held, Snapshot, assert_quiescent

    patience_s = _patience(request.config)
    if current.runtime is None:
        before = Snapshot.take()
        yield
        before.check(timeout_s=patience_s)
        return
    held = Held.now()
    yield
    keeps = request.node.get_closest_marker("skate_keeps_objects")
    assert_quiescent(None if keeps else held.objects, patience_s, held)


def _text(config: pytest.Config, name: str) -> str:
    return str(config.getoption(f"skate_{name}") or config.getini(f"skate_{name}"))


def _patience(config: pytest.Config) -> float:
    text = _text(config, "leak_seconds")
    try:
        return float(text)
    except ValueError:
        raise pytest.UsageError(f"skate_leak_seconds is a number of seconds, not {text!r}") from None


def _settings(config: pytest.Config) -> dict[str, Any]:
    """The arguments of `init`, from the command line or else the ini file.

    Raises:
        UsageError: one of them is no number.
    """
    texts = {name: _text(config, name) for name in SETTINGS if name != "leak_seconds"}
    try:
        numbers = {name: int(texts[name]) for name in ("cpus", "gpus", "object_store_memory")}
        pairs = [pair.split("=") for pair in texts["resources"].split(",") if pair.strip()]
        resources = {name.strip(): float(amount) for name, amount in pairs}
    except ValueError as error:
        raise pytest.UsageError(f"the settings of skate are {texts}: {error}") from None
    return {
        "num_cpus": numbers["cpus"],
        "num_gpus": numbers["gpus"],
        "resources": resources,
        "object_store_memory": numbers["object_store_memory"],
        "configure_logging": False,
    }
