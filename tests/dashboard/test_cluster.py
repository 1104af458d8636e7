"""A dashboard beside real nodes and programs: started, looked at, and gone with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster.conftest import Nodes, home, nodes  # noqa: F401
from integration import scrape
from integration.commands import shell

import skate
from skate.client import dashboards, sessions, token
from skate.dashboard.federation import ANSWERS
from skate.exceptions import UnsupportedError
from skate.job_submission import JobStatus, JobSubmissionClient
from skate.testing import eventually
from skate.util import state


def fetch(url: str, path: str, body: Any = None, **headers: str) -> Any:
    """The JSON of an answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


@pytest.fixture
def program(home: Path) -> Iterator[Any]:  # noqa: F811
    """This process, with a node of its own and a dashboard."""
    skate.shutdown()
    context = skate.init(num_cpus=2, include_dashboard=True, dashboard_port=0, object_store_memory=100 << 20)
    yield context
    found = psutil_of(context)
    skate.shutdown()
    assert not found.is_running(), "the dashboard has ended with the program"


def psutil_of(context: Any) -> Any:
    """The process of the dashboard of this program."""
    import psutil

    alive = [each for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE]
    return next(each for each in alive if "skate.dashboard.serve" in " ".join(each.cmdline()))


@skate.remote
def double(number: int) -> int:
    """Twice the number."""
    return 2 * number


@skate.remote
class Keeper:
    """An actor."""

    def keep(self) -> int:
        """Its process."""
        return os.getpid()


def test_a_program_and_its_dashboard(program: Any) -> None:
    url = program.dashboard_url
    assert program["webui_url"] == url.removeprefix("http://") and url.startswith("http://127.0.0.1:")
    keeper = Keeper.options(name="keeper").remote()
    pid = skate.get(keeper.keep.remote())
    assert skate.get([double.remote(number) for number in range(50)])[-1] == 98

    def ended() -> bool:
        return bool(fetch(url, "/api/ui/rows/tasks?filter=name=double")["matching"] == 50)

    eventually(ended, 10, "all tasks are known")
    row = fetch(url, "/api/ui/rows/actors")["rows"][0]
    assert (row["name"], row["pid"], row["state"]) == ("keeper", pid, "ALIVE")
    kept = skate.put(b"x" * (1 << 20))
    (held,) = [each for each in fetch(url, "/api/ui/rows/objects")["rows"] if each["object_id"] == kept.hex()]
    assert held["call_site"].endswith(" in test_a_program_and_its_dashboard") and __file__ in held["call_site"]
    for kind in ("nodes", "workers", "objects", "jobs", "placement-groups", "events"):
        found = fetch(url, f"/api/ui/rows/{kind}")
        assert found["missing"] == [], kind

    def names() -> set[str]:
        return {bar["name"] for bar in fetch(url, "/api/ui/timeline")["bars"]}

    eventually(lambda: names() == {"double", "Keeper.keep"}, 10, "all are in the timeline")
    reading = fetch(url, "/nodes")["data"]["summary"][0]
    assert reading["cpu_total"] == 2 and reading["mem"][0] > 0
    with pytest.raises(urllib.error.HTTPError, match="403"):
        fetch(url, "/nodes", Host="evil.example")
    skate.kill(keeper)


LOOKS = (
    ("list", "nodes"),
    ("summary", "actors"),
    ("why",),
    ("status",),
    ("events",),
    ("memory",),
    ("stack",),
    ("top", "--once", "--interval", "0.1"),
)
"""Commands that look at a cluster."""


