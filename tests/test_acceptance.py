"""Programs written for Ray run unchanged under `skate run`.

They lie beside the repository, for all implementations to run; without that folder there is nothing to do.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ROOT.parent / "shared" / "acceptance"
LIMIT_S = 90

SAYS = {
    "counter_actor.py": r"10\n",
    "data_csv.py": r"(.*\n)*500 124750\.0\n(.*\n)*",
    "data_range.py": re.escape(f"take  {[{'id': i} for i in range(5)]}") + r"\n",
    "map_reduce.py": r"9900\n",
    "objects.py": r"10000\.0\n1000000\.0\n",
    "paillier.py": r"encrypt_test func time is \d.*\nencrypt_batch func time is \d.*\n",
    "pi_progress.py": r"(Progress: \d+%\n)*Progress: 100%\nEstimated value of π is: 3\.1\d*\n",
    "square_tasks.py": re.escape(str([i * i for i in range(400)])) + r"\n",
}
"""What each program prints, as a pattern for all of it."""

SAMPLES = {"paillier.py": "200", "pi_progress.py": "200000"}
"""ACCEPTANCE_N: the size of the work, for the programs that ask."""

NEEDS = {
    "data_csv.py": "pandas",
    "data_range.py": "pandas",
    "map_reduce.py": "numpy",
    "objects.py": "numpy",
    "paillier.py": "phe",
}

pytestmark = pytest.mark.skipif(
    not PROGRAMS.is_dir(), reason="the acceptance programs are not here: ../shared/acceptance does not exist"
)


@pytest.mark.parametrize("name", sorted(SAYS))
def test_program(name: str, tmp_path: Path) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "ACCEPTANCE_"))}
    if name in SAMPLES:
        environment["ACCEPTANCE_N"] = SAMPLES[name]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-m", "skate.cli", "run", str(PROGRAMS / name)],
        capture_output=True,
        check=False,
        text=True,
        timeout=LIMIT_S,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert re.fullmatch(SAYS[name], done.stdout), done.stdout
