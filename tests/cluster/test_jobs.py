"""Submitted jobs on a cluster: they run where they should, once, to their end, and nothing of them is left."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from skate.job_submission import JobDetails, JobErrorType, JobStatus, JobSubmissionClient
from skate.testing import eventually
from skate.util.state import list_jobs

from .conftest import Nodes
from .test_head import head_process, kill_head


@pytest.fixture(scope="module")
def jobs_cluster(home: Path) -> Iterator[Nodes]:
    """A head with 1 CPU, and a node with 2 and "there"."""
    nodes = Nodes()
    nodes.add(1)
    nodes.add(2, there=1)
    yield nodes
    nodes.end()


@pytest.fixture
def client(jobs_cluster: Nodes) -> JobSubmissionClient:
    """A client of the cluster, by TCP."""
    return JobSubmissionClient(jobs_cluster.address)


def over(client: JobSubmissionClient, ident: str, timeout_s: float = 20) -> JobDetails:
    """Wait until a job is over."""
    eventually(lambda: client.get_job_status(ident).is_terminal(), timeout_s, f"job {ident} is over")
    return client.get_job_info(ident)


PROGRAM = """
import os, skate
skate.init()
@skate.remote
def square(x):
    return x * x
print(sum(skate.get([square.remote(i) for i in range(4)])), len(skate.nodes()), os.environ["SKATE_JOB_ID"])
print(skate.get_runtime_context().get_job_id())
"""


def test_a_program_runs_on_the_cluster(client: JobSubmissionClient, jobs_cluster: Nodes, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    ident = client.submit_job(entrypoint=f"python {tmp_path}/program.py", metadata={"team": "a"})
    info = over(client, ident)
    assert info.job_id and client.get_job_logs(ident) == f"14 2 {ident}\n{info.job_id}\n"
    assert (info.status, info.driver_exit_code, info.metadata) == (JobStatus.SUCCEEDED, 0, {"team": "a"})
    assert info.start_time is not None and info.end_time is not None and info.start_time <= info.end_time
    (row,) = [job for job in list_jobs(jobs_cluster.address, detail=True) if job.job_id == info.job_id]
    assert (row.type, row.submission_id, row.status, row.exit_code) == ("SUBMISSION", ident, "SUCCEEDED", 0)
    assert row.entrypoint.endswith("/program.py") and row.driver_pid


def test_a_job_that_fails_says_how(client: JobSubmissionClient) -> None:
    info = over(client, client.submit_job(entrypoint="echo about to fail; exit 3"))
    assert (info.status, info.driver_exit_code) == (JobStatus.FAILED, 3)
    assert info.error_type is JobErrorType.JOB_ENTRYPOINT_COMMAND_ERROR
    assert info.message == "its entrypoint ended with exit code 3\nabout to fail"
    killed = over(client, client.submit_job(entrypoint="kill -SEGV $$"))
    assert (killed.status, killed.driver_exit_code) == (JobStatus.FAILED, -signal.SIGSEGV)
    assert killed.message == "its entrypoint was killed by signal 11 (SIGSEGV)"
    of_shell = over(client, client.submit_job(entrypoint="sh -c 'kill -SEGV $$'; exit $?"))
    assert "its entrypoint ended with exit code 139 (128 + 11: SIGSEGV)" in of_shell.message


def test_what_is_wrong_is_said(client: JobSubmissionClient) -> None:
    ident = client.submit_job(entrypoint="true", submission_id="once")
    with pytest.raises(RuntimeError, match="there is a job 'once' already"):
        client.submit_job(entrypoint="true", submission_id="once")
    with pytest.raises(RuntimeError, match=r"cannot be called '\.\./up'"):
        client.submit_job(entrypoint="true", submission_id="../up")
    for method in (client.stop_job, client.delete_job, client.get_job_info, client.get_job_logs):
        with pytest.raises(RuntimeError, match="there is no job 'nobody'"):
            method("nobody")
    with pytest.raises(RuntimeError, match="a command for the shell"):
        client.submit_job(entrypoint=" ")
    with pytest.raises(RuntimeError, match="plain data"):
        client.submit_job(entrypoint="true", runtime_env={"worker_process_setup_hook": print})
    with pytest.raises(RuntimeError, match="entrypoint_label_selector"):
        client.submit_job(entrypoint="true", entrypoint_label_selector={"zone": 1})  # type: ignore[dict-item]
    with pytest.raises(RuntimeError, match="cannot have -1"):
        client.submit_job(entrypoint="true", entrypoint_num_cpus=-1)
    with pytest.raises(RuntimeError, match=r"whole number of bytes, not 1\.5"):
        client.submit_job(entrypoint="true", entrypoint_memory=1.5)  # type: ignore[arg-type]
    for name in ("excludes", "py_modules"):
        no_list: Any
        for no_list in ("*.py", [3], 3):
            with pytest.raises(RuntimeError, match=f"{name} of a job is a list of (patterns|paths and URIs), not "):
                client.submit_job(entrypoint="true", runtime_env={name: no_list})
    no_dict: Any
    for no_dict in (3, "x"):
        with pytest.raises(TypeError, match="runtime_env is a dict"):
            client.submit_job(entrypoint="true", runtime_env=no_dict)
        with pytest.raises(TypeError, match="metadata is a dict"):
            client.submit_job(entrypoint="true", metadata=no_dict)
    with pytest.raises(TypeError, match="the address of a cluster is a string"):
        JobSubmissionClient(3)  # type: ignore[arg-type]
    over(client, ident)
    assert client.stop_job(ident) is False


def test_an_entrypoint_runs_where_its_resources_are(client: JobSubmissionClient, jobs_cluster: Nodes) -> None:
    there = jobs_cluster.started[1]
    wants = {"entrypoint_num_cpus": 1, "entrypoint_resources": {"there": 1}}
    first = client.submit_job(entrypoint="sleep 100", **wants)
    eventually(lambda: client.get_job_status(first) is JobStatus.RUNNING, 10)
    assert client.get_job_info(first).driver_node_id == there.node_id
    second = client.submit_job(entrypoint="true", **wants)
    never = client.submit_job(entrypoint="true", entrypoint_num_cpus=64)
    eventually(lambda: "infeasible: no node has that much" in str(client.get_job_info(never).message))
    assert client.get_job_status(second) is JobStatus.PENDING
    with pytest.raises(RuntimeError, match="is PENDING: stop it"):
        client.delete_job(second)
    assert client.stop_job(first)
    assert over(client, first).status is JobStatus.STOPPED
    assert over(client, second).status is JobStatus.SUCCEEDED
    assert client.stop_job(never)
    labels = {"ray.io/node-id": there.node_id}
    found = over(client, client.submit_job(entrypoint="true", entrypoint_label_selector=labels))
    assert (found.driver_node_id, found.entrypoint_resources) == (there.node_id, {})
    nowhere = client.submit_job(entrypoint="true", entrypoint_label_selector={"zone": "a"})
    eventually(lambda: "waits for labels" in str(client.get_job_info(nowhere).message))
    assert client.stop_job(nowhere)
    assert client.get_job_status(never) is JobStatus.STOPPED


STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, lambda *_: print("no", flush=True))
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"], start_new_session=True)
print(os.getpid(), child.pid, flush=True)
while True:
    time.sleep(1)
"""


