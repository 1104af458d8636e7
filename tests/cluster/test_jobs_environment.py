"""The entrypoint of a submitted job runs in the job's runtime environment, which its node sets up once."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from integration.wheels import make_wheel

from skate.api.overview import Overview
from skate.client import asking
from skate.job_submission import JobErrorType, JobStatus, JobSubmissionClient
from skate.testing import eventually

from .conftest import Nodes
from .test_jobs import over


@pytest.fixture(scope="module")
def jobs_cluster(home: Path) -> Iterator[Nodes]:
    """A head with 2 CPUs."""
    nodes = Nodes()
    nodes.add(2)
    yield nodes
    nodes.end()


@pytest.fixture
def client(jobs_cluster: Nodes) -> JobSubmissionClient:
    return JobSubmissionClient(jobs_cluster.address)


def pip(folder: Path, *packages: str) -> dict[str, Any]:
    return {"packages": list(packages), "pip_install_options": ["--no-index", "--find-links", str(folder)]}


PROGRAM = """
import os, sys
import skate, spam_job
skate.init()

@skate.remote
def told():
    import spam_job
    return spam_job.VERSION, sys.prefix

name, prefix = skate.get(told.remote())
print(spam_job.VERSION, name, prefix == sys.prefix == os.environ["VIRTUAL_ENV"], os.environ["MINE"], os.getcwd()[-6:])
"""


def test_the_entrypoint_has_what_is_installed_and_its_tasks_the_same(
    client: JobSubmissionClient, tmp_path: Path
) -> None:
    make_wheel(tmp_path, "spam_job", "1.0")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "main.py").write_text(PROGRAM)
    environment = {
        "pip": pip(tmp_path, "spam_job"),
        "working_dir": str(tmp_path / "work"),
        "env_vars": {"MINE": "${HOME}"},
    }
    ident = client.submit_job(entrypoint="python main.py; which python", runtime_env=environment)
    info = over(client, ident, 60)
    log = client.get_job_logs(ident)
    assert info.status is JobStatus.SUCCEEDED, log
    *said, found, where = log.splitlines()
    assert found == f"1.0 1.0 True {os.environ['HOME']} /files" and "/venv-" in where
    assert log.count("installing spam_job") == 1 and "installed" in said
    again = client.submit_job(entrypoint="python main.py", runtime_env=environment)
    assert over(client, again).status is JobStatus.SUCCEEDED
    assert client.get_job_logs(again) == found + "\n"


def test_what_cannot_be_installed_is_said(client: JobSubmissionClient, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("spam_nowhere==7  # none\n")
    wanted = {"packages": str(tmp_path / "requirements.txt"), "pip_install_options": ["--no-index"]}
    ident = client.submit_job(entrypoint="echo began", runtime_env={"pip": wanted})
    info = over(client, ident, 60)
    assert info.status is JobStatus.FAILED and info.error_type is JobErrorType.RUNTIME_ENV_SETUP_FAILED
    assert info.message is not None and info.driver_exit_code is None
    first, *said = info.message.splitlines()
    assert first.startswith("its runtime environment could not be set up: `") and "has failed with code 1" in first
    assert any("spam_nowhere==7" in line for line in said)
    log = client.get_job_logs(ident)
    assert "spam_nowhere==7" in log and "began" not in log


def test_a_job_says_that_its_environment_is_set_up_and_can_be_stopped(
    client: JobSubmissionClient, jobs_cluster: Nodes, tmp_path: Path
) -> None:
    slow = tmp_path / "slow"
    slow.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; exec sleep 100\n")
    slow.chmod(0o755)
    environment = {"py_executable": str(slow), "pip": ["spam_slow"]}
    ident = client.submit_job(entrypoint="true", runtime_env=environment)
    message = f"its runtime environment is being set up (pip: spam_slow; py_executable: {slow}): see its log"
    eventually(lambda: client.get_job_info(ident).message == message, 10)
    assert client.get_job_status(ident) is JobStatus.PENDING
    head = jobs_cluster.started[0]
    status = asking.ask_at(head.head_host, head.head_port, "cluster_status", of_head=True)
    assert status["jobs"] == [{"id": ident, "reason": message}]
    assert f"job {ident}: {message}" in repr(Overview(status))
    pid = int(eventually((tmp_path / "pid").exists, 10) and (tmp_path / "pid").read_text())
    assert client.stop_job(ident)
    info = over(client, ident)
    assert (info.status, info.error_type) == (JobStatus.STOPPED, None)
    assert str(info.message).startswith("it was stopped while its runtime environment was being set up")
    eventually(lambda: not psutil.pid_exists(pid), 10)


def test_what_an_installer_has_started_ends_with_it(client: JobSubmissionClient, tmp_path: Path) -> None:
    """Also if the process is killed that sets the environment up, as when memory runs out."""
    slow = tmp_path / "slow"
    slow.write_text(
        f"#!/bin/sh\nsleep 100 &\necho $PPID $! > {tmp_path}/pids.new; mv {tmp_path}/pids.new {tmp_path}/pids; wait\n"
    )
    slow.chmod(0o755)
    ident = client.submit_job(entrypoint="true", runtime_env={"py_executable": str(slow), "uv": ["spam_killed"]})
    eventually((tmp_path / "pids").exists, 10)
    sets_up, started = (int(word) for word in (tmp_path / "pids").read_text().split())
    psutil.Process(sets_up).kill()
    info = over(client, ident)
    assert info.status is JobStatus.FAILED and "was killed while its runtime environment" in str(info.message)
    eventually(lambda: not psutil.pid_exists(started), 5, "what it had started has ended")


def test_another_interpreter_and_files_by_uri(client: JobSubmissionClient, jobs_cluster: Nodes, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "work.zip", "w") as out:
        code = "import sys, spam_uri; open('written', 'w'); print(spam_uri.NAME, sys.flags.dont_write_bytecode)"
        out.writestr("top/main.py", code)
    with zipfile.ZipFile(tmp_path / "module.zip", "w") as out:
        out.writestr("spam_uri.py", "NAME = 'by uri'")
    environment = {
        "working_dir": (tmp_path / "work.zip").as_uri(),
        "py_modules": [(tmp_path / "module.zip").as_uri()],
        "py_executable": f"{sys.executable} -B",
    }
    for _ in range(2):  # what the first has written the second does not see
        ident = client.submit_job(entrypoint="ls; python main.py", runtime_env=environment)
        over(client, ident)
        log = client.get_job_logs(ident)
        assert log.endswith("main.py\nby uri 1\n") and "written" not in log
    assert os.listdir(Path(jobs_cluster.started[0].folder, "jobs", ident)) == ["log"]
    environment["working_dir"] = (tmp_path / "nothing.zip").as_uri()
    ident = client.submit_job(entrypoint="ls", runtime_env=environment)
    info = over(client, ident)
    assert info.error_type is JobErrorType.RUNTIME_ENV_SETUP_FAILED
    assert f"fetching {environment['working_dir']}" in client.get_job_logs(ident)
    assert "nothing.zip cannot be used: " in str(info.message)


def test_what_is_wrong_with_an_environment_is_said_at_once(client: JobSubmissionClient) -> None:
    for wrong, said in (
        ({"conda": "x"}, "use pip, uv, or py_executable"),
        ({"pip": ["a"], "uv": ["b"]}, "both 'pip' and 'uv'"),
        ({"pipp": ["a"]}, "Did you mean 'pip'"),
        ({"working_dir": "s3://bucket/folder"}, r"a \.zip or \.whl"),
        ({"pip": "/nowhere.txt"}, "requirements file '/nowhere.txt' cannot be read"),
    ):
        with pytest.raises(RuntimeError, match=said):
            client.submit_job(entrypoint="true", runtime_env=wrong)
