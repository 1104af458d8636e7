"""What becomes of submitted jobs when what they run on is lost."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from skate.job_submission import JobStatus, JobSubmissionClient
from skate.testing import eventually

from .conftest import Nodes
from .test_jobs import over


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