def test_stopping_ends_all_of_a_job(client: JobSubmissionClient, tmp_path: Path) -> None:
    """One that ignores SIGTERM, and has a child in a session of its own."""
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    ident = client.submit_job(entrypoint=f"python {tmp_path}/stubborn.py & wait; echo after")
    pids = [int(word) for word in eventually(lambda: client.get_job_logs(ident), 10).split()]
    assert all(map(psutil.pid_exists, pids))
    began = time.monotonic()
    assert client.stop_job(ident)
    info = over(client, ident)
    assert info.status is JobStatus.STOPPED and time.monotonic() - began > 2.5
    assert "no\n" in client.get_job_logs(ident)
    assert not any(map(psutil.pid_exists, pids))


def test_what_a_job_leaves_running_ends_with_it(client: JobSubmissionClient) -> None:
    ident = client.submit_job(entrypoint="(setsid sleep 100 & echo $!)")
    assert over(client, ident).status is JobStatus.SUCCEEDED
    assert not psutil.pid_exists(int(client.get_job_logs(ident)))


def test_a_deleted_job_leaves_nothing(client: JobSubmissionClient, jobs_cluster: Nodes) -> None:
    attach = "import skate; skate.init(); skate.shutdown(); skate.init(); print('hello')"
    ident = client.submit_job(entrypoint=f'python -c "{attach}"')
    driver = over(client, ident).job_id
    folder = Path(jobs_cluster.started[0].folder, "jobs", ident)
    assert (folder / "log").read_text() == "hello\n"
    programs = {job.job_id for job in client.list_jobs()}
    assert driver in programs
    assert client.delete_job(ident)
    eventually(lambda: not folder.exists())
    left = client.list_jobs()
    assert ident not in [job.submission_id for job in left]
    assert len(programs - {job.job_id for job in left}) == 2, (
        "nor are its programs, which were not submitted themselves"
    )


