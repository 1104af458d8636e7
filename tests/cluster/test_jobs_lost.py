"""What becomes of submitted jobs when what they run on is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from skate.client import asking, sessions
from skate.client.init_options import InitOptions
from skate.job_submission import JobStatus, JobSubmissionClient
from skate.testing import eventually
from skate.util.state import list_jobs

from .conftest import HOST, STORE_BYTES, Nodes
from .test_jobs import over
from .test_state import shell


def test_f4_a_job_ends_with_its_node(nodes: Nodes, tmp_path: Path) -> None:
    """What runs on a node that is killed has failed, and its processes end; what waits there goes elsewhere."""
    nodes.add(1)
    lost = nodes.add(2, there=1)
    client = JobSubmissionClient(nodes.address)
    ident = client.submit_job(entrypoint="echo $$; sleep 100 & echo $!; wait", entrypoint_num_cpus=2)
    waits = client.submit_job(entrypoint="echo done", entrypoint_num_cpus=2)
    pids = [int(word) for word in eventually(lambda: client.get_job_logs(ident), 10).split()]
    nodes.kill(lost)
    info = over(client, ident)
    assert info.status is JobStatus.FAILED and "node 2, on which it ran, is gone" in str(info.message)
    eventually(lambda: not any(psutil.pid_exists(pid) for pid in pids), 5, "its processes have ended")
    with pytest.raises(RuntimeError, match=r"the log of job .* is gone: node 2"):
        client.get_job_logs(ident)
    assert client.get_job_status(waits) is JobStatus.PENDING
    nodes.add(2)
    assert over(client, waits).status is JobStatus.SUCCEEDED
    assert client.get_job_logs(waits) == "done\n"


def test_f4_an_environment_that_is_set_up_ends_with_its_node(nodes: Nodes, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.write_text(
        "#!/bin/sh\nsleep 100 &\nits=$!\nsetsid sleep 100 &\n"  # as an installer starts compilers
        f"echo $PPID $$ $its $! > {tmp_path}/pids.new; mv {tmp_path}/pids.new {tmp_path}/pids; exec sleep 100\n"
    )
    slow.chmod(0o755)
    nodes.add(1)
    lost = nodes.add(1, there=1)
    client = JobSubmissionClient(nodes.address)
    environment = {"py_executable": str(slow), "uv": ["spam_slow"]}
    ident = client.submit_job(entrypoint="true", runtime_env=environment, entrypoint_resources={"there": 1})
    eventually((tmp_path / "pids").exists, 10)
    pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
    assert all(psutil.pid_exists(pid) for pid in pids)
    nodes.kill(lost)
    eventually(lambda: not any(psutil.pid_exists(pid) for pid in pids), 5, "its processes have ended")
    assert over(client, ident).status is JobStatus.FAILED


def test_a_drained_node_waits_for_its_job(nodes: Nodes) -> None:
    """What waits there goes elsewhere when there is room, and the node ends when the job is over."""
    head = nodes.add(1)
    going = nodes.add(2, there=1)
    client = JobSubmissionClient(nodes.address)
    ident = client.submit_job(entrypoint="sleep 100", entrypoint_num_cpus=2)
    eventually(lambda: client.get_job_status(ident) is JobStatus.RUNNING, 10)
    waits = client.submit_job(entrypoint="true", entrypoint_num_cpus=2)
    asking.ask_at(head.host, head.port, "drain", {"node": "2", "reason": "a test", "deadline_s": 0}, of_head=True)

    def what_it_waits_for() -> object:
        status = asking.ask_at(head.host, head.port, "cluster_status", of_head=True)
        return next(node["Drain"] and node["Drain"]["waits_for"] for node in status["nodes"] if node["No"] == 2)

    eventually(lambda: what_it_waits_for() == [f"1 job ({ident})"])
    nodes.add(2)
    assert over(client, waits).status is JobStatus.SUCCEEDED
    assert client.stop_job(ident) and over(client, ident).status is JobStatus.STOPPED
    eventually(lambda: not sessions.began(going.pid), 10, "the node has ended")


def test_f6_jobs_of_a_cluster_that_was_killed_as_a_whole(nodes: Nodes, tmp_path: Path) -> None:
    """Another head with the same state knows what has become of them: nothing goes on unseen, and what waited runs."""
    store = str(tmp_path / "head.db")
    options = InitOptions(num_cpus=1, object_store_memory=STORE_BYTES)
    nodes.started.append(sessions.start_node(options, sessions.Wish(True, HOST, store=store)))
    client = JobSubmissionClient(nodes.address)
    done = client.submit_job(entrypoint="true")
    runs = client.submit_job(entrypoint="sleep 100")
    waits = client.submit_job(entrypoint="echo now", entrypoint_num_cpus=2)
    over(client, done)
    eventually(lambda: client.get_job_status(runs) is JobStatus.RUNNING, 10)
    nodes.kill(nodes.started[0])
    eventually(lambda: not sessions.began(nodes.started[0].pid), 5)
    again = InitOptions(num_cpus=2, object_store_memory=STORE_BYTES)
    nodes.started.append(sessions.start_node(again, sessions.Wish(True, HOST, store=store)))
    client = JobSubmissionClient(f"{HOST}:{nodes.started[1].port}")
    assert client.get_job_status(done) is JobStatus.SUCCEEDED
    assert over(client, runs).status is JobStatus.FAILED
    assert over(client, waits).status is JobStatus.SUCCEEDED
    assert client.get_job_logs(waits) == "now\n"


CRASHES = """
import os, skate
skate.init()