def test_commands_take_the_address_of_a_dashboard(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked what it shows, also if the environment names it, as is usual for who submits jobs."""
    url = program.dashboard_url
    nobody = "http://127.0.0.1:1"
    for words in (*LOOKS, ("drain-node", "1")):
        said = shell(*words, "--address", nobody, code=1)
        assert f"Error: no dashboard answers at {nobody}" in said and "HOST:PORT of a node" in said, words
    for words in LOOKS:
        shell(*words, "--address", url)
    monkeypatch.setenv("RAY_ADDRESS", url)
    assert program["node_id"] in run("list", "nodes").stdout
    assert run("status").stdout.startswith(f"program {os.getpid()}, ")
    assert [row.node_id for row in state.list_nodes(address=url)] == [program["node_id"]]
    monkeypatch.setenv("RAY_ADDRESS", nobody)
    assert f"Error: no dashboard answers at {nobody}" in run("list", "nodes").stderr
    with pytest.raises(ConnectionError, match="no dashboard answers"):
        state.list_tasks(address=nobody)


@skate.remote(max_retries=0)
def crash() -> None:
    """Ends its process."""
    os.abort()


def test_the_stack_of_a_crash_is_among_the_output_of_its_task(program: Any) -> None:
    ref = crash.remote()
    skate.wait([ref])
    for query in ("", "&errors=1", "&tail=1000"):
        lines = fetch(program.dashboard_url, f"/api/ui/logs?task={ref.task_id()}{query}")["lines"]
        assert lines[0]["text"] == "Fatal Python error: Aborted" and lines[0]["error"] and lines[0]["whose"] == "crash"
    assert fetch(program.dashboard_url, f"/api/ui/logs?task={ref.task_id()}&pid=1")["lines"] == []


@skate.remote
class Busy:
    """An actor that works, and says so."""

    def work(self, path: str) -> str:
        """Until a file is there."""
        print("at work", flush=True)
        while not os.path.exists(path):
            self.turn()
        return path

    def turn(self) -> None:
        """A part of it."""
        time.sleep(0.001)


def test_what_a_worker_has_printed_and_does(program: Any, tmp_path: Path) -> None:
    url = program.dashboard_url
    actor = Busy.remote()
    ref = actor.work.remote(str(tmp_path / "go"))
    try:
        eventually(lambda: fetch(url, "/api/ui/logs")["lines"], 10, "it has printed something")
        row = fetch(url, "/api/ui/rows/actors")["rows"][0]
        pid = row["pid"]
        for query in (f"actor={row['actor_id'][:8]}", f"pid={pid}", f"job={row['job_id']}"):
            found = fetch(url, f"/api/ui/logs?{query}")
            assert [line["text"] for line in found["lines"]] == ["at work"] and found["missing"] == [], query
        assert fetch(url, "/api/ui/logs?errors=1")["lines"] == []
        thread = fetch(url, f"/api/ui/stacks?node=0&pid={pid}")["threads"][0]
        assert thread["name"] == "MainThread" and any(frame.startswith("work (") for frame in thread["frames"])
        root = fetch(url, "/api/ui/profile", {"node": 0, "pid": pid, "samples": 5})

        def names(frame: Any) -> set[str]:
            return {frame["name"].partition(" ")[0]}.union(*map(names, frame["children"]))

        assert root["count"] == 5 and {"work", "turn"} <= names(root)
        with pytest.raises(urllib.error.HTTPError, match="400"):
            fetch(url, "/api/ui/stacks?node=0&pid=1")
    finally:
        (tmp_path / "go").touch()
        skate.get(ref)
        skate.kill(actor)


def test_the_stream_of_a_program(program: Any) -> None:
    skate.get([double.remote(number) for number in range(20)])
    with urllib.request.urlopen(program.dashboard_url + "/api/ui/live", timeout=20) as stream:
        first = json.loads(next(line for line in stream if line.startswith(b"data:"))[5:])
        assert first["state"]["counts"]["cpus_total"] == 2 and len(first["samples"]) == 1
        skate.get([double.remote(number) for number in range(30)])
        changes = (json.loads(line[5:]) for line in stream if line.startswith(b"data:"))
        seen = next(change for change in changes if change["state"].get("counts", {}).get("ended", 0) >= 50)
    assert "cpus_total" not in seen["state"]["counts"], "only what has changed is sent"


def test_a_dataset_tells_how_far_it_is(program: Any, tmp_path: Path) -> None:
    import skate.data

    go = tmp_path / "go"

    def slow(batch: Any) -> Any:
        while not go.exists():
            time.sleep(0.01)
        return batch

    data = skate.data.range(1000, override_num_blocks=4).map_batches(slow)
    thread = threading.Thread(target=data.take_all)
    thread.start()

    def told() -> Any:
        reading = fetch(program.dashboard_url, "/api/ui/datasets")["datasets"]
        return [each for each in reading if any(operator["running"] for operator in each["operators"])]

    try:
        eventually(told, 20, "the dataset is told of")
        found = told()[0]
        assert found["pid"] == os.getpid() and "slow" in found["operators"][-1]["name"]
        assert found["operators"][-1]["done"] is False and 0 <= found["operators"][-1]["part"] < 1
    finally:
        go.touch()
        thread.join(20)
    eventually(lambda: not fetch(program.dashboard_url, "/api/ui/datasets")["datasets"], 10, "it is over")


def test_what_init_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    skate.shutdown()
    with pytest.raises(UnsupportedError, match="inline"):
        skate.init(mode="inline", include_dashboard=True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match=r"pip install 'skate\[dashboard\]'"):
        skate.init(num_cpus=1, include_dashboard=True)
    assert not skate.is_initialized()
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"address='http://h:1'.*HOST:PORT of a node. This one is of a dashboard"):
        skate.init(address="http://h:1")
    with pytest.warns(UserWarning, match="include_dashboard=True"):
        skate.init(mode="inline", dashboard_port=1)
    skate.shutdown()


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """A command of skate."""
    return subprocess.run(
        [sys.executable, "-m", "skate.cli", *words], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_head_and_its_dashboard(home: Path) -> None:  # noqa: F811
    skate.shutdown()
    start = ("start", "--head", "--node-ip-address", "127.0.0.1", "--port", "0", "--num-cpus", "1", "--json")
    done = run(*start, "--include-dashboard", "true", "--dashboard-port", "0")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    url = said["dashboard_url"]
    try:
        context = skate.init(address=said["address"])
        assert context.dashboard_url == url
        assert skate.get(double.remote(4)) == 8
        skate.shutdown()
        client = JobSubmissionClient(url)
        ident = client.submit_job(entrypoint="echo from a job")
        eventually(lambda: client.get_job_status(ident) is JobStatus.SUCCEEDED, 20, "the job has ended")
        assert client.get_job_logs(ident) == "from a job\n"
        said_no = shell("list", "nodes", "--address", f"http://{said['address']}", code=1)
        assert f"http://{said['address']} does not say which cluster it shows: this is a node, and no" in said_no
        assert shell("status", "--address", url).startswith(f"cluster {said['address']}: 1 node alive")
        assert shell("list", "jobs", "--address", url, "--json")["rows"][0]["submission_id"] == ident
        rows = fetch(url, "/api/ui/rows/jobs")["rows"]
        assert (ident, "SUCCEEDED") in {(row.get("submission_id"), row["status"]) for row in rows}
        assert fetch(url, f"/api/ui/thing/jobs/{ident}")["rows"][0]["entrypoint"] == "echo from a job"
        secret = token.find()
        assert secret is not None
        log = Path(said["folder"], "logs", "dashboard.log").read_text()
        pid = json.loads(Path(said["folder"], dashboards.FILE).read_bytes())["pid"]
        assert secret not in log and secret not in Path(f"/proc/{pid}/cmdline").read_text()
    finally:
        sessions.stop(sessions.running())
    eventually(
        lambda: not os.path.exists(f"/proc/{pid}") or sessions.began(pid) == "", 10, "it has ended with its node"
    )


def test_metrics_of_all_nodes_at_one_address(nodes: Nodes) -> None:  # noqa: F811
    """Each series once, with the labels of its node; a node that has gone is not among them."""
    nodes.add(1)
    other = nodes.add(1)
    settings = dashboards.Settings(nodes.address, port=0)
    found, process = dashboards.launch(settings, nodes.started[0].folder)
    try:

        def metrics() -> str:
            status, text = scrape.fetch("127.0.0.1", int(found.url.rpartition(":")[2]))
            assert status == 200, text
            return text

        def answers() -> list[str]:
            read = scrape.parse(metrics())
            return [dict(labels)["instance"] for (name, labels), value in read.items() if name == ANSWERS and value]

        eventually(lambda: answers() == [f"{node.host}:{node.port}" for node in nodes.started])
        text = metrics()
        assert text.count("# TYPE skate_workers gauge\n") == 1
        lines = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
        assert len(lines) == len(set(lines)) > 80
        assert [line for line in lines if line.startswith("skate_resource_limit") and str(other.port) in line]
        nodes.kill(other)
        eventually(lambda: len(answers()) == 1, 10)
    finally:
        dashboards.end(process)


def test_off_loopback_the_cluster_s_token_is_asked_for(nodes: Nodes) -> None:  # noqa: F811
    node = nodes.add(1)
    settings = dashboards.Settings(f"{node.host}:{node.port}", "0.0.0.0", 0)
    found, process = dashboards.launch(settings, node.folder)
    try:
        url = f"http://127.0.0.1:{found.url.rpartition(':')[2]}"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            fetch(url, "/nodes")
        secret = token.find()
        assert secret is not None
        assert fetch(url, "/nodes", Authorization=f"Bearer {secret}")["result"] is True
        assert fetch(url, "/healthz")["status"] == "ok"
    finally:
        dashboards.end(process)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_another_user_of_this_machine_is_refused(program: Any) -> None:
    code = f"print(urllib.request.urlopen({program.dashboard_url + '/nodes'!r}).status)"
    for user, said in ((65534, "403"), (0, "200")):
        done = subprocess.run(
            [sys.executable, "-c", f"import os, urllib.request; 'x'.encode('idna'); os.setuid({user}); {code}"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert said in done.stdout + done.stderr


def test_why_a_dashboard_does_not_start(nodes: Nodes) -> None:  # noqa: F811
    from skate.dashboard.serve import listen

    node = nodes.add(1)
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(skate.exceptions.RayError, match=f"port {port} of 127.0.0.1"):
            dashboards.launch(dashboards.Settings(f"{node.host}:{node.port}", port=port), node.folder)
    done = run("dashboard", "--address", "127.0.0.1:1")
    assert done.returncode == 1 and done.stderr.startswith("Error: ") and "Traceback" not in done.stderr
    done = run("start", "--address", "127.0.0.1:1", "--include-dashboard", "true")
    assert done.returncode == 2 and "for the head" in done.stderr