def test_a_log_is_followed_while_the_head_is_killed(
    client: JobSubmissionClient, jobs_cluster: Nodes, tmp_path: Path
) -> None:
    """Character by character, of more than one byte each."""
    go = tmp_path / "go"
    ident = client.submit_job(
        entrypoint=f"printf 'a\\303'; sleep 0.3; printf '\\244b\\n'; while [ ! -e {go} ]; do sleep 0.05; done; echo end; exit 4",
        entrypoint_resources={"there": 1},
    )
    parts: list[str] = []

    async def follow() -> None:
        async for part in client.tail_job_logs(ident):
            parts.append(part)
            if "b\n" in part:
                await asyncio.to_thread(kill_head, jobs_cluster.started[0])
                go.touch()

    asyncio.run(asyncio.wait_for(follow(), 25))
    assert "".join(parts) == "aäb\nend\n"
    assert over(client, ident).driver_exit_code == 4


def test_f6_jobs_survive_the_head(client: JobSubmissionClient, jobs_cluster: Nodes, tmp_path: Path) -> None:
    """Each runs once, whenever the head is killed; one ends while there is no head."""
    head = jobs_cluster.started[0]
    idents = []
    for number in range(4):
        wants = {"entrypoint_resources": {"there": 0.1}} if number % 2 else {}
        line = f"echo x >> {tmp_path}/{number}; while [ ! -e {tmp_path}/go{number % 2} ]; do sleep 0.02; done"
        idents.append(client.submit_job(entrypoint=line, submission_id=f"f6-{number}", **wants))
        if number % 2:
            kill_head(head)
    eventually(lambda: all((tmp_path / str(number)).exists() for number in range(4)), 15)
    process = head_process(head)
    process.suspend()  # it hears of no end
    (tmp_path / "go1").touch()
    process.kill()
    for ident in idents[1::2]:
        assert over(client, ident).status is JobStatus.SUCCEEDED
    assert [client.get_job_status(ident) for ident in idents[::2]] == [JobStatus.RUNNING] * 2
    kill_head(head)
    (tmp_path / "go0").touch()
    for ident in idents:
        assert over(client, ident).status is JobStatus.SUCCEEDED
    assert [(tmp_path / str(number)).read_text() for number in range(4)] == ["x\n"] * 4


def test_a_job_whose_guard_is_killed_ends(client: JobSubmissionClient) -> None:
    ident = client.submit_job(entrypoint="sleep 100 & echo $!; wait")
    pid = int(eventually(lambda: client.get_job_logs(ident), 10))
    info = eventually(
        lambda: (each := client.get_job_info(ident)).driver_info and each, 10
    )  # the head hears of it later
    guard = psutil.Process(int(info.driver_info.pid)).parent()
    assert guard is not None
    guard.kill()
    info = over(client, ident)
    assert "its guard was killed" in str(info.message)
    assert info.error_type is JobErrorType.JOB_SUPERVISOR_ACTOR_DIED
    eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