@skate.remote
def crash():
    os.kill(os.getpid(), 11)

try:
    skate.get(skate.remote(lambda: 1 / 0).remote())
except ZeroDivisionError:
    pass
running = skate.remote(lambda: __import__("time").sleep(60)).remote()
skate.get(crash.options(max_retries=1).remote())
"""


def test_why_says_which_task_of_a_job_failed_last(nodes: Nodes, tmp_path: Path) -> None:
    nodes.add(2)
    client = JobSubmissionClient(nodes.address)
    (tmp_path / "crashes.py").write_text(CRASHES)
    over(client, client.submit_job(entrypoint=f"{sys.executable} {tmp_path}/crashes.py", submission_id="crashed"))
    (why,) = shell("why", "crashed", "--address", nodes.address)
    assert "; of its tasks, crash (" in why["text"] and "\n" not in why["text"]
    assert " failed last: WorkerCrashedError: killed by signal 11 (SIGSEGV) in crash, " in why["text"]


RAISES = "import skate; skate.init(); skate.get(skate.remote(lambda: 1).remote()); raise ValueError('no mesh')"


def test_how_jobs_have_ended_is_the_same_everywhere_and_known_when_the_cluster_is_gone(nodes: Nodes) -> None:
    nodes.add(1)
    client = JobSubmissionClient(nodes.address)
    program = f'{sys.executable} -c "{RAISES}"'
    failed = over(client, client.submit_job(entrypoint=program, submission_id="broken"))
    over(client, client.submit_job(entrypoint="true", submission_id="fine"))
    halted = client.submit_job(entrypoint="sleep 100", submission_id="halted")
    eventually(lambda: client.get_job_status(halted) is JobStatus.RUNNING, 10)
    client.stop_job(halted)
    over(client, halted)
    subprocess.run(
        [sys.executable, "-c", RAISES],
        env={**os.environ, "SKATE_ADDRESS": nodes.address},
        capture_output=True,
        check=False,
    )
    ends = {"broken": "FAILED", "fine": "SUCCEEDED", "halted": "STOPPED", None: "FAILED"}
    eventually(lambda: {job.submission_id: str(job.status) for job in client.list_jobs()} == ends, 10)
    rows = list_jobs(nodes.address, detail=True)
    assert {row.submission_id: row.status for row in rows} == ends
    (driver,) = [job for job in client.list_jobs() if job.submission_id is None]
    assert driver.message == "ValueError: no mesh"
    (why,) = shell("why", "broken", "--address", nodes.address)
    assert why["text"].startswith("job broken ") and "\n" not in why["text"]
    assert why["text"].endswith("exit code 1; its last output: ValueError: no mesh")
    assert any("Traceback" in line for line in why["steps"][0]["details"])
    running = client.submit_job(entrypoint="sleep 100", submission_id="cut")
    eventually(lambda: client.get_job_status(running) is JobStatus.RUNNING, 10)
    over(client, client.submit_job(entrypoint="true", submission_id="deleted"))
    client.delete_job("deleted")
    sessions.stop(nodes.started)
    session = ("--session", Path(nodes.started[0].folder).name)
    found = shell("list", "jobs", "--detail", *session)
    assert {row["submission_id"]: row["status"] for row in found["rows"]} == {**ends, "cut": "FAILED"}
    (row,) = [row for row in found["rows"] if row["submission_id"] == "broken"]
    assert (row["message"], row["exit_code"], row["job_id"]) == (failed.message, 1, failed.job_id)
    assert shell("why", "broken", *session)[0]["text"] == why["text"]
