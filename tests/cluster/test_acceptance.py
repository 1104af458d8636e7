"""The programs for a cluster, as they are: three nodes by the commands of a shell script, then programs that say `import ray`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT.parent / "shared" / "acceptance"
ADDRESS = "127.0.0.1:9937"
LIMIT_S = 90

pytestmark = pytest.mark.skipif(
    not PROGRAMS.is_dir(), reason="the acceptance programs are not here: ../shared/acceptance does not exist"
)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which a cluster runs for the whole file."""
    folder = tmp_path_factory.mktemp("acceptance")
    (folder / "skate").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m skate.cli "$@"\n')
    (folder / "skate").chmod(0o755)
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "SKATE_", "ACCEPTANCE_"))
    }
    environment |= {
        "HOME": str(folder),
        "SKATE_TEMP_DIR": str(folder),
        "PATH": f"{folder}:{environment['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH", "")])),
        "ACCEPTANCE_N": "2000",
        "ACCEPTANCE_BATCHES": "60",
        "ACCEPTANCE_ADDRESS": ADDRESS,
    }
    up = run(["bash", str(PROGRAMS / "cluster_up.sh")], environment)
    try:
        assert "3 nodes alive" in up, up
        yield environment
    finally:
        assert "3 nodes stopped" in run(["skate", "stop"], environment)
        assert not list(folder.glob("skate-*/session-*")), "sessions are left"


def run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=LIMIT_S, env=environment)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cluster_pi.py", r"Doing 60 batches\n3\.\d+ .*\nRunning 2000 tests took .* seconds\n"),
        ("pi_progress.py", r"(Progress: \d+%\n)*Progress: 100%\nEstimated value of π is: 3\.\d*\n"),
        ("paillier.py", r"encrypt_test func time is \d.*\nencrypt_batch func time is \d.*\n"),
    ],
)
def test_program(name: str, says: str, environment: dict[str, str]) -> None:
    if name == "paillier.py":
        pytest.importorskip("phe")
    small = {**environment, "ACCEPTANCE_N": "200"} if name == "paillier.py" else environment
    assert re.fullmatch(says, run(["skate", "run", str(PROGRAMS / name)], small))