def test_a_job_brings_its_folder_along(client: JobSubmissionClient, jobs_cluster: Nodes, tmp_path: Path) -> None:
    """To another node, in several parts, with the head killed meanwhile; without what is ignored; and it goes with the job."""
    folder = tmp_path / "work"
    (folder / "helper").mkdir(parents=True)
    (folder / "run.sh").write_text(
        "#!/bin/sh\npython -c 'import helper, shared; print(helper.NAME, shared.NAME, len(open(\"big\").read()))'; ls\n"
    )
    (folder / "run.sh").chmod(0o700)
    (folder / "helper" / "__init__.py").write_text("NAME = 'help'")
    (folder / "big").write_text(os.urandom(2 << 20).hex())
    (folder / ".gitignore").write_text("*.tmp\n")
    (folder / "left.tmp").touch()
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "__init__.py").write_text("NAME = 'share'")
    environment = {"working_dir": str(folder), "py_modules": [str(tmp_path / "shared")], "excludes": ["helper/*.pyc"]}
    ident = client.submit_job(
        entrypoint="./run.sh; echo $MINE",
        runtime_env=environment | {"env_vars": {"MINE": "yes"}},
        entrypoint_resources={"there": 1},
    )
    kill_head(jobs_cluster.started[0])
    info = over(client, ident)
    assert client.get_job_logs(ident) == f"help share {4 << 20}\nbig\nhelper\nrun.sh\nyes\n", info.message
    assert os.listdir(Path(jobs_cluster.started[1].folder, "jobs", ident)) == ["log"]
    again = client.submit_job(entrypoint="ls", runtime_env={"working_dir": str(folder)})
    over(client, again)
    assert client.get_job_logs(again) == "big\nhelper\nrun.sh\n"
    (tmp_path / "empty").mkdir()
    empty = client.submit_job(entrypoint="pwd", runtime_env={"working_dir": str(tmp_path / "empty")})
    assert over(client, empty).status is JobStatus.SUCCEEDED and client.get_job_logs(empty).endswith("/files\n")


def test_files_that_cannot_be_had_are_named(client: JobSubmissionClient) -> None:
    with pytest.raises(RuntimeError, match="no folder or file '/nowhere'"):
        client.submit_job(entrypoint="true", runtime_env={"working_dir": "/nowhere"})
    with pytest.raises(RuntimeError, match="its files are not here"):
        client.submit_job(entrypoint="true", runtime_env={"working_dir": f"package://{'0' * 64}"})
    with pytest.raises(RuntimeError, match=r"folders and \.py files"):
        client.submit_job(entrypoint="true", runtime_env={"py_modules": [sys.executable]})


def test_programs_that_were_not_submitted_are_listed(client: JobSubmissionClient, jobs_cluster: Nodes) -> None:
    code = "import skate, sys; skate.init(sys.argv[1]); print(skate.get_runtime_context().get_job_id()); input()"
    env = {**os.environ, "SKATE_ADDRESS": ""}
    with subprocess.Popen(
        [sys.executable, "-c", code, jobs_cluster.address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env
    ) as program:
        assert program.stdout is not None
        ident = program.stdout.readline().decode().strip()
        (found,) = [job for job in client.list_jobs() if job.job_id == ident]
        assert (found.type, found.submission_id, found.status) == ("DRIVER", None, JobStatus.RUNNING)
        assert found.driver_info is not None and found.driver_info.node_ip_address == "127.0.0.1"
        assert psutil.Process(int(found.driver_info.pid)).pid == program.pid
        program.communicate(b"\n")

    def ended() -> bool:
        (job,) = [job for job in client.list_jobs() if job.job_id == ident]
        return job.status is JobStatus.SUCCEEDED and bool(job.end_time)

    eventually(ended, 10, "it is listed as over")
    for method in (client.get_job_info, client.get_job_logs, client.stop_job, client.delete_job):
        with pytest.raises(RuntimeError, match=f"{ident} was not submitted: it is a program of its own"):
            method(ident)
    submitted = client.submit_job(entrypoint="true")
    over(client, submitted)
    jobs = client.list_jobs()
    assert jobs[-1].submission_id == submitted and [job.start_time for job in jobs] == sorted(
        job.start_time or 0 for job in jobs
    )


ENVIRONMENT = """
import os, skate
skate.init(runtime_env={"env_vars": {"OTHER": "two"}})

@skate.remote(resources={"there": 0.1})
def told():
    import helper
    return helper.NAME, os.environ["MINE"], os.environ["OTHER"]

print(*skate.get(told.remote()))
"""


def test_tasks_of_a_job_run_in_its_environment(client: JobSubmissionClient, tmp_path: Path) -> None:
    """Also on another node than that of the job, which has not the job's folder."""
    (tmp_path / "helper.py").write_text("NAME = 'help'")
    (tmp_path / "main.py").write_text(ENVIRONMENT)
    environment = {"working_dir": str(tmp_path), "env_vars": {"MINE": "one", "OTHER": "one"}}
    ident = client.submit_job(entrypoint="python main.py", runtime_env=environment)
    info = over(client, ident)
    assert client.get_job_logs(ident) == "help one two\n", info.message
