"""Every example runs, small, as a user would run it: in its own process. Each checks its own result."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
LIMIT_S = 60

SMALL: dict[str, list[str]] = {
    "counter.py": ["--visitors", "4", "--visits", "20"],
    "crawl.py": ["--pages", "30"],
    "map_reduce.py": ["--pages", "6", "--words", "500", "--reducers", "3"],
    "paillier.py": ["--people", "12", "--batch", "5", "--bits", "256"],
    "parameter_server.py": ["--steps", "200", "--rows", "2000", "--features", "20"],
    "pi.py": ["--samples", "300000"],
    "train_from_parquet.py": ["--rows", "40000", "--epochs", "2"],
    "tree_reduction.py": ["--leaves", "9", "--span", "20"],
}
SAYS: dict[str, str] = {
    "counter.py": "refused, and the counter goes on",
    "crawl.py": "30 pages and 1 dead link",
    "map_reduce.py": "3,000 words",
    "paillier.py": "12 encrypted salaries: sum",
    "parameter_server.py": "accuracy on unseen data",
    "pi.py": "pi is about 3.1",
    "train_from_parquet.py": "epoch 2: 20000 + 20000 rows",
    "tree_reduction.py": "180! has",
}
NEEDS: dict[str, str] = {"paillier.py": "phe", "parameter_server.py": "numpy", "train_from_parquet.py": "sklearn"}


def run_example(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=LIMIT_S,
        env={**os.environ, "PYTHONPATH": path},
    )


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SMALL) == set(SAYS)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_example(name: str) -> None:
    needed = NEEDS.get(name)
    if needed and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{name} needs the package {needed}")
    done = run_example(name, *SMALL[name])
    assert done.returncode == 0, f"{name} failed:\n{done.stdout}\n{done.stderr}"
    assert SAYS[name] in done.stdout, f"{name} printed:\n{done.stdout}"


def test_a_bad_size_is_refused_before_anything_starts() -> None:
    done = run_example("pi.py", "--samples", "0")
    assert done.returncode == 2
    assert "--samples must be at least 1" in done.stderr
